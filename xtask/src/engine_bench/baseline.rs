//! The instruction counts that are kept in the repository, and where they were counted.

use super::instructions::Counted;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// How far a count may be above the baseline; as far below, the baseline should be renewed.
const TOLERANCE: f64 = 0.03;

/// The facts that counts depend on besides the code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// `rustc --version`.
    pub rustc: String,
    /// `valgrind --version`.
    pub valgrind: String,
    /// The C library, whose memcpy is counted too.
    pub libc: String,
    /// The instruction set.
    pub arch: String,
}

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Where it was counted.
    pub machine: Machine,
    /// Instructions per request: by case, then by pipeline (`p1`).
    pub instructions: BTreeMap<String, BTreeMap<String, f64>>,
}

/// The relation of a count to its baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Within the tolerance.
    Same,
    /// Above it.
    Worse,
    /// Below it.
    Better,
    /// There is no baseline.
    New,
}

impl Machine {
    /// This one.
    pub fn this() -> Result<Machine> {
        Ok(Machine {
            rustc: first_line("rustc", "--version")?,
            valgrind: first_line("valgrind", "--version").context("Debian's package: valgrind")?,
            libc: first_line("ldd", "--version").unwrap_or_default(),
            arch: std::env::consts::ARCH.to_owned(),
        })
    }

    /// The facts that differ from those here.
    pub fn differences(&self, here: &Machine) -> Vec<String> {
        let pairs = [
            (&self.rustc, &here.rustc),
            (&self.valgrind, &here.valgrind),
            (&self.libc, &here.libc),
            (&self.arch, &here.arch),
        ];
        let different = pairs.into_iter().filter(|(was, is)| was != is);
        different.map(|(was, is)| format!("{was} there, {is} here")).collect()
    }
}

fn first_line(program: &str, argument: &str) -> Result<String> {
    let output = Command::new(program).arg(argument).output();
    let output = output.with_context(|| format!("running {program}"))?;
    ensure!(output.status.success(), "{program} {argument} failed");
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

impl Baseline {
    /// Reads the file; `None` when there is none.
    pub fn load(path: &Path) -> Result<Option<Baseline>> {
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Ok(Some(toml::from_str(&text).with_context(|| path.display().to_string())?))
    }

    /// Writes the file.
    pub fn save(&self, path: &Path) -> Result<()> {
        let head = "# Instructions per request, counted by callgrind.\n\
                    # Written by `cargo xtask bench engine --instructions --accept`; do not edit.\n\n";
        let text = toml::to_string(self)?;
        std::fs::write(path, head.to_owned() + &text).with_context(|| path.display().to_string())
    }

    /// This baseline with the new counts. Cases that were not counted stay.
    pub fn renewed(mut self, machine: Machine, counted: &[Counted]) -> Baseline {
        self.machine = machine;
        for one in counted {
            let depths = self.instructions.entry(one.case.name.to_owned()).or_default();
            depths.insert(depth(one), (one.instructions * 10.0).round() / 10.0);
        }
        self
    }

    /// The baseline of one count.
    pub fn of(&self, one: &Counted) -> Option<f64> {
        self.instructions.get(one.case.name)?.get(&depth(one)).copied()
    }

    /// The relation of one count to its baseline.
    pub fn verdict(&self, one: &Counted) -> Verdict {
        match self.of(one).map(|was| one.instructions / was) {
            None => Verdict::New,
            Some(ratio) if ratio > 1.0 + TOLERANCE => Verdict::Worse,
            Some(ratio) if ratio < 1.0 - TOLERANCE => Verdict::Better,
            Some(_) => Verdict::Same,
        }
    }
}

fn depth(one: &Counted) -> String {
    format!("p{}", one.pipeline)
}

#[cfg(test)]
mod tests {
    use super::super::cases::ALL;
    use super::*;

    fn counted(instructions: f64) -> Counted {
        Counted { case: &ALL[0], pipeline: 1, instructions }
    }

    #[test]
    fn three_percent_either_way_are_the_same() {
        let baseline = Baseline::default().renewed(Machine::default(), &[counted(1000.0)]);
        let verdict = |instructions| baseline.verdict(&counted(instructions));
        assert_eq!(verdict(1029.0), Verdict::Same);
        assert_eq!(verdict(971.0), Verdict::Same);
        assert_eq!(verdict(1031.0), Verdict::Worse);
        assert_eq!(verdict(969.0), Verdict::Better);
        let other = Counted { pipeline: 64, ..counted(1.0) };
        assert_eq!(baseline.verdict(&other), Verdict::New);
    }

    #[test]
    fn the_file_reads_back_and_keeps_what_was_not_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("baseline.toml");
        assert_eq!(Baseline::load(&path).unwrap(), None);
        let machine = Machine { rustc: "rustc 1".into(), ..Machine::default() };
        let first = Baseline::default().renewed(machine.clone(), &[counted(10.04)]);
        first.save(&path).unwrap();
        let read = Baseline::load(&path).unwrap().unwrap();
        assert_eq!(read.of(&counted(0.0)), Some(10.0));
        let other = Counted { pipeline: 64, ..counted(5.0) };
        let second = read.renewed(Machine::default(), &[other]);
        assert_eq!((second.of(&counted(0.0)), second.of(&other)), (Some(10.0), Some(5.0)));
        assert_eq!(second.machine.differences(&machine), [" there, rustc 1 here"]);
    }
}
