//! `CLUSTER`, `READONLY`, `READWRITE`, `ASKING`: who is in a cluster, and who leads it.
//!
//! Who executes what is decided elsewhere ([`engine::cluster`]): here it is shown, and changed.

mod change;
mod keys;
mod lead;
mod rows;
mod show;
#[cfg(test)]
mod tests;

use engine::cluster::{Cluster, Topology};
use engine::cx::Cx;
use engine::failure::{Failure, failure};
pub use rows::COMMANDS;

/// The cluster that this server is in.
fn cluster<'a>(cx: &Cx<'a>) -> Result<&'a dyn Cluster, Failure> {
    cx.engine.cluster().ok_or(failure("ERR This instance has cluster support disabled"))
}

fn topology(cx: &Cx<'_>) -> Result<Topology, Failure> {
    cluster(cx).map(Cluster::topology)
}
