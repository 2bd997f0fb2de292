//! The command lines of `varve advise`, and what `cargo xtask bench --replay` shares with it.

use crate::replay::{Options, Speed};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// How writes are to be made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// No append-only file
    None,
    /// Synced once a second
    Everysec,
    /// Synced before the reply
    Always,
}

impl Durability {
    /// As it is written on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Durability::None => "none",
            Durability::Everysec => "everysec",
            Durability::Always => "always",
        }
    }
}

/// The requirements.
#[derive(Debug, Clone, Args)]
pub struct Demands {
    /// Longest latency that 99 % of the requests may have, such as 500us, 2ms, 1s
    #[arg(long, value_parser = duration)]
    pub p99_budget: Option<Duration>,
    /// Most memory the server may take, such as 512mb, 1gb
    #[arg(long, value_parser = bytes)]
    pub memory_limit: Option<u64>,
    /// How writes are to be made durable
    #[arg(long, default_value = "everysec")]
    pub durability: Durability,
}

/// How a capture is replayed.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// How fast: 1x as it was, 2x twice as fast, max as fast as the server answers
    #[arg(long, default_value = "1x")]
    pub speed: Speed,
    /// Replay only the first seconds of the capture
    #[arg(long, value_name = "SECONDS")]
    pub first: Option<f64>,
    /// Seconds that a server has to catch up after the last request was due
    #[arg(long, default_value_t = 5.0)]
    pub patience: f64,
}

impl ReplayArgs {
    /// The options for [`crate::replay::run`], with load threads on `cores`.
    pub fn options(&self, cores: Vec<usize>) -> Options {
        let patience = Duration::from_secs_f64(self.patience.clamp(0.1, 3600.0));
        Options { speed: self.speed, cores, patience }
    }
}

/// Replay a capture against every runtime and storage of this program, and say which to take.
#[derive(Debug, Clone, Args)]
pub struct AdviseArgs {
    /// A file that `varve capture` wrote
    pub file: PathBuf,
    /// The requirements.
    #[command(flatten)]
    pub demands: Demands,
    /// How the capture is replayed.
    #[command(flatten)]
    pub replay: ReplayArgs,
    /// Execution models to try
    #[arg(long, value_delimiter = ',')]
    #[arg(default_value = "epoll-inline,epoll-pool,tokio,threads,uring")]
    pub runtimes: Vec<String>,
    /// Storages to try
    #[arg(long, value_delimiter = ',', default_value = "memory,sled,fjall")]
    pub storages: Vec<String>,
    /// Server threads; by default half of the cores, the other half replays
    #[arg(long)]
    pub threads: Option<usize>,
    /// How often everything is tried
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Where the servers under test keep their data: on the disk that will be used
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// Also write the configuration to this file
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// Reads `500us`, `2ms`, `1.5s`.
///
/// # Errors
/// Fails if the text has another form.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        unit => return Err(format!("a unit is missing, or not known: `{unit}` (us, ms, s)")),
    };
    let number: Option<f64> = digits.parse().ok().filter(|n| (0.0..1e9).contains(n));
    let number = number.ok_or_else(|| format!("`{digits}` is no number"))?;
    Ok(Duration::from_secs_f64(number * seconds))
}

/// Reads `512mb`, `1gb`, and plain numbers.
///
/// # Errors
/// Fails if the text has another form.
pub fn bytes(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &lower[digits.len()..] {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        unit => return Err(format!("a unit that is not known: `{unit}` (kb, mb, gb)")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("`{digits}` is no number"))?;
    number.checked_mul(unit).ok_or_else(|| format!("`{text}` is too much"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read() {
        assert_eq!(duration("2ms"), Ok(Duration::from_millis(2)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("500us"), Ok(Duration::from_micros(500)));
        assert!(duration("2").is_err() && duration("-2ms").is_err() && duration("ms").is_err());
        assert_eq!(bytes("1gb"), Ok(1 << 30));
        assert_eq!(bytes("512MB"), Ok(512 << 20));
        assert!(bytes("1tb").is_err() && bytes("99999999999999999999").is_err());
        assert!(bytes("99999999999gb").is_err());
    }
}
