//! Golden scripts against a real Redis, answer by answer. Our side is an engine in this process
//! over the memory backend.

use super::ConformanceArgs;
use super::known::Known;
use anyhow::{Result, bail};
use golden::{
    EngineDriver, Script, ScriptDriver, SocketDriver, TranscriptEntry, record, scripts_under,
};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use storage::backend::EncodingLimits;
use storage_memory::{Config, MemoryBackend};

fn in_process() -> EngineDriver {
    EngineDriver::new(|| {
        let limits = EncodingLimits::default();
        Arc::new(MemoryBackend::new(Config { shards: 4, databases: 16, hash_seed: 7, limits }))
    })
}

/// The result of a comparison.
#[derive(Default)]
struct Tally {
    compared: usize,
    left_out: usize,
    known: usize,
    /// The differences, to be printed.
    differing: Vec<String>,
    /// The number of scripts that were executed twice.
    again: usize,
}

/// One run of the command.
struct Comparison<'a> {
    args: &'a ConformanceArgs,
    known: Known,
}

impl Comparison<'_> {
    /// Compares a script. If there is a difference it is run once more: on a busy machine a reply
    /// may be late, or a clock may be at the next second. Only a difference that appears again
    /// counts, but the first one is reported as well.
    fn script(&self, script: &Script, address: SocketAddr, protocol: u8) -> Result<Tally> {
        let first = self.ask(script, address, protocol)?;
        if first.differing.is_empty() {
            return Ok(first);
        }
        first.differing.iter().for_each(|difference| print!("{difference}"));
        println!("{}: asked once more", script.name);
        Ok(Tally { again: 1, ..self.ask(script, address, protocol)? })
    }

    fn ask(&self, script: &Script, address: SocketAddr, protocol: u8) -> Result<Tally> {
        let mut ours: Box<dyn ScriptDriver> = match self.args.mirror {
            Some(address) => Box::new(SocketDriver::new(address)),
            None => Box::new(in_process()),
        };
        let mut theirs = SocketDriver::new(address);
        let answers = |driver: &mut dyn ScriptDriver| {
            record(script, driver, protocol).map_err(anyhow::Error::msg)
        };
        let (ours, theirs) = (answers(&mut *ours)?, answers(&mut theirs)?);
        let mut tally = Tally::default();
        for (our, their) in ours.iter().zip(&theirs) {
            self.answer(&script.name, protocol, our, their, &mut tally);
        }
        Ok(tally)
    }

    fn answer(
        &self,
        script: &str,
        protocol: u8,
        our: &TranscriptEntry,
        their: &TranscriptEntry,
        tally: &mut Tally,
    ) {
        if our.mark.ours || our.mark.newer && !self.args.ours {
            tally.left_out += 1;
            return;
        }
        tally.compared += usize::from(!our.answer.is_empty());
        if our.answer == their.answer {
            return;
        }
        if !self.args.ours && self.known.script(script, &our.text) {
            tally.known += 1;
            return;
        }
        tally.differing.push(format!(
            "{script}: > {}  (RESP{protocol})\n{}{}",
            our.text,
            indent("ours:   ", &our.answer),
            indent("theirs: ", &their.answer)
        ));
    }
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.compared += other.compared;
        self.left_out += other.left_out;
        self.known += other.known;
        self.again += other.again;
        self.differing.extend(other.differing);
    }
}

/// The lines of `answer`, each behind `head`.
pub(super) fn indent(head: &str, answer: &str) -> String {
    answer.lines().map(|line| format!("    {head}{line}\n")).collect()
}

/// Runs the comparison.
///
/// # Errors
/// Fails if a server or a script fails, or any answer differs without being listed.
pub fn run(args: &ConformanceArgs, address: SocketAddr, root: &Path) -> Result<()> {
    let folder = root.join("golden/scripts");
    let only = args.only.clone().unwrap_or_default();
    let comparison = Comparison { args, known: Known::read(root)? };
    let mut tally = Tally::default();
    let names: Vec<_> = scripts_under(&folder)?;
    let chosen: Vec<_> = names.iter().filter(|name| name.starts_with(&only)).collect();
    if chosen.is_empty() {
        bail!("there is no script '{only}'");
    }
    for name in chosen {
        let script = Script::read(&folder, name)?;
        for protocol in [2, 3] {
            tally.add(comparison.script(&script, address, protocol)?);
        }
    }
    let Tally { compared, left_out, known, differing, again } = tally;
    differing.iter().for_each(|difference| print!("{difference}"));
    println!(
        "{compared} answers compared, {} differing; {known} known differences, {left_out} steps not compared (marked), {again} scripts asked twice",
        differing.len()
    );
    if !differing.is_empty() {
        bail!("{} answers differ", differing.len());
    }
    Ok(())
}
