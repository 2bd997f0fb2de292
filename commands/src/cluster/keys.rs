//! Slots and their keys: `KEYSLOT`, `COUNTKEYSINSLOT`, `GETKEYSINSLOT`.
//!
//! There is no index of keys by slot: the commands scan all keys of the database.

use super::cluster;
use engine::commit::{SLOTS, slot};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, failure};

/// The number of keys visited per storage call. All shards are locked meanwhile.
const STEP: usize = 1_024;

pub(super) fn slot_of(cx: &mut Cx<'_>) -> Outcome {
    cluster(cx)?;
    cx.reply.integer(slot(cx.args.arg(2)).into());
    Ok(())
}

/// Calls `each` for the keys of a slot until it returns false.
fn visit(cx: &mut Cx<'_>, wanted: u16, each: &mut dyn FnMut(&[u8]) -> bool) -> Outcome {
    let (db, mut cursor, mut enough) = (cx.session.db, 0, false);
    loop {
        cursor = cx.tx.scan(db, cursor, STEP, &mut |name, kind| {
            if kind.is_some() && !enough && slot(name) == wanted {
                enough = !each(name);
            }
        })?;
        if cursor == 0 || enough {
            return Ok(());
        }
    }
}

/// Parses an argument that must be a slot. `otherwise` is the error for a number that is not a
/// slot.
fn slot_at(cx: &Cx<'_>, index: usize, otherwise: Failure) -> Result<u16, Failure> {
    let number = engine::text::args::integer(cx.args.arg(index))?;
    u16::try_from(number).ok().filter(|slot| *slot < SLOTS).ok_or(otherwise)
}

pub(super) fn count(cx: &mut Cx<'_>) -> Outcome {
    cluster(cx)?;
    let slot = slot_at(cx, 2, failure("ERR Invalid slot"))?;
    let mut count = 0;
    visit(cx, slot, &mut |_| {
        count += 1;
        true
    })?;
    cx.reply.integer(count);
    Ok(())
}

pub(super) fn get(cx: &mut Cx<'_>) -> Outcome {
    const WRONG: Failure = failure("ERR Invalid slot or number of keys");
    cluster(cx)?;
    let slot = slot_at(cx, 2, WRONG)?;
    let wanted =
        usize::try_from(engine::text::args::integer(cx.args.arg(3))?).map_err(|_| WRONG)?;
    let mut names: Vec<Vec<u8>> = Vec::new();
    if wanted > 0 && cluster(cx)?.lists_keys(slot) {
        visit(cx, slot, &mut |name| {
            names.push(name.to_vec());
            names.len() < wanted
        })?;
    }
    cx.reply.array(names.len());
    names.iter().for_each(|name| cx.reply.bulk(name));
    Ok(())
}
