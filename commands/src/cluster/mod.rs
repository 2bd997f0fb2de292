//! `CLUSTER`, `READONLY`, `READWRITE`, `ASKING`: commands that show and change the cluster.
//!
//! On which server a command is executed is decided in [`engine::cluster`].

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
