//! DBSIZE, FLUSHDB, FLUSHALL, SWAPDB: whole databases.

use super::{c_int, known_database};
use engine::cx::Cx;
use engine::failure::{Outcome, SYNTAX, failure};
use storage::Db;

pub(super) fn dbsize(cx: &mut Cx<'_>) -> Outcome {
    let (keys, _) = cx.tx.counts(cx.session.db)?;
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

/// Empties one database. If it was empty already, nothing is logged or announced.
fn clear(cx: &mut Cx<'_>, db: Db) -> Outcome {
    let watched = cx.watched_in(db, None)?;
    if cx.tx.clear(db)? > 0 {
        cx.database_modified(db, watched);
    }
    Ok(())
}

pub(super) fn flushdb(cx: &mut Cx<'_>) -> Outcome {
    check_mode(cx)?;
    clear(cx, cx.session.db)?;
    cx.everything_invalid();
    cx.reply.ok();
    Ok(())
}

pub(super) fn flushall(cx: &mut Cx<'_>) -> Outcome {
    check_mode(cx)?;
    for db in 0..cx.engine.databases() {
        clear(cx, db)?;
    }
    cx.everything_invalid();
    cx.reply.ok();
    Ok(())
}

pub(super) fn swapdb(cx: &mut Cx<'_>) -> Outcome {
    let number = |at, error: &'static str| c_int(cx.args.arg(at), failure(error), failure(error));
    let a = number(1, "ERR invalid first DB index")?;
    let b = number(2, "ERR invalid second DB index")?;
    let (a, b) = (known_database(cx, a)?, known_database(cx, b)?);
    if a != b {
        let (of_a, of_b) = (cx.watched_in(a, Some(b))?, cx.watched_in(b, Some(a))?);
        cx.tx.swap_dbs(a, b)?;
        cx.database_modified(a, of_a);
        cx.database_modified(b, of_b);
    }
    cx.reply.ok();
    Ok(())
}
