//! One replay against one freshly started server.

use crate::lab::proc::{self, Usage};
use crate::lab::{Client, Server};
use crate::plan::Plan;
use crate::replay::{self, Edge, Options, Report};
use anyhow::{Context, Result};

/// The result of a trial.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The result of the replay.
    pub report: Report,
    /// From the start of the process to the first PONG, ms.
    pub start_ms: Option<f64>,
    /// The server's use of the machine during the replay.
    pub usage: Option<Usage>,
    /// Resident memory of the empty server, bytes.
    pub empty_bytes: Option<u64>,
    /// Resident memory at the end.
    pub end_bytes: Option<u64>,
    /// The most it ever was.
    pub peak_bytes: Option<u64>,
    /// Keys at the end.
    pub keys: u64,
    /// Keys that could not be created beforehand.
    pub refused: u64,
}

impl Trial {
    /// Server CPU time per answered request, µs.
    pub fn cpu_us(&self) -> Option<f64> {
        let usage = self.usage?;
        (self.report.replies > 0).then(|| usage.cpu_ns as f64 / 1000.0 / self.report.replies as f64)
    }

    /// The resident memory per key, in bytes; `None` if there are too few keys to tell.
    pub fn bytes_per_key(&self) -> Option<f64> {
        let grown = self.end_bytes?.checked_sub(self.empty_bytes?)?;
        (self.keys >= 1000).then(|| grown as f64 / self.keys as f64)
    }
}

/// Creates the keys that `plan` needs, replays it, and measures. The server must have just been
/// started.
///
/// # Errors
/// Fails if the server ends or sends unexpected replies.
pub fn run(server: &Server, plan: &Plan, options: &Options) -> Result<Trial> {
    let pid = server.pid();
    let resident = || pid.and_then(proc::resident_bytes);
    let empty_bytes = resident();
    let refused = replay::preload(plan, server.addr()).context("creating keys")?;
    let (mut before, mut after) = (None, None);
    let report = replay::run(plan, server.addr(), options, &mut |edge| {
        let usage = pid.and_then(proc::usage);
        match edge {
            Edge::Start => before = usage,
            Edge::End => after = usage,
        }
    })?;
    let end_bytes = resident();
    let keys = Client::connect(server.addr())?.all_keys()?;
    Ok(Trial {
        report,
        start_ms: server.start_time.map(|time| time.as_secs_f64() * 1000.0),
        usage: before.zip(after).map(|(before, after)| after.since(before)),
        empty_bytes,
        end_bytes,
        peak_bytes: pid.and_then(proc::peak_bytes),
        keys,
        refused,
    })
}
