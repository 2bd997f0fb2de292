//! The part of `DEBUG` that changes how the server goes on: switches, the allocator's settings, starts.

use super::debug::{check_alone, nothing, truthy};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, failure};
use engine::text::args::{integer, is_word};
use engine::text::glob;
use engine::tuning::switches::Switches;
use resp::parse_i64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Turns one of [`Switches`] on or off.
pub(super) fn set(cx: &mut Cx<'_>, which: fn(&Switches) -> &AtomicBool) -> Outcome {
    which(&cx.engine.tuning.switches).store(truthy(cx.args.arg(2)), Ordering::Relaxed);
    nothing(cx)
}

/// `REPLICATE command …`: a command that only replicas run, so that they differ.
pub(super) fn replicate(cx: &mut Cx<'_>) -> Outcome {
    if !cx.engine.is_replica() {
        let words: Vec<&[u8]> = cx.args.tail(2).iter().collect();
        cx.engine.replication.out.append_plain(&words);
        cx.engine.replication.wake();
    }
    nothing(cx)
}

/// Longer sleeps before a write of the log are cut to this, microseconds.
const FLUSH_SLEEP_MAX: u64 = 60_000_000;

/// `AOF-FLUSH-SLEEP microseconds`: a slow disk.
pub(super) fn aof_flush_sleep(cx: &mut Cx<'_>) -> Outcome {
    let micros = parse_i64(cx.args.arg(2)).and_then(|micros| u64::try_from(micros).ok());
    if let Some(journal) = cx.engine.any_journal() {
        journal.set_write_delay(Duration::from_micros(micros.unwrap_or(0).min(FLUSH_SLEEP_MAX)));
    }
    nothing(cx)
}

pub(super) fn config_rewrite(cx: &mut Cx<'_>) -> Outcome {
    let done = cx.engine.environment.host.rewrite_config(true);
    done.map_err(|error| Failure::text(format!("ERR CONFIG-REWRITE-FORCE-ALL failed: {error}")))?;
    nothing(cx)
}

/// `RESTART` and `CRASH-AND-RECOVER`, `[milliseconds]`.
pub(super) fn restart(cx: &mut Cx<'_>) -> Outcome {
    let delay_ms = cx.args.get(2).map_or(Ok(0), integer)?;
    check_alone(cx)?;
    let delay = Duration::from_millis(u64::try_from(delay_ms).unwrap_or(0));
    cx.engine.environment.host.restart(cx.is(1, "RESTART"), delay);
    Err(failure("ERR failed to restart the server. Check server logs."))
}

/// `MALLCTL name [number]`.
pub(super) fn mallctl(cx: &mut Cx<'_>) -> Outcome {
    let new = cx.args.get(3).map(integer).transpose()?;
    let host = &cx.engine.environment.host;
    let found = host.allocator_number(cx.args.arg(2), new);
    match found.map_err(|error| Failure::text(format!("ERR {error}")))? {
        Some(number) => cx.reply.integer(number),
        None => cx.reply.ok(),
    }
    Ok(())
}

/// `MALLCTL-STR name [text]`. The text `VOID` means no text.
pub(super) fn mallctl_str(cx: &mut Cx<'_>) -> Outcome {
    let new = cx.args.get(3).map(|text| if text == b"VOID" { &b""[..] } else { text });
    let found = cx.engine.environment.host.allocator_text(cx.args.arg(2), new);
    match found.map_err(|error| Failure::text(format!("ERR {error}")))? {
        Some(text) => cx.reply.bulk(&text),
        None => cx.reply.ok(),
    }
    Ok(())
}

pub(super) fn clusterlink(cx: &mut Cx<'_>) -> Outcome {
    let known = is_word(cx.args.arg(2), "KILL");
    let refused = "ERR Debug option only available for cluster mode enabled setup!";
    if known { Err(failure(refused)) } else { Err(engine::failure::subcommand_syntax(cx.args)) }
}

/// Patterns that `STRINGMATCH-TEST` tries, and the most bytes that they and the strings have.
const MATCHES: usize = 100_000;
const MATCH_LEN_MAX: u64 = 16;

/// Matches patterns made up of bytes that mean something against such strings.
pub(super) fn stringmatch_test(cx: &mut Cx<'_>) -> Outcome {
    const BYTES: &[u8] = b"*?[]^-\\ab\xff";
    let mut made_up = || -> Vec<u8> {
        let (mut bits, len) = (cx.random(), cx.random() % MATCH_LEN_MAX);
        let mut next = || {
            let byte = BYTES[(bits % BYTES.len() as u64) as usize];
            bits /= BYTES.len() as u64;
            byte
        };
        (0..len).map(|_| next()).collect()
    };
    for _ in 0..MATCHES {
        glob::matches(&made_up(), &made_up(), false);
    }
    cx.reply.simple("Apparently Redis did not crash: test passed");
    Ok(())
}
