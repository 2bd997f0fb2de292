//! The measurements, as they are written to a file.

use crate::bench::machine::Machine;
use crate::bench::stats::Spread;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// Changes whenever a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// The length of time of which a strip shows the longest latency.
pub const STEP: Duration = Duration::from_millis(10);

/// The name of the echo server.
pub const ECHO: &str = "echo";
/// The name of the server that the bench is about.
const OURS: &str = "varve";

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorstResults {
    /// [`SCHEMA`] at the time of writing.
    pub schema: u32,
    /// The time at which the run ended, in Unix seconds.
    pub unix_seconds: u64,
    /// The machine on which it ran.
    pub machine: Machine,
    /// Part of ten million elements.
    pub scale: f64,
    /// One per round, case and server.
    pub measured: Vec<Measured>,
}

/// One server in one case, once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The round, from 0.
    pub round: u32,
    /// The case.
    pub case: String,
    /// The server.
    pub server: String,
    /// How long it lasted.
    pub seconds: f64,
    /// Commands that were timed.
    pub probes: u64,
    /// Latencies of the probe's commands, µs: the median, that of one in a thousand, the longest.
    pub p50_us: f64,
    /// See `p50_us`.
    pub p999_us: f64,
    /// See `p50_us`.
    pub worst_us: f64,
    /// The longest latency in each 10 ms, µs; 0 where no command was sent.
    pub strip_us: Vec<u32>,
}

impl WorstResults {
    /// Reads a file.
    ///
    /// # Errors
    /// Fails if it cannot be read, or is of another version.
    pub fn load(path: &Path) -> Result<WorstResults> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let results: WorstResults = serde_json::from_str(&text)?;
        ensure!(results.schema == SCHEMA, "{} has schema {}", path.display(), results.schema);
        Ok(results)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Fails if it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::write(path, serde_json::to_string(self)?)
            .with_context(|| path.display().to_string())
    }

    /// Takes over the cases of an earlier run that this one has not.
    pub fn add(&mut self, earlier: Option<WorstResults>) {
        let own = self.cases();
        let others = earlier.into_iter().flat_map(|earlier| earlier.measured);
        let others: Vec<Measured> = others.filter(|one| !own.contains(&one.case)).collect();
        self.measured.splice(0..0, others);
    }

    /// The cases, in the order in which they were measured.
    pub fn cases(&self) -> Vec<String> {
        in_order(self.measured.iter().map(|one| &one.case))
    }

    /// The servers in a case.
    pub fn servers(&self, case: &str) -> Vec<String> {
        in_order(self.measured.iter().filter(|one| one.case == case).map(|one| &one.server))
    }

    /// The rounds of a server in a case.
    pub fn rounds<'r>(
        &'r self,
        case: &'r str,
        server: &'r str,
    ) -> impl Iterator<Item = &'r Measured> + 'r {
        self.measured.iter().filter(move |one| one.case == case && one.server == server)
    }

    /// A figure of a server in a case, over its rounds.
    pub fn spread(
        &self,
        case: &str,
        server: &str,
        figure: impl Fn(&Measured) -> f64,
    ) -> Option<Spread> {
        Spread::of(self.rounds(case, server).map(figure).collect())
    }

    /// How much longer a server's worst command took than the echo server's in the same round, µs.
    pub fn beyond_echo(&self, case: &str, server: &str) -> Option<Spread> {
        let beyond = |one: &Measured| {
            let echo = self.rounds(case, ECHO).find(|echo| echo.round == one.round)?;
            Some(one.worst_us - echo.worst_us)
        };
        Spread::of(self.rounds(case, server).filter_map(beyond).collect())
    }

    /// The first case in which the worst command took so many µs longer than the echo server's in every
    /// round; a disturbance of the machine is not in every one.
    pub fn exceeds(&self, most_us: f64) -> Option<String> {
        self.cases().iter().find_map(|case| {
            let low = self.beyond_echo(case, OURS)?.low;
            let ms = |us: f64| us / 1000.0;
            let text = || format!("{case}: the worst command took {:.2} ms longer than the echo server's, more than {:.2} ms", ms(low), ms(most_us));
            (low > most_us).then(text)
        })
    }
}

/// Each of `names` once.
fn in_order<'n>(names: impl Iterator<Item = &'n String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    names.for_each(|name| {
        if !found.contains(name) {
            found.push(name.clone());
        }
    });
    found
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn measured(round: u32, server: &str, worst_us: f64) -> Measured {
        Measured {
            round,
            case: "growth".into(),
            server: server.into(),
            seconds: 1.0,
            probes: 1000,
            p50_us: 50.0,
            p999_us: 100.0,
            worst_us,
            strip_us: vec![60, worst_us as u32, 0, 70],
        }
    }

    /// Two rounds of one case; the machine was disturbed in the second.
    pub fn example() -> WorstResults {
        let measured = vec![
            measured(0, OURS, 900.0),
            measured(0, ECHO, 500.0),
            measured(1, OURS, 9000.0),
            measured(1, ECHO, 600.0),
        ];
        WorstResults {
            schema: SCHEMA,
            unix_seconds: 0,
            machine: Machine::here(),
            scale: 1.0,
            measured,
        }
    }

    #[test]
    fn a_bound_is_exceeded_if_every_round_exceeds_it() {
        let results = example();
        let beyond = results.beyond_echo("growth", OURS).unwrap();
        assert_eq!((beyond.low, beyond.high), (400.0, 8400.0));
        assert_eq!(results.exceeds(500.0), None);
        assert!(results.exceeds(300.0).unwrap().contains("0.40 ms longer"));
    }

    #[test]
    fn what_is_added_takes_the_place_of_the_same_case() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new/worst.json");
        let mut earlier = example();
        earlier.measured.push(Measured { case: "del".into(), ..measured(0, OURS, 1.0) });
        earlier.save(&file).unwrap();
        let mut results = example();
        results.measured.truncate(1);
        results.add(Some(WorstResults::load(&file).unwrap()));
        assert_eq!(results.cases(), ["del", "growth"]);
        assert_eq!(results.measured.len(), 2);
        std::fs::write(
            &file,
            serde_json::to_string(&earlier).unwrap().replace("\"schema\":1", "\"schema\":9"),
        )
        .unwrap();
        assert!(WorstResults::load(&file).is_err());
    }
}
