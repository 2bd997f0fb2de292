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
use engine::failure::{Failure, Outcome, SYNTAX, failure, subcommand_syntax};
use engine::text::args::is_word;
pub use rows::COMMANDS;

/// The cluster that this server is in.
fn cluster<'a>(cx: &Cx<'a>) -> Result<&'a dyn Cluster, Failure> {
    cx.engine.cluster().ok_or(failure("ERR This instance has cluster support disabled"))
}

fn topology(cx: &Cx<'_>) -> Result<Topology, Failure> {
    cluster(cx).map(Cluster::topology)
}

/// `CLIENT CONSISTENCY`.
pub(super) fn consistency(cx: &mut Cx<'_>) -> Outcome {
    cluster(cx)?;
    let is = |at: usize, word| is_word(cx.args.arg(at), word);
    let (is_async, reads_index) = match cx.argc() {
        3 if is(2, "async") => (true, false),
        3 if is(2, "quorum") => (false, false),
        5 if is(3, "reads") && is(4, "leader") && is(2, "quorum") => (false, false),
        5 if is(3, "reads") && is(4, "index") && is(2, "quorum") => (false, true),
        5 if is(3, "reads") && is(2, "async") => {
            return Err(failure(
                "ERR READS promises more than ASYNC does: CLIENT CONSISTENCY QUORUM READS INDEX",
            ));
        }
        3 | 5 => return Err(SYNTAX),
        _ => return Err(subcommand_syntax(cx.args)),
    };
    cx.session.set_consistency(reads_index, is_async);
    cx.reply.ok();
    Ok(())
}
