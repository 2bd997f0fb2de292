//! Begins and ends monitoring, and shows commands to monitoring clients.

use super::Monitors;
use crate::clients::{Client, ClientFlags, Event};
use crate::command::{CommandEntry, CommandTable, Flag, Group};
use crate::gate::{Gate, Gates};
use crate::tuning::{OutputClass, Tuning};
use bytes::Bytes;
use resp::Request;
use runtime::Now;
use std::fmt::Write;
use std::sync::Arc;
use storage::Db;

impl Monitors {
    /// Shows a client every command from now on.
    pub fn begin(&self, client: &Arc<Client>, gates: &Gates) {
        let mut monitors = self.0.lock();
        if !client.has_flag(ClientFlags::MONITOR) {
            client.set_flag(ClientFlags::MONITOR, true);
            monitors.push(client.clone());
        }
        gates.set(Gate::MONITORED, true);
    }

    /// Ends monitoring by a client (`RESET`, the end of the connection).
    pub fn end(&self, client: &Arc<Client>, gates: &Gates) {
        if !client.has_flag(ClientFlags::MONITOR) {
            return;
        }
        let mut monitors = self.0.lock();
        client.set_flag(ClientFlags::MONITOR, false);
        monitors.retain(|other| !Arc::ptr_eq(other, client));
        gates.set(Gate::MONITORED, !monitors.is_empty());
    }

    /// Shows a command to everyone who monitors. `source` is the client's address, or `lua`. Called
    /// only while there is anyone.
    pub(crate) fn feed(
        &self,
        (commands, tuning): (&CommandTable, &Tuning),
        (entry, request): (&CommandEntry, Request<'_>),
        (db, source): (Db, &str),
        now: Now,
    ) {
        if !is_shown(entry) {
            return;
        }
        let args = commands.shown(entry, request);
        let line = Bytes::from(line(args, db, source, now));
        let limit = tuning.push_limit(OutputClass::Replica);
        for client in self.0.lock().iter() {
            client.send(Event::Raw(line.clone()), limit);
        }
    }
}

/// Scripts are shown before they run, so that they stand before their own commands.
pub(crate) fn is_shown_first(entry: &CommandEntry) -> bool {
    entry.spec.group == Group::Scripting && entry.has(Flag::SkipMonitor)
}

/// Whether `MONITOR` shows the command; administrative commands are hidden, with few exceptions.
fn is_shown(entry: &CommandEntry) -> bool {
    let hidden = entry.has(Flag::Admin) || entry.has(Flag::SkipMonitor);
    !hidden || is_shown_first(entry)
}

fn line<'r>(args: impl Iterator<Item = &'r [u8]>, db: Db, source: &str, now: Now) -> Vec<u8> {
    let mut line = String::with_capacity(64);
    let (seconds, micros) = (now.wall_ms / 1000, now.wall_ms % 1000 * 1000);
    let _ = write!(line, "+{seconds}.{micros:06} [{db} {source}]");
    for arg in args {
        line.push(' ');
        quote(arg, &mut line);
    }
    line.push_str("\r\n");
    line.into_bytes()
}

/// Appends an argument in quotes, as Redis's `sdscatrepr` escapes it.
fn quote(arg: &[u8], out: &mut String) {
    out.push('"');
    for &byte in arg {
        match byte {
            b'\\' | b'"' => out.extend(['\\', byte as char]),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x07 => out.push_str("\\a"),
            0x08 => out.push_str("\\b"),
            0x20..=0x7E => out.push(byte as char),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_redis() {
        let args: [&[u8]; 3] = [b"SET", b"a", b"q\n\"z\x01\xff\\"];
        let now = Now { wall_ms: 1_700_000_000_123, mono_us: 0 };
        let line = line(args.into_iter(), 3, "127.0.0.1:5000", now);
        assert_eq!(
            String::from_utf8(line).expect("text"),
            "+1700000000.123000 [3 127.0.0.1:5000] \"SET\" \"a\" \"q\\n\\\"z\\x01\\xff\\\\\"\r\n"
        );
    }
}
