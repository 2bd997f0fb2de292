//! `varve export FILE`: writes the keys of a running server as a file of commands, each of which
//! restores one.
//!
//! The file contains what a client would send: `SELECT`, and `RESTORE` with absolute times to live.
//! So `redis-cli --pipe` can load it, too. It is not a snapshot: a key that changes meanwhile is in
//! it as it was when it was read.

use super::client::Client;
use super::keys::{KeyArgs, Stage, select};
use super::progress::Progress;
use super::{Outcome, told};
use crate::error::StartError;
use clap::Args;
use resp::Value;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

/// Write the keys of a running server (Redis 7, Valkey, Varve) into a file, for `varve import` or `redis-cli --pipe`.
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// The file; it must not be there yet. `-`: standard output.
    file: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// Fails, with the reason, if the keys cannot be written; then there is no file.
pub(crate) fn run(args: &ExportArgs) -> Result<(), StartError> {
    export(args).map_err(StartError::Other)
}

fn export(args: &ExportArgs) -> Outcome<()> {
    let client = args.keys.connect()?;
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
    args.keys.walk(&mut client, |client, stage| {
        let requests = match stage {
            Stage::Database(db) => select(db),
            Stage::Keys(names) => restore(client, &names, &mut keys)?,
        };
        bytes += requests.len() as u64;
        progress.copying(bytes, 0);
        out.write_all(&requests).map_err(told)
    })?;
    out.flush().map_err(told)?;
    Ok(keys)
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
