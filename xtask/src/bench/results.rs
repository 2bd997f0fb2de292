//! `results.json`: everything a run measured, round by round, so that any table and comparison
//! can be made from the file alone.

use super::machine::Machine;
use super::schema;
use super::stats::Spread;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// Changes whenever a field changes its meaning or goes away. A new one is optional, here and in
/// `results.schema.json`.
pub const SCHEMA: u32 = 1;

/// `results.schema.json`.
fn schema() -> Result<Value> {
    Ok(serde_json::from_str(include_str!("../../results.schema.json"))?)
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`] at the time of writing.
    pub schema: u32,
    /// The time at which the run ended, in Unix seconds.
    pub unix_seconds: u64,
    /// The machine on which it ran.
    pub machine: Machine,
    /// The settings of the run.
    pub settings: Settings,
    /// Servers that ran.
    pub rows: Vec<RowResult>,
    /// Servers that did not.
    pub left_out: Vec<LeftOut>,
}

/// The settings of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Rounds.
    pub rounds: u32,
    /// Length of a window, seconds.
    pub seconds: f64,
    /// Key space, for workloads that bring none of their own.
    pub keys: u64,
    /// Bytes per value, likewise.
    pub value_size: usize,
    /// Server threads.
    pub threads: usize,
    /// Cores of the servers.
    pub server_cores: Vec<usize>,
    /// Cores of the load.
    pub load_cores: Vec<usize>,
    /// `--baseline`.
    pub baseline: Option<String>,
    /// Key space of the rows whose storage is on disk, where it differs from `keys`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_keys: Option<u64>,
    /// Memory that servers of larger-than-memory workloads were given, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
}

/// A server that did not run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its row.
    pub name: String,
    /// The reason.
    pub reason: String,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowResult {
    /// The row's name.
    pub name: String,
    /// `off`, `everysec`, `always`.
    pub aof: String,
    /// Whether ratios may refer to it by default.
    pub redis_like: bool,
    /// Whether the load reached it through TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// The version that the server reports.
    pub version: Option<String>,
    /// From the start of the process to the first PONG, ms.
    pub start_ms: Option<f64>,
    /// Memory and recovery with the key space loaded, where a workload needed it loaded.
    pub loaded: Option<Loaded>,
    /// Threads of this server, where they differ from the settings'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Notes on this row, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The memory of things of one kind: elements of collections, idle connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub footprints: Vec<Footprint>,
    /// The measurements.
    pub cells: Vec<Cell>,
}

/// Memory of one server before and after it was given many things of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Footprint {
    /// Name of the workload.
    pub workload: String,
    /// The counted element: `hash`, `member`, `connection` …
    pub element: String,
    /// How many there were.
    pub count: u64,
    /// Resident memory before, bytes.
    pub empty_bytes: u64,
    /// Resident memory after, bytes.
    pub full_bytes: u64,
    /// Bytes in the server's data folder after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// Making them took so long, seconds.
    pub seconds: f64,
}

impl Footprint {
    /// Resident memory that one costs, bytes.
    pub fn bytes_each(&self) -> f64 {
        self.full_bytes.saturating_sub(self.empty_bytes) as f64 / self.count.max(1) as f64
    }
}

/// A server with the key space in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loaded {
    /// Keys.
    pub keys: u64,
    /// Loading took so long, seconds.
    pub seconds: f64,
    /// Resident memory before, bytes.
    pub empty_bytes: Option<u64>,
    /// Resident memory after, bytes.
    pub full_bytes: Option<u64>,
    /// Restart with this data until it served again, ms; only where writes survive.
    pub recovery_ms: Option<f64>,
    /// Keys after the restart.
    pub recovered_keys: Option<u64>,
}

impl Loaded {
    /// Resident memory that a key costs.
    pub fn bytes_per_key(&self) -> Option<f64> {
        let grown = self.full_bytes?.saturating_sub(self.empty_bytes?);
        Some(grown as f64 / self.keys.max(1) as f64)
    }
}

/// One workload at one pipeline depth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Name of the workload.
    pub workload: String,
    /// Requests per batch.
    pub pipeline: usize,
    /// Connections.
    pub connections: usize,
    /// Requests per second that were due, for an open loop at a rate that is the same for all rows.
    pub rate: Option<f64>,
    /// The name of one operation, where it is not a request: `delivery`, `hand-over`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// For an open loop at a share of what this row takes: the share, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_share: Option<f64>,
    /// Operations per second that this row takes in a closed loop, which `rate_share` is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saturation: Option<f64>,
    /// One sample per round.
    pub samples: Vec<Sample>,
    /// System calls per operation, from a pass of its own, where they could be counted.
    pub syscalls_per_op: Option<f64>,
    /// The method by which they were counted: `perf_event`, `ptrace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syscalls_by: Option<String>,
    /// Where the server's time went, where `--trace` asked, from a pass of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
    /// The reason why there are fewer samples than rounds.
    pub failure: Option<String>,
}

/// Where a server's time went while one workload ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Commands executed.
    pub commands: u64,
    /// Time on a CPU, all threads, ns.
    pub cpu_ns: Option<u64>,
    /// The stages, in the order a request goes through them.
    pub stages: Vec<StageTimes>,
}

/// The time that turns spent in one stage. A turn is one read of one connection with all commands in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageTimes {
    /// `queue`, `read`, `parse`, `plan`, `lock_wait`, `execute`, `journal`, `fsync_wait`, `write`.
    pub name: String,
    /// Turns that had this stage.
    pub turns: u64,
    /// All their time in it, µs.
    pub total_us: f64,
    /// The median turn, µs.
    pub p50_us: f64,
    /// 99 %.
    pub p99_us: f64,
}

/// One round's measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Which round: samples of different rows in the same round belong together.
    pub round: u32,
    /// Replies, errors and nulls among them.
    pub replies: u64,
    /// Error replies.
    pub errors: u64,
    /// Null replies.
    pub nulls: u64,
    /// Length of the window.
    pub seconds: f64,
    /// Latencies, µs.
    pub p50_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
    /// The server's use of CPU and memory meanwhile.
    pub server: Option<ServerCost>,
}

/// A server process's use of CPU and memory in a window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ServerCost {
    /// Time on a CPU, ns.
    pub cpu_ns: u64,
    /// In user mode, clock ticks.
    pub user_ticks: u64,
    /// In the kernel, clock ticks.
    pub system_ticks: u64,
    /// Voluntary context switches.
    pub switches: u64,
}

impl Sample {
    /// Successful replies: errors are not work done.
    pub fn done(&self) -> u64 {
        self.replies - self.errors.min(self.replies)
    }

    /// Operations per second.
    pub fn per_second(&self) -> f64 {
        self.done() as f64 / self.seconds.max(1e-9)
    }

    /// Server CPU time per operation, µs.
    pub fn cpu_us(&self) -> Option<f64> {
        let cost = self.server?;
        (self.replies > 0).then(|| cost.cpu_ns as f64 / 1000.0 / self.replies as f64)
    }

    /// Voluntary context switches per operation.
    pub fn switches(&self) -> Option<f64> {
        let cost = self.server?;
        (self.replies > 0).then(|| cost.switches as f64 / self.replies as f64)
    }
}

impl Cell {
    /// The spread of `what` over the rounds; `None` when nothing was measured.
    pub fn spread(&self, what: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.samples.iter().filter_map(what).collect())
    }

    /// Share of the CPU time spent in user mode, over all rounds: ticks are too coarse for one.
    pub fn user_share(&self) -> Option<f64> {
        let costs = || self.samples.iter().filter_map(|sample| sample.server);
        let user: u64 = costs().map(|cost| cost.user_ticks).sum();
        let system: u64 = costs().map(|cost| cost.system_ticks).sum();
        (user + system >= 20).then(|| user as f64 / (user + system) as f64)
    }

    /// Error replies over all rounds.
    pub fn errors(&self) -> u64 {
        self.samples.iter().map(|sample| sample.errors).sum()
    }

    /// Whether requests came at a rate, and not as fast as the server took them.
    pub fn is_open(&self) -> bool {
        self.rate.is_some() || self.rate_share.is_some()
    }

    /// Whether `other` is the same measurement of another server.
    pub fn matches(&self, other: &Cell) -> bool {
        self.workload == other.workload
            && self.pipeline == other.pipeline
            && self.connections == other.connections
            && self.rate == other.rate
            && self.rate_share == other.rate_share
    }
}

impl Results {
    /// Reads a file; one of another schema, or that does not follow it, is refused.
    pub fn load(path: &Path) -> Result<Results> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Results> {
        let value: Value = serde_json::from_str(text).context("this is no JSON")?;
        match value.get("schema") {
            Some(version) if *version == SCHEMA => {}
            Some(version) => bail!("schema {version}, but this program reads schema {SCHEMA}"),
            None => bail!("no results of `cargo xtask bench`: it has no \"schema\""),
        }
        let found = schema::violations(&schema()?, &value, false);
        match found.as_slice() {
            [] => Ok(serde_json::from_value(value)?),
            [only] => bail!("it does not follow results.schema.json: {only}"),
            [first, rest @ ..] => {
                bail!("it does not follow results.schema.json: {first}, and {} more", rest.len())
            }
        }
    }

    /// Writes a file, and the directory it goes to.
    pub fn save(&self, path: &Path) -> Result<()> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::write(path, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| path.display().to_string())
    }

    /// The row that `row` is measured by: the one asked for, else a Redis-like server with the
    /// same durability, through TLS if this one is, else the echo server.
    pub fn baseline(&self, row: &RowResult) -> Option<&RowResult> {
        let named = |name: &str| self.rows.iter().find(|other| other.name == name);
        if let Some(name) = &self.settings.baseline {
            return named(name);
        }
        let same =
            |other: &&RowResult| other.redis_like && (&other.aof, other.tls) == (&row.aof, row.tls);
        self.rows.iter().find(same).or_else(|| named("echo"))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn sample(round: u32, cpu_ns: u64) -> Sample {
        Sample {
            round,
            replies: 1000,
            errors: 0,
            nulls: 0,
            seconds: 1.0,
            p50_us: 10.0,
            p99_us: 20.0,
            p999_us: 30.0,
            max_us: 40.0,
            server: Some(ServerCost { cpu_ns, user_ticks: 30, system_ticks: 10, switches: 5 }),
        }
    }

    /// A run of two servers: `fast` takes half of what `redis-server` takes in every round.
    pub fn example() -> Results {
        let row = |name: &str, cpu_ns: u64| RowResult {
            name: name.into(),
            aof: "off".into(),
            redis_like: name == "redis-server",
            tls: false,
            version: None,
            start_ms: Some(3.0),
            loaded: Some(Loaded {
                keys: 1000,
                seconds: 0.5,
                empty_bytes: Some(1_000_000),
                full_bytes: Some(1_100_000),
                recovery_ms: None,
                recovered_keys: None,
            }),
            threads: None,
            notes: Vec::new(),
            footprints: Vec::new(),
            cells: vec![Cell {
                workload: "get".into(),
                pipeline: 16,
                connections: 50,
                rate: None,
                operation: None,
                rate_share: None,
                saturation: None,
                samples: (0..3)
                    .map(|round| sample(round, cpu_ns + u64::from(round) * cpu_ns / 100))
                    .collect(),
                syscalls_per_op: None,
                syscalls_by: None,
                trace: None,
                failure: None,
            }],
        };
        Results {
            schema: SCHEMA,
            unix_seconds: 1_800_000_000,
            machine: Machine {
                cpu: Some("test".into()),
                cores: 2,
                memory_bytes: Some(1 << 30),
                kernel: None,
                commit: None,
            },
            settings: Settings {
                rounds: 3,
                seconds: 1.0,
                keys: 1000,
                value_size: 64,
                threads: 1,
                server_cores: vec![0],
                load_cores: vec![1],
                baseline: None,
                disk_keys: None,
                memory_limit: None,
            },
            rows: vec![row("redis-server", 2_000_000), row("fast", 1_000_000)],
            left_out: vec![LeftOut { name: "slow".into(), reason: "not built".into() }],
        }
    }

    #[test]
    fn a_file_reads_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/results.json");
        example().save(&path).unwrap();
        assert_eq!(Results::load(&path).unwrap(), example());
    }

    #[test]
    fn another_schema_is_refused() {
        let text = serde_json::to_string(&Results { schema: SCHEMA + 1, ..example() }).unwrap();
        let error = Results::parse(&text).unwrap_err().to_string();
        assert!(error.contains("schema 2"), "{error}");
    }

    /// A run in which every field has a value.
    pub fn full() -> Results {
        let mut results = example();
        results.machine.kernel = Some("6".into());
        results.machine.commit = Some("abc".into());
        let settings = &mut results.settings;
        settings.baseline = Some("fast".into());
        (settings.disk_keys, settings.memory_limit) = (Some(1), Some(1));
        for row in &mut results.rows {
            (row.version, row.threads) = (Some("7".into()), Some(2));
            (row.tls, row.notes) = (true, vec!["a note".into()]);
            row.footprints = vec![Footprint {
                workload: "hashes".into(),
                element: "hash".into(),
                count: 10,
                empty_bytes: 100,
                full_bytes: 1100,
                disk_bytes: Some(5),
                seconds: 0.5,
            }];
            let loaded = row.loaded.as_mut().unwrap();
            (loaded.recovery_ms, loaded.recovered_keys) = (Some(1.5), Some(1000));
            let cell = &mut row.cells[0];
            (cell.rate, cell.rate_share, cell.saturation) = (Some(1.0), Some(0.6), Some(9.5));
            (cell.operation, cell.syscalls_by) = (Some("delivery".into()), Some("ptrace".into()));
            (cell.syscalls_per_op, cell.failure) = (Some(0.1), Some("x".into()));
            let stage = |name: &str, p50_us| StageTimes {
                name: name.into(),
                turns: 100,
                total_us: 200.0,
                p50_us,
                p99_us: 4.0,
            };
            let stages = vec![stage("queue", 90.0), stage("read", 2.0), stage("execute", 1.0)];
            cell.trace = Some(Trace { commands: 100, cpu_ns: Some(500_000), stages });
        }
        results
    }

    #[test]
    fn the_schema_has_every_field_and_no_other() {
        let text = "results.schema.json and results.rs do not agree";
        let check = |results: &Results, strict| {
            let value = serde_json::to_value(results).unwrap();
            schema::violations(&schema().unwrap(), &value, strict)
        };
        let shown = format!("{:?}", full());
        assert!(!shown.contains("None") && !shown.contains("[]"), "not full: {shown}");
        assert_eq!(check(&full(), true), [""; 0], "{text}");
        assert_eq!(check(&example(), false), [""; 0], "{text}");
    }

    /// The error of loading the example after `change` was made to its text.
    fn refused(change: impl Fn(&mut Value)) -> String {
        let mut value = serde_json::to_value(full()).unwrap();
        change(&mut value);
        Results::parse(&value.to_string()).unwrap_err().to_string()
    }

    #[test]
    fn a_file_with_too_much_too_little_or_something_else_is_refused() {
        let error = refused(|v| v["rows"][1]["cells"][0]["colour"] = "red".into());
        assert!(error.ends_with("rows[1].cells[0].colour: not in the schema"), "{error}");
        let error = refused(|v| {
            v["rows"][0]["cells"][0]["samples"][2].as_object_mut().unwrap().remove("p99_us");
        });
        assert!(error.ends_with("rows[0].cells[0].samples[2].p99_us: missing"), "{error}");
        let error = refused(|v| v["machine"]["cores"] = (-1).into());
        assert!(error.ends_with("machine.cores: -1 is below 0"), "{error}");
        let error = refused(|v| {
            v["settings"]["keys"] = "many".into();
            v["rows"] = Value::Null;
        });
        assert!(error.contains("and 1 more"), "{error}");
        assert!(refused(|v| *v = Value::Array(Vec::new())).contains("no \"schema\""));
        assert!(format!("{:#}", Results::parse("{").unwrap_err()).starts_with("this is no JSON"));
    }

    #[test]
    fn files_without_the_optional_fields_load() {
        let value = serde_json::to_value(example()).unwrap();
        assert!(value["rows"][0].get("footprints").is_none());
        assert_eq!(Results::parse(&value.to_string()).unwrap(), example());
    }

    #[test]
    fn derived_numbers() {
        let results = example();
        let cell = &results.rows[0].cells[0];
        assert_eq!(cell.samples[0].cpu_us(), Some(2.0));
        assert_eq!(cell.user_share(), Some(0.75));
        assert_eq!(results.rows[0].loaded.as_ref().unwrap().bytes_per_key(), Some(100.0));
        assert_eq!(results.baseline(&results.rows[1]).unwrap().name, "redis-server");
    }
}
