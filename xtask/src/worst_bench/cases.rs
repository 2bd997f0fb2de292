//! The cases: events during which commands are timed, with the data that it needs, how it begins, and how its end is seen.

use super::probe::Line;
use anyhow::Result;
use capture::lab::Client;
use clap::ValueEnum;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Keys or elements of a case at scale 1, and keys that expire.
const ELEMENTS: f64 = 1e7;
const EXPIRING: f64 = 1e5;

/// Keys that are overwritten in cases that have no keys of their own.
const OTHER_KEYS: u64 = 1000;

/// Elements that one command adds to a collection.
const AT_ONCE: u64 = 100;

/// From the beginning of loading to the first key that expires; the last expires a second later.
const UNTIL_EXPIRY: Duration = Duration::from_secs(3);

/// Commands that are sent at once while data are loaded.
const LOAD_BATCH: u64 = 256;

/// Bytes of a value.
const VALUE: usize = 64;

/// How long it is looked on at least once elements were dropped.
const AFTER: Duration = Duration::from_millis(500);

/// One case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// Ten million keys are written to an empty server.
    Growth,
    /// BGSAVE of ten million keys.
    Snapshot,
    /// BGREWRITEAOF of ten million keys.
    Rewrite,
    /// DEL of a set of ten million members.
    Del,
    /// UNLINK of a hash of ten million fields.
    Unlink,
    /// FLUSHALL of ten million keys.
    Flushall,
    /// A hundred thousand keys expire within one second.
    Expire,
}

impl Case {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Case::Growth => "growth",
            Case::Snapshot => "snapshot",
            Case::Rewrite => "rewrite",
            Case::Del => "del",
            Case::Unlink => "unlink",
            Case::Flushall => "flushall",
            Case::Expire => "expire",
        }
    }

    /// The number of keys or elements at `scale`.
    pub fn count(self, scale: f64) -> u64 {
        let full = if self == Case::Expire { EXPIRING } else { ELEMENTS };
        (full * scale).ceil() as u64
    }

    /// The number of keys that are overwritten beside the probe; those of a growing table are new.
    pub fn keys(self, scale: f64) -> u64 {
        match self {
            Case::Growth => u64::MAX,
            Case::Snapshot | Case::Rewrite => self.count(scale),
            Case::Del | Case::Unlink | Case::Flushall | Case::Expire => OTHER_KEYS,
        }
    }

    /// Writes the data that the case begins with.
    pub fn load(self, line: &mut Line, scale: f64) -> Result<()> {
        let count = self.count(scale);
        match self {
            Case::Growth => Ok(()),
            Case::Snapshot | Case::Rewrite | Case::Flushall => in_batches(line, count, set),
            Case::Del => {
                in_batches(line, count.div_ceil(AT_ONCE), |line, n| add(line, "SADD", n, 1))
            }
            Case::Unlink => {
                in_batches(line, count.div_ceil(AT_ONCE), |line, n| add(line, "HSET", n, 2))
            }
            Case::Expire => {
                in_batches(line, OTHER_KEYS, set)?;
                let first = SystemTime::now().duration_since(UNIX_EPOCH)? + UNTIL_EXPIRY;
                in_batches(line, count, |line, n| {
                    let at = first.as_millis() as u64 + n % 1000;
                    line.ask(&[
                        "SET",
                        &format!("expires:{n:09}"),
                        "value",
                        "PXAT",
                        &at.to_string(),
                    ]);
                })
            }
        }
    }

    /// The command that begins it, if one does.
    pub fn trigger(self) -> Option<&'static [&'static str]> {
        match self {
            Case::Growth | Case::Expire => None,
            Case::Snapshot => Some(&["BGSAVE"]),
            Case::Rewrite => Some(&["BGREWRITEAOF"]),
            Case::Del => Some(&["DEL", "large"]),
            Case::Unlink => Some(&["UNLINK", "large"]),
            Case::Flushall => Some(&["FLUSHALL"]),
        }
    }

    /// Whether it has ended, `elapsed` after it began, the command that begins it having been answered.
    pub fn is_over(
        self,
        client: &mut Client,
        written: u64,
        elapsed: Duration,
        scale: f64,
    ) -> Result<bool> {
        let mut is_zero = |section: &str, field: &str| -> Result<bool> {
            Ok(client.info(section, field)?.as_deref() == Some("0"))
        };
        match self {
            Case::Growth => Ok(written >= self.count(scale)),
            Case::Snapshot => is_zero("persistence", "rdb_bgsave_in_progress"),
            Case::Rewrite => is_zero("persistence", "aof_rewrite_in_progress"),
            Case::Del | Case::Unlink | Case::Flushall => {
                Ok(elapsed >= AFTER && is_zero("memory", "lazyfree_pending_objects")?)
            }
            // The probe's key is there, too.
            Case::Expire => Ok(client.key_count()? <= OTHER_KEYS + 1),
        }
    }
}

/// Queues a write of key number `n`.
pub fn set(line: &mut Line, n: u64) {
    line.ask(&["SET", &format!("key:{n:012}"), &"v".repeat(VALUE)]);
}

/// Queues a command that adds elements to the collection, each of so many words.
fn add(line: &mut Line, command: &str, n: u64, words: usize) {
    let elements: Vec<String> =
        (0..AT_ONCE).map(|at| format!("element:{:09}", n * AT_ONCE + at)).collect();
    let elements = elements.iter().flat_map(|element| std::iter::repeat_n(element.as_str(), words));
    let request: Vec<&str> = [command, "large"].into_iter().chain(elements).collect();
    line.ask(&request);
}

/// Queues `count` commands with `ask`, and sends them in batches.
fn in_batches(line: &mut Line, count: u64, ask: impl Fn(&mut Line, u64)) -> Result<()> {
    let mut n = 0;
    while n < count {
        let end = (n + LOAD_BATCH).min(count);
        (n..end).for_each(|n| ask(line, n));
        line.send()?;
        line.replies((end - n) as usize)?;
        n = end;
    }
    Ok(())
}
