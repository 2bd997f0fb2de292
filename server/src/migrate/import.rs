//! `varve import FILE`: sends the commands of a file to a running server, many at a time, and looks at every answer.

use super::client::{Client, Place};
use super::progress::Progress;
use super::{Outcome, told};
use crate::error::StartError;
use clap::{Args, ValueEnum};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

/// The number of bytes that are sent before replies are waited for, if there are as many.
const AT_ONCE: usize = 256 << 10;

/// The treatment of a key that exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Existing {
    /// Nothing of the file goes on after it
    Fail,
    /// The file's takes its place
    Replace,
    /// It stays
    Keep,
}

/// Send the commands of a file that `varve export` wrote to a running server.
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// The file. `-`: standard input.
    file: PathBuf,
    /// The server that takes them.
    #[arg(long, value_name = "URL", default_value = "redis://127.0.0.1:6379")]
    to: Place,
    /// A key that is there already
    #[arg(long, value_enum, default_value_t = Existing::Fail)]
    existing: Existing,
}

/// Runs the subcommand.
///
/// # Errors
/// Fails with the first error reply, or if the file is invalid. Keys restored before stay.
pub(crate) fn run(args: &ImportArgs) -> Result<(), StartError> {
    import(args).map_err(StartError::Other)
}

fn import(args: &ImportArgs) -> Outcome<()> {
    let named = |error: String| format!("{}: {error}", args.file.display());
    let (file, len): (Box<dyn Read>, u64) = match args.file.as_os_str() == "-" {
        true => (Box::new(std::io::stdin().lock()), 0),
        false => {
            let file = File::open(&args.file).map_err(told).map_err(named)?;
            let len = file.metadata().map_err(told).map_err(named)?.len();
            (Box::new(file), len)
        }
    };
    let mut sender =
        Sender { client: Client::connect(&args.to)?, existing: args.existing, keys: 0, kept: 0 };
    let mut progress = Progress::new();
    sender.send_all(file, len, &mut progress).map_err(named)?;
    let kept = match sender.kept {
        0 => String::new(),
        kept => format!("; {kept} were there already and stay"),
    };
    progress.done(&format!("{} keys restored{kept}", sender.keys));
    Ok(())
}

struct Sender {
    client: Client,
    existing: Existing,
    keys: u64,
    kept: u64,
}

impl Sender {
    fn send_all(&mut self, mut file: impl Read, len: u64, progress: &mut Progress) -> Outcome<()> {
        let (mut bytes, mut sent) = (Vec::new(), 0);
        loop {
            let before = bytes.len();
            let read = file.by_ref().take(AT_ONCE as u64).read_to_end(&mut bytes).map_err(told)?;
            let used = self.send(&bytes)?;
            sent += used as u64;
            progress.copying(sent, len);
            bytes.drain(..used);
            if read == 0 {
                return match before {
                    0 => Ok(()),
                    _ => Err("it ends within a command".into()),
                };
            }
        }
    }

    /// Sends the commands that are whole; how many bytes they are.
    fn send(&mut self, bytes: &[u8]) -> Outcome<usize> {
        let (mut used, mut keys, mut request) = (0, Vec::new(), Vec::new());
        let whole = |bytes: &[u8]| resp::decode_whole(bytes).map_err(|error| error.to_string());
        while let Some((command, len)) = whole(&bytes[used..])? {
            let words = command.as_slice().unwrap_or_default().iter();
            let words: Option<Vec<&[u8]>> = words.map(resp::Value::as_bytes).collect();
            let mut words = words.filter(|words| !words.is_empty()).ok_or("it is no export")?;
            match words[0] {
                b"SELECT" => keys.push(0),
                b"RESTORE" => {
                    keys.push(1);
                    words.extend((self.existing == Existing::Replace).then_some(&b"REPLACE"[..]));
                }
                _ => return Err("it is no export: it has commands other than RESTORE".into()),
            }
            resp::encode_command(words, &mut request);
            used += len;
        }
        for (answer, keys) in self.client.exchange(&request, keys.len())?.into_iter().zip(keys) {
            match answer.value() {
                Ok(_) => self.keys += keys,
                Err(error) if error.starts_with("BUSYKEY") && self.existing == Existing::Keep => {
                    self.kept += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(used)
    }
}
