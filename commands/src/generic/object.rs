//! OBJECT: what Redis tells about how a value is kept.

use engine::config::Id;
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, failure};
use storage::KeyInfo;

/// The storage's facts about the key in argument 2; `None` when there is none, and nothing was replied.
fn info(cx: &mut Cx<'_>) -> Result<Option<KeyInfo>, Failure> {
    /// The size is not asked for, so one element is enough to look at.
    const SAMPLES: usize = 1;
    let key = cx.key(2);
    let info = cx.tx.info(&key, SAMPLES)?;
    cx.looked_up(&key, info.is_some());
    if info.is_none() {
        cx.reply.null();
    }
    Ok(info)
}

fn counts_frequency(cx: &Cx<'_>) -> bool {
    cx.engine.config.choice(Id::MaxmemoryPolicy).ends_with("-lfu")
}

pub(super) fn encoding(cx: &mut Cx<'_>) -> Outcome {
    if let Some(info) = info(cx)? {
        cx.reply.bulk(info.encoding.as_bytes());
    }
    Ok(())
}

/// Small integers. Redis shares them between keys, and reports this number as their reference
/// count.
const SHARED: std::ops::Range<i64> = 0..10_000;

/// Here, values are not shared between keys; the client is told what Redis would reply.
pub(super) fn refcount(cx: &mut Cx<'_>) -> Outcome {
    let Some(info) = info(cx)? else { return Ok(()) };
    let mut count = 1;
    if info.encoding == "int" && shares_integers(cx) {
        let key = cx.key(2);
        cx.tx.set_no_touch(true);
        let value = cx.tx.string(&key)?.and_then(|value| resp::parse_i64(value.as_bytes()));
        if value.is_some_and(|value| SHARED.contains(&value)) {
            count = i64::from(i32::MAX);
        }
    }
    cx.reply.integer(count);
    Ok(())
}

/// Whether integers may count as shared: not where each key must have its own access time.
fn shares_integers(cx: &Cx<'_>) -> bool {
    let policy = cx.engine.config.choice(Id::MaxmemoryPolicy);
    let alone = policy.ends_with("-lru") || policy.ends_with("-lfu");
    cx.engine.config.memory(Id::Maxmemory) == 0 || !alone
}

pub(super) fn idletime(cx: &mut Cx<'_>) -> Outcome {
    let Some(info) = info(cx)? else { return Ok(()) };
    if counts_frequency(cx) {
        return Err(failure(
            "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between maxmemory policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    cx.reply.integer((info.idle_ms / 1000) as i64);
    Ok(())
}

pub(super) fn freq(cx: &mut Cx<'_>) -> Outcome {
    let Some(info) = info(cx)? else { return Ok(()) };
    if !counts_frequency(cx) {
        return Err(failure(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    cx.reply.integer(info.freq.into());
    Ok(())
}

pub(super) fn help(cx: &mut Cx<'_>) -> Outcome {
    cx.help(
        "OBJECT",
        &[
            "ENCODING <key>",
            "    Return the kind of internal representation used in order to store the value",
            "    associated with a <key>.",
            "FREQ <key>",
            "    Return the access frequency index of the <key>. The returned integer is",
            "    proportional to the logarithm of the recent access frequency of the key.",
            "IDLETIME <key>",
            "    Return the idle time of the <key>, that is the approximated number of",
            "    seconds elapsed since the last access to the key.",
            "REFCOUNT <key>",
            "    Return the number of references of the value associated with the specified",
            "    <key>.",
        ],
    );
    Ok(())
}
