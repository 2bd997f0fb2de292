//! Decides which commands are recorded, and what is recorded of them.

use super::SlowEntry;
use crate::clients::Client;
use crate::command::{CommandEntry, CommandTable, Flag};
use crate::notify::blocking::Waiter;
use crate::observe::Observe;
use resp::Request;
use runtime::Now;

/// Arguments kept per entry; the last says how many more there were.
const ARGS_MAX: usize = 32;
/// Bytes kept of an argument.
const ARG_BYTES_MAX: usize = 128;

impl Observe {
    /// A command is over that was not measured by its session: it is counted, and kept if it was
    /// long. `client` as in [`Observe::note_slow`].
    pub(crate) fn note_call(
        &self,
        commands: &CommandTable,
        (entry, request): (&CommandEntry, Request<'_>),
        nanos: u64,
        client: Option<&Client>,
        now: Now,
    ) {
        self.latency.note_command(entry, nanos, now);
        self.note_over(commands, (entry, request), nanos, client, now);
    }

    /// Counts a command that waited, and keeps it if it was long: once, when it is over. Its moments
    /// were noted as they were.
    pub(crate) fn note_waited(&self, commands: &CommandTable, waiter: &Waiter, now: Now) {
        let call = (commands.entry(waiter.command), waiter.sent());
        self.note_over(commands, call, waiter.spent(), Some(&waiter.client), now);
    }

    fn note_over(
        &self,
        commands: &CommandTable,
        (entry, request): (&CommandEntry, Request<'_>),
        nanos: u64,
        client: Option<&Client>,
        now: Now,
    ) {
        self.stats.ran(entry.id, 1, nanos);
        self.note_slow(commands, (entry, request), nanos, client, now);
    }

    /// Records a command in the slow log if it was slow. `client` is its sender; as in Redis a
    /// script has none.
    pub(crate) fn note_slow(
        &self,
        commands: &CommandTable,
        (entry, request): (&CommandEntry, Request<'_>),
        nanos: u64,
        client: Option<&Client>,
        now: Now,
    ) {
        let duration_us = nanos / 1000;
        if !self.slowlog.is_slow(duration_us) || entry.has(Flag::SkipSlowlog) {
            return;
        }
        let args = shorten(commands.shown(entry, request), request.len());
        self.slowlog.add(SlowEntry::new(args, duration_us, client, now));
    }

    /// Records a run of quick commands that was slow as a whole. It is not known which of them was
    /// slow, so `last` only gives the command's name.
    pub(crate) fn note_slow_run(
        &self,
        entry: &CommandEntry,
        last: Request<'_>,
        calls: u64,
        nanos: u64,
        client: &Client,
        now: Now,
    ) {
        if entry.has(Flag::SkipSlowlog) {
            return;
        }
        let run = format!("... ({calls} in one pipeline, which took so long together)");
        let args = vec![shorten_arg(last.arg(0)), run.into_bytes()];
        self.slowlog.add(SlowEntry::new(args, nanos / 1000, Some(client), now));
    }
}

/// The arguments as Redis keeps them: at most 32, each at most 128 bytes.
fn shorten<'r>(args: impl Iterator<Item = &'r [u8]>, argc: usize) -> Vec<Vec<u8>> {
    let kept = if argc > ARGS_MAX { ARGS_MAX - 1 } else { argc };
    let mut args: Vec<Vec<u8>> = args.take(kept).map(shorten_arg).collect();
    if argc > ARGS_MAX {
        args.push(format!("... ({} more arguments)", argc - kept).into_bytes());
    }
    args
}

fn shorten_arg(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= ARG_BYTES_MAX {
        return arg.to_vec();
    }
    let mut short = arg[..ARG_BYTES_MAX].to_vec();
    short.extend_from_slice(format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX).as_bytes());
    short
}
