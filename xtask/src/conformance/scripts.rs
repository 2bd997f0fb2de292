//! Golden scripts against a real Redis, answer by answer. Our side is an engine in this process
//! over the memory backend.

use super::ConformanceArgs;
use super::known::Known;
use anyhow::{Result, bail};
use golden::{Driver, EngineDriver, Entry, Script, SocketDriver, record, scripts_under};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use storage::backend::EncodingLimits;
use storage::memory::{Config, MemoryBackend};

fn in_process() -> EngineDriver {
    EngineDriver::new(|| {
        let limits = EncodingLimits::default();
        Arc::new(MemoryBackend::new(Config { shards: 4, databases: 16, hash_seed: 7, limits }))
    })
}

/// What a comparison found.
#[derive(Default)]
struct Tally {
    compared: usize,
    left_out: usize,
    known: usize,
    differing: usize,
}

/// One run of the command.
struct Comparison<'a> {
    args: &'a ConformanceArgs,
    known: Known,
    tally: Tally,
}

impl Comparison<'_> {
    fn script(&mut self, script: &Script, address: SocketAddr, protocol: u8) -> Result<()> {
        let mut ours: Box<dyn Driver> = match self.args.mirror {
            Some(address) => Box::new(SocketDriver::new(address)),
            None => Box::new(in_process()),
        };
        let mut theirs = SocketDriver::new(address);
        let answers =
            |driver: &mut dyn Driver| record(script, driver, protocol).map_err(anyhow::Error::msg);
        let (ours, theirs) = (answers(&mut *ours)?, answers(&mut theirs)?);
        for (our, their) in ours.iter().zip(&theirs) {
            self.answer(&script.name, protocol, our, their);
        }
        Ok(())
    }

    fn answer(&mut self, script: &str, protocol: u8, our: &Entry, their: &Entry) {
        if our.mark.ours || our.mark.newer && !self.args.ours {
            self.tally.left_out += 1;
            return;
        }
        self.tally.compared += usize::from(!our.answer.is_empty());
        if our.answer == their.answer {
            return;
        }
        if !self.args.ours && self.known.script(script, &our.text) {
            self.tally.known += 1;
            return;
        }
        self.tally.differing += 1;
        println!("{script}: > {}  (RESP{protocol})", our.text);
        print!("{}{}", indent("ours:   ", &our.answer), indent("theirs: ", &their.answer));
    }
}

/// The lines of `answer`, each behind `head`.
pub(super) fn indent(head: &str, answer: &str) -> String {
    answer.lines().map(|line| format!("    {head}{line}\n")).collect()
}

/// Runs the comparison.
///
/// # Errors
/// When a server or a script fails, or any answer differs without being listed.
pub fn run(args: &ConformanceArgs, address: SocketAddr, root: &Path) -> Result<()> {
    let folder = root.join("golden/scripts");
    let only = args.only.clone().unwrap_or_default();
    let mut comparison = Comparison { args, known: Known::read(root)?, tally: Tally::default() };
    for name in scripts_under(&folder)?.iter().filter(|name| name.starts_with(&only)) {
        let script = Script::read(&folder, name)?;
        for protocol in [2, 3] {
            comparison.script(&script, address, protocol)?;
        }
    }
    let Tally { compared, left_out, known, differing } = comparison.tally;
    println!(
        "{compared} answers compared, {differing} differing; {known} known differences, {left_out} steps not compared (marked)"
    );
    if differing > 0 {
        bail!("{differing} answers differ");
    }
    Ok(())
}
