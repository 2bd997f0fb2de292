//! `varve bigkeys`: finds the keys of a running server that take most memory.
//!
//! It goes through the keys as any client may, in steps of some hundred keys each: nobody waits longer for it than
//! for one such step, and what it remembers is bounded, whatever the server holds.

use super::client::Client;
use super::keys::{KeyArgs, Stage};
use super::progress::Progress;
use super::{Outcome, told};
use crate::error::StartError;
use clap::Args;
use indicatif::HumanBytes;
use resp::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

/// Find the keys of a running server (Redis 7, Valkey, Varve) that take most memory, without holding it up.
#[derive(Args, Debug)]
pub(crate) struct BigKeysArgs {
    #[command(flatten)]
    keys: KeyArgs,
    /// The number of keys to name.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    top: u16,
    /// Milliseconds of rest after each step of some 250 keys.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    rest: u64,
}

/// A key, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    bytes: u64,
    db: u64,
    name: Vec<u8>,
    kind: String,
}

/// The largest keys found, and sums by type.
#[derive(Debug, Default)]
struct Found {
    top: usize,
    /// The largest first.
    largest: Vec<Key>,
    /// Number and bytes of the keys of each type.
    sums: BTreeMap<String, (u64, u64)>,
}

impl Found {
    fn add(&mut self, key: Key) {
        let (count, bytes) = self.sums.entry(key.kind.clone()).or_default();
        *count += 1;
        *bytes += key.bytes;
        // SCAN may return a key twice.
        let known = self.largest.iter().any(|it| it.db == key.db && it.name == key.name);
        let at = self.largest.partition_point(|it| it.bytes >= key.bytes);
        if !known && at < self.top {
            self.largest.insert(at, key);
            self.largest.truncate(self.top);
        }
    }

    fn write(&self, mut out: impl Write) -> std::io::Result<()> {
        for Key { bytes, db, name, kind } in &self.largest {
            let name = name.escape_ascii();
            writeln!(out, "{:>12}  db{db}  {kind:<6}  {name}", HumanBytes(*bytes).to_string())?;
        }
        for (kind, (count, bytes)) in &self.sums {
            let each = HumanBytes(bytes / (*count).max(1));
            writeln!(out, "{kind}: {count} keys, {}, {each} on average", HumanBytes(*bytes))?;
        }
        Ok(())
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Fails, with the reason, if the keys cannot be looked at.
pub(crate) fn run(args: &BigKeysArgs) -> Result<(), StartError> {
    let found = find(args).map_err(StartError::Other)?;
    found.write(std::io::stdout().lock()).map_err(|error| StartError::Other(told(error)))
}

fn find(args: &BigKeysArgs) -> Outcome<Found> {
    let mut client = args.keys.connect()?;
    // Older servers do not know it; then the keys count as used.
    client.ask(&["CLIENT", "NO-TOUCH", "ON"])?;
    let mut found = Found { top: usize::from(args.top), ..Found::default() };
    let mut progress = Progress::new();
    let (mut keys, mut database) = (0, 0);
    args.keys.walk(&mut client, |client, stage| {
        match stage {
            Stage::Database(db) => database = db,
            Stage::Keys(names) => {
                keys += names.len();
                measure(client, database, names, &mut found)?;
                std::thread::sleep(Duration::from_millis(args.rest));
            }
        }
        Ok(())
    })?;
    progress.done(&format!("{keys} keys looked at"));
    Ok(found)
}

/// Asks for type and size of some keys. One that is gone by now has none.
fn measure(client: &mut Client, db: u64, names: Vec<Vec<u8>>, found: &mut Found) -> Outcome<()> {
    let mut asked = Vec::new();
    for name in &names {
        resp::encode_command([&b"TYPE"[..], name], &mut asked);
        resp::encode_command([&b"MEMORY"[..], b"USAGE", name], &mut asked);
    }
    let mut answers = client.exchange(&asked, names.len() * 2)?.into_iter();
    for name in names {
        let (Some(kind), Some(size)) = (answers.next(), answers.next()) else { break };
        let (kind, size) = (kind.value()?, size.value()?);
        let Value::Integer(bytes) = size else { continue };
        let kind = String::from_utf8_lossy(kind.as_bytes().unwrap_or_default()).into_owned();
        found.add(Key { bytes: bytes.max(0) as u64, db, name, kind });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_kept_once_and_all_are_counted() {
        let mut found = Found { top: 3, ..Found::default() };
        let mut add = |bytes: u64, name: &str, kind: &str| {
            found.add(Key { bytes, db: 0, name: name.into(), kind: kind.into() });
        };
        for (bytes, name) in [(5, "e"), (1, "a"), (9, "i"), (9, "i"), (7, "g"), (6, "f")] {
            add(bytes << 20, name, "string");
        }
        add(8 << 20, "h\n", "list");
        let mut text = Vec::new();
        found.write(&mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "    9.00 MiB  db0  string  i\n    8.00 MiB  db0  list    h\\n\n    7.00 MiB  db0  string  g\n\
             list: 1 keys, 8.00 MiB, 8.00 MiB on average\n\
             string: 6 keys, 37.00 MiB, 6.17 MiB on average\n"
        );
    }
}
