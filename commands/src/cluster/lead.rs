//! The subcommands of `CLUSTER` about leaders and followers: `FAILOVER`, `REPLICATE`, `RESET`,
//! `COUNT-FAILURE-REPORTS`, `BUMPEPOCH`.

use super::{cluster, topology};
use engine::cluster::{NodeView, Role, Topology};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure, subcommand_syntax};

/// Parses the optional third argument, which must be one of `words`, and returns its index there.
fn option(cx: &Cx<'_>, words: &[&str]) -> Result<Option<usize>, Failure> {
    match cx.argc() {
        2 => Ok(None),
        3 => {
            let said = cx.args.arg(2);
            let is_said = |word: &&str| said.eq_ignore_ascii_case(word.as_bytes());
            words.iter().position(is_said).map(Some).ok_or(SYNTAX)
        }
        _ => Err(subcommand_syntax(cx.args)),
    }
}

/// `CLUSTER FAILOVER`. `FORCE` and `TAKEOVER` are the same, because a node needs the votes of a
/// majority in order to lead.
pub(super) fn fail_over(cx: &mut Cx<'_>) -> Outcome {
    let cluster = cluster(cx)?;
    let forced = option(cx, &["force", "takeover"])?.is_some();
    let topology = cluster.topology();
    if topology.me().is_none_or(|me| me.role != Role::Follows) {
        return Err(failure("ERR You should send CLUSTER FAILOVER to a replica"));
    }
    let leader = topology.me().and_then(|me| topology.node(&me.master));
    if leader.is_none() && !forced {
        return Err(failure("ERR I'm a replica but my master is unknown to me"));
    }
    let answers = |leader: &NodeView| leader.is_up && !leader.has_failed && topology.is_ok;
    if !forced && !leader.is_some_and(answers) {
        return Err(failure("ERR Master is down or failed, please use CLUSTER FAILOVER FORCE"));
    }
    cluster.take_over().map_err(Failure::text)?;
    cx.reply.ok();
    Ok(())
}

/// Returns the node whose name is the argument at `index`.
pub(super) fn node<'t>(
    cx: &Cx<'_>,
    topology: &'t Topology,
    index: usize,
    unknown: &str,
) -> Result<&'t NodeView, Failure> {
    let id = String::from_utf8_lossy(cx.args.arg(index)).into_owned();
    topology.node(&id).ok_or_else(|| Failure::text(format!("ERR {unknown} {id}")))
}

/// `CLUSTER REPLICATE`. All members of the group follow its leader anyway, so there is nothing to
/// change: the reply tells whether `node` leads.
pub(super) fn replicate(cx: &mut Cx<'_>) -> Outcome {
    let topology = topology(cx)?;
    let master = node(cx, &topology, 2, "Unknown node")?;
    if master.is_me {
        return Err(failure("ERR Can't replicate myself"));
    }
    match master.role {
        Role::Leads => cx.reply.ok(),
        Role::Follows => {
            return Err(failure("ERR I can only replicate a master, not a replica."));
        }
        Role::Apart => {
            return Err(failure(
                "ERR Members of the group follow whom they elect. CLUSTER MEET brings a node in; CLUSTER FAILOVER, sent to it, has it lead",
            ));
        }
    }
    Ok(())
}

pub(super) fn reset(cx: &mut Cx<'_>) -> Outcome {
    let cluster = cluster(cx)?;
    let hard = option(cx, &["soft", "hard"])? == Some(1);
    let topology = cluster.topology();
    let follows = topology.me().is_some_and(|me| me.role == Role::Follows);
    if !follows && cx.engine.backend.len(0) > 0 {
        return Err(failure("ERR CLUSTER RESET can't be called with master nodes containing keys"));
    }
    if hard {
        return Err(failure(
            "ERR A node gets another identity by being started with an empty folder. CLUSTER RESET SOFT has it forget the others",
        ));
    }
    cluster.reset().map_err(Failure::text)?;
    cx.reply.ok();
    Ok(())
}

/// `CLUSTER COUNT-FAILURE-REPORTS`. It is always 0: nodes do not report failures to each other; a
/// node that no longer hears from the leader starts an election.
pub(super) fn count_failure_reports(cx: &mut Cx<'_>) -> Outcome {
    let topology = topology(cx)?;
    node(cx, &topology, 2, "Unknown node")?;
    cx.reply.integer(0);
    Ok(())
}

/// `CLUSTER BUMPEPOCH`. Epochs are terms of groups, which only elections change.
pub(super) fn bump_epoch(cx: &mut Cx<'_>) -> Outcome {
    let topology = topology(cx)?;
    cx.reply.simple(&format!("STILL {}", topology.epoch));
    Ok(())
}

pub(super) fn set_config_epoch(cx: &mut Cx<'_>) -> Outcome {
    let topology = topology(cx)?;
    let epoch = engine::text::args::integer(cx.args.arg(2))?;
    if epoch < 0 {
        return Err(Failure::text(format!("ERR Invalid config epoch specified: {epoch}")));
    }
    if topology.nodes.len() > 1 {
        return Err(failure(
            "ERR The user can assign a config epoch only when the node does not know any other node.",
        ));
    }
    if topology.epoch != 0 {
        return Err(failure("ERR Node config epoch is already non-zero"));
    }
    Err(failure("ERR Epochs are terms of the group, which counts them: there is none to be set"))
}
