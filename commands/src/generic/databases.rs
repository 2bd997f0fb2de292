//! DBSIZE, FLUSHDB, FLUSHALL, SWAPDB: whole databases.

use super::{c_int, known_database};
use engine::cx::Cx;
use engine::failure::{Outcome, SYNTAX, failure};

pub(super) fn dbsize(cx: &mut Cx<'_>) -> Outcome {
    let (db, backend) = (cx.session.db, &cx.engine.backend);
    let keys = match cx.engine.shown_slots() {
        None => cx.tx.counts(db)?.0,
        Some(slots) => {
            let shards = slots.into_iter().filter_map(|slots| backend.shards_of_slots(slots));
            shards.map(|shards| backend.len_in(db, shards)).sum()
        }
    };
    cx.reply.integer(keys as i64);
    Ok(())
}

/// `ASYNC` and `SYNC` are accepted and mean the same: removed keys are invisible at once, and are
/// freed later in bounded slices.
fn check_mode(cx: &Cx<'_>) -> Outcome {
    match cx.argc() {
        1 => Ok(()),
        2 if cx.is(1, "ASYNC") || cx.is(1, "SYNC") => Ok(()),
        _ => Err(SYNTAX),
    }
}

pub(super) fn flushdb(cx: &mut Cx<'_>) -> Outcome {
    check_mode(cx)?;
    let db = cx.session.db;
    cx.clear_databases(db..db + 1)?;
    cx.reply.ok();
    Ok(())
}

pub(super) fn flushall(cx: &mut Cx<'_>) -> Outcome {
    check_mode(cx)?;
    cx.clear_databases(0..cx.engine.databases())?;
    cx.reply.ok();
    Ok(())
}

pub(super) fn swapdb(cx: &mut Cx<'_>) -> Outcome {
    let number = |at, error: &'static str| c_int(cx.args.arg(at), failure(error), failure(error));
    let a = number(1, "ERR invalid first DB index")?;
    let b = number(2, "ERR invalid second DB index")?;
    let (a, b) = (known_database(cx, a)?, known_database(cx, b)?);
    if a != b {
        cx.swap_databases(a, b)?;
    }
    cx.reply.ok();
    Ok(())
}
