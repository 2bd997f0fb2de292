//! `varve export FILE`: writes the keys of a running server as a file of commands, each of which
//! restores one.
//!
//! The file contains what a client would send: `SELECT`, and `RESTORE` with absolute times to live.
//! So `redis-cli --pipe` can load it, too. It is not a snapshot: a key that changes meanwhile is in
//! it as it was when it was read.

use super::client::{Client, Place};
use super::progress::Progress;
use super::{Outcome, told};
use crate::error::StartError;
use clap::Args;
use resp::Value;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

/// Keys that are looked at between two progress reports, about.
const KEYS_AT_ONCE: &str = "250";

/// Write the keys of a running server (Redis 7, Valkey, Varve) into a file, for `varve import` or `redis-cli --pipe`.
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// The file; it must not be there yet. `-`: standard output.
    file: PathBuf,
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

/// Runs the subcommand.
///
/// # Errors
/// Fails, with the reason, if the keys cannot be written; then there is no file.
pub(crate) fn run(args: &ExportArgs) -> Result<(), StartError> {
    export(args).map_err(StartError::Other)
}

fn export(args: &ExportArgs) -> Outcome<()> {
    let client = Client::connect(&args.from)?;
    let mut progress = Progress::new();
    if args.file.as_os_str() == "-" {
        let keys = write_all(args, client, std::io::stdout().lock(), &mut progress)?;
        progress.done(&format!("{keys} keys"));
        return Ok(());
    }
    let name = args.file.display();
    if args.file.exists() {
        return Err(format!("{name} is there already"));
    }
    // Under another name until it is whole.
    let mut partial = args.file.clone().into_os_string();
    partial.push(".partial");
    let written = File::create(&partial).map_err(told).and_then(|file| {
        let keys = write_all(args, client, BufWriter::new(&file), &mut progress)?;
        file.sync_all().map_err(told)?;
        std::fs::rename(&partial, &args.file).map_err(told)?;
        Ok(keys)
    });
    match written {
        Ok(keys) => progress.done(&format!("{keys} keys in {name}")),
        Err(error) => {
            // The reason why it could not be written is the error to report.
            let _ = std::fs::remove_file(&partial);
            return Err(format!("{name}: {error}"));
        }
    }
    Ok(())
}

fn write_all(
    args: &ExportArgs,
    mut client: Client,
    mut out: impl Write,
    progress: &mut Progress,
) -> Outcome<u64> {
    let (mut keys, mut bytes) = (0, 0);
    for db in args.db.map_or_else(|| databases(&mut client), |db| Ok(vec![db]))? {
        let select = command(&[b"SELECT", db.to_string().as_bytes()]);
        client.exchange(&select, 1)?.remove(0).ok()?;
        out.write_all(&select).map_err(told)?;
        let mut cursor = b"0".to_vec();
        loop {
            let found = scan(&mut client, &mut cursor, &args.pattern)?;
            let restoring = restore(&mut client, &found, &mut keys)?;
            out.write_all(&restoring).map_err(told)?;
            bytes += restoring.len() as u64;
            progress.copying(bytes, 0);
            if cursor == b"0" {
                break;
            }
        }
    }
    out.flush().map_err(told)?;
    Ok(keys)
}

/// The databases that hold keys.
pub(super) fn databases(client: &mut Client) -> Outcome<Vec<u64>> {
    let text = client.info_text("keyspace")?;
    let number = |line: &str| line.strip_prefix("db")?.split_once(':')?.0.parse().ok();
    Ok(text.lines().filter_map(number).collect())
}

/// Some keys, and where to go on.
pub(super) fn scan(
    client: &mut Client,
    cursor: &mut Vec<u8>,
    pattern: &str,
) -> Outcome<Vec<Vec<u8>>> {
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

/// The commands that restore these keys. One that is gone by now needs none.
fn restore(client: &mut Client, names: &[Vec<u8>], keys: &mut u64) -> Outcome<Vec<u8>> {
    let mut asked = Vec::new();
    for name in names {
        resp::encode_command([&b"DUMP"[..], name], &mut asked);
        resp::encode_command([&b"PEXPIRETIME"[..], name], &mut asked);
    }
    let mut answers = client.exchange(&asked, names.len() * 2)?.into_iter();
    let mut restoring = Vec::new();
    for name in names {
        let (Some(dumped), Some(until)) = (answers.next(), answers.next()) else { break };
        let (dumped, until) = (dumped.value()?, until.value()?);
        let Value::Bulk(payload) = dumped else { continue };
        let until_ms = until.as_i64().unwrap_or(-1).max(0).to_string();
        resp::encode_command(
            [&b"RESTORE"[..], name, until_ms.as_bytes(), &payload, b"ABSTTL"],
            &mut restoring,
        );
        *keys += 1;
    }
    Ok(restoring)
}

pub(super) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    resp::encode_command(words.iter().copied(), &mut bytes);
    bytes
}
