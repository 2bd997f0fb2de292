//! [`KeyArgs`]: the keys of a running server that a subcommand is about, and the walk through them.

use super::Outcome;
use super::client::{Client, Place};
use clap::Args;

/// The number of keys that the server is asked for at once.
const KEYS_AT_ONCE: &str = "250";

/// The options of subcommands that go through the keys of a running server.
#[derive(Args, Debug)]
pub(super) struct KeyArgs {
    /// Where the keys are.
    #[arg(long, value_name = "URL", default_value = "redis://127.0.0.1:6379")]
    from: Place,
    /// Only keys whose names match, as with KEYS.
    #[arg(long = "match", value_name = "PATTERN", default_value = "*")]
    pattern: String,
    /// Only this database.
    #[arg(long)]
    db: Option<u64>,
}

/// A stage of the walk.
pub(super) enum Stage {
    /// The keys of this database follow.
    Database(u64),
    /// Names of keys. One may occur twice.
    Keys(Vec<Vec<u8>>),
}

impl KeyArgs {
    /// A connection to the server.
    pub fn connect(&self) -> Outcome<Client> {
        Client::connect(&self.from)
    }

    /// Goes through the keys as any client may, some hundred at a time, so that nobody waits longer
    /// for it than for one such step.
    ///
    /// # Errors
    /// Fails if the connection does, the server refuses, or `each` fails.
    pub fn walk(
        &self,
        client: &mut Client,
        mut each: impl FnMut(&mut Client, Stage) -> Outcome<()>,
    ) -> Outcome<()> {
        for db in self.db.map_or_else(|| databases(client), |db| Ok(vec![db]))? {
            client.exchange(&select(db), 1)?.remove(0).ok()?;
            each(client, Stage::Database(db))?;
            let mut cursor = b"0".to_vec();
            loop {
                let names = scan(client, &mut cursor, &self.pattern)?;
                each(client, Stage::Keys(names))?;
                if cursor == b"0" {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// The request that chooses a database, encoded.
pub(super) fn select(db: u64) -> Vec<u8> {
    command(&[b"SELECT", db.to_string().as_bytes()])
}

/// A request, encoded.
fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    resp::encode_command(words.iter().copied(), &mut bytes);
    bytes
}

fn databases(client: &mut Client) -> Outcome<Vec<u64>> {
    let text = client.info_text("keyspace")?;
    let number = |line: &str| line.strip_prefix("db")?.split_once(':')?.0.parse().ok();
    Ok(text.lines().filter_map(number).collect())
}

/// The next keys, and the cursor behind them.
fn scan(client: &mut Client, cursor: &mut Vec<u8>, pattern: &str) -> Outcome<Vec<Vec<u8>>> {
    let words =
        [b"SCAN", &cursor[..], b"MATCH", pattern.as_bytes(), b"COUNT", KEYS_AT_ONCE.as_bytes()];
    let answer = client.exchange(&command(&words), 1)?.remove(0).value()?;
    match answer.as_slice() {
        Some([next, found]) => {
            *cursor = next.as_bytes().unwrap_or(b"0").to_vec();
            let names = found.as_slice().unwrap_or_default().iter();
            Ok(names.filter_map(|name| name.as_bytes().map(<[u8]>::to_vec)).collect())
        }
        _ => Err("SCAN was answered with something else".into()),
    }
}
