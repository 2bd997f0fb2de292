//! Workloads: small TOML files that define the requests, their keys, and their rate.
//!
//! The shipped ones are compiled in; `--workloads path/to/mine.toml` reads others.

use super::Pacing;
use super::keys::{Distribution, Keys};
use super::messages::{Messages, Pattern};
use super::request::Generator;
use anyhow::{Context, Result, bail};
use engine::command::{CommandTable, Flag};
use serde::Deserialize;

/// Bytes of a key that `{key}` makes.
const KEY_SIZE: u64 = 16;

/// The shipped files, in the order `--list` shows them.
const SHIPPED: &[&str] = &[
    include_str!("../../workloads/get.toml"),
    include_str!("../../workloads/set.toml"),
    include_str!("../../workloads/mixed.toml"),
    include_str!("../../workloads/hot-key.toml"),
    include_str!("../../workloads/incr.toml"),
    include_str!("../../workloads/hset.toml"),
    include_str!("../../workloads/sadd.toml"),
    include_str!("../../workloads/zadd.toml"),
    include_str!("../../workloads/lpush-lpop.toml"),
    include_str!("../../workloads/lpush.toml"),
    include_str!("../../workloads/lpop.toml"),
    include_str!("../../workloads/lrange-100.toml"),
    include_str!("../../workloads/spop.toml"),
    include_str!("../../workloads/zrange-100.toml"),
    include_str!("../../workloads/xadd.toml"),
    include_str!("../../workloads/eval.toml"),
    include_str!("../../workloads/big-hash.toml"),
    include_str!("../../workloads/big-list.toml"),
    include_str!("../../workloads/big-set.toml"),
    include_str!("../../workloads/big-zset.toml"),
    include_str!("../../workloads/hset-ten.toml"),
    include_str!("../../workloads/hset-million.toml"),
    include_str!("../../workloads/zadd-ten.toml"),
    include_str!("../../workloads/zadd-million.toml"),
    include_str!("../../workloads/rank-ten.toml"),
    include_str!("../../workloads/steady-60.toml"),
    include_str!("../../workloads/fan-out.toml"),
    include_str!("../../workloads/queue.toml"),
    include_str!("../../workloads/growing.toml"),
    include_str!("../../workloads/larger-than-memory.toml"),
    include_str!("../../workloads/idle.toml"),
    include_str!("../../workloads/memory-hashes.toml"),
    include_str!("../../workloads/memory-zset.toml"),
    include_str!("../../workloads/memory-list.toml"),
    include_str!("../../workloads/memory-integer-sets.toml"),
    include_str!("../../workloads/memory-string-set.toml"),
    include_str!("../../workloads/memory-ttl.toml"),
    include_str!("../../workloads/ycsb-a.toml"),
    include_str!("../../workloads/ycsb-b.toml"),
    include_str!("../../workloads/ycsb-c.toml"),
    include_str!("../../workloads/ycsb-d.toml"),
    include_str!("../../workloads/ycsb-e.toml"),
    include_str!("../../workloads/ycsb-f.toml"),
];

/// One command of a mix.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Its share, relative to the others'.
    #[serde(default = "one")]
    pub weight: f64,
    /// The request as one would type it, with places to fill in: see [`super::request`].
    pub request: String,
}

/// A number or a list of them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Depths {
    /// One depth.
    One(usize),
    /// Several, measured one after the other.
    Many(Vec<usize>),
}

impl Depths {
    /// The depths as a list.
    pub fn list(&self) -> Vec<usize> {
        match self {
            Depths::One(depth) => vec![*depth],
            Depths::Many(depths) => depths.clone(),
        }
    }
}

/// How fast an open loop is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
enum Rate {
    /// Requests per second.
    Fixed(f64),
    /// `"60%"` of the server's throughput in a closed loop.
    Share(String),
}

/// A workload file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Its name in `--workloads`.
    pub name: String,
    /// One line for `--list`.
    pub about: String,
    /// `uniform`, `zipf`, `hot`, `latest` or `sequential`.
    #[serde(default = "uniform")]
    pub keys: String,
    /// Skew of `zipf` and `latest`.
    #[serde(default = "theta")]
    pub zipf_theta: f64,
    /// Share of requests that go to the one key of `hot`.
    #[serde(default = "hot_share")]
    pub hot_share: f64,
    /// Overrides `--keys`: for workloads whose keys are few or large.
    pub key_count: Option<u64>,
    /// Sizes of `{value}` in bytes, equally likely; overrides `--value-size`.
    #[serde(default)]
    pub value_sizes: Vec<usize>,
    /// The number of values from which `{member}` and `{index}` are drawn.
    #[serde(default = "members")]
    pub members: u64,
    /// Overrides `--pipelines`; one depth or a list.
    pub pipeline: Option<Depths>,
    /// Overrides `--connections`.
    pub connections: Option<usize>,
    /// For an open loop: the number of requests per second, or a share (`"60%"`) of each server's
    /// throughput in a closed loop. Without it the loop is closed.
    rate: Option<Rate>,
    /// Requests that are sent once for every key before anything is measured.
    #[serde(default)]
    pub preload: Vec<String>,
    /// The number of requests after which a window ends, instead of a time, for workloads that use
    /// up their data.
    pub requests: Option<u64>,
    /// Sent `requests` times before every window, to create the data that the window uses up.
    pub refill: Option<String>,
    /// Every row has its machine to itself: its server is started, loaded, measured and stopped
    /// before the next one starts. For data of which only one fits, and for what only happens to
    /// a new server. One round unless `--rounds` says more.
    #[serde(default)]
    pub alone: bool,
    /// Storages that Varve's rows run it on; all by default.
    #[serde(default)]
    pub storages: Vec<String>,
    /// The size of the data set as a multiple of the server's memory (`--memory-limit`), from which
    /// the number of keys is computed. For storages on disk only.
    pub times_memory: Option<f64>,
    /// The element that one `preload` request makes: the memory of each is reported, and nothing else.
    pub element: Option<String>,
    /// The number of them that one `preload` request creates.
    #[serde(default = "one_each")]
    pub elements: u64,
    /// The number of connections that have sent one PING each; the memory of each is reported.
    pub idle: Option<usize>,
    /// Messages from senders to receivers, instead of a mix.
    pub messages: Option<Messages>,
    /// The mix.
    #[serde(default, rename = "command")]
    pub commands: Vec<Command>,
}

fn one() -> f64 {
    1.0
}
fn uniform() -> String {
    "uniform".into()
}
fn theta() -> f64 {
    0.99
}
fn hot_share() -> f64 {
    0.9
}
fn members() -> u64 {
    1000
}
fn one_each() -> u64 {
    1
}

/// A workload's pace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wanted {
    /// Known before anything runs.
    Given(Pacing),
    /// Open loop at this share of what each server takes.
    Share(f64),
}

/// The command line's values where a workload has none.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// `--keys`
    pub keys: u64,
    /// `--value-size`, bytes.
    pub value_size: usize,
}

impl Workload {
    /// Reads the text of a workload file, and checks that requests can be made from it.
    pub fn parse(text: &str) -> Result<Workload> {
        let workload: Workload = toml::from_str(text)?;
        workload.check()?;
        Ok(workload)
    }

    fn check(&self) -> Result<()> {
        let defaults = Defaults { keys: 16, value_size: 16 };
        let (mix, messages) = (!self.commands.is_empty(), self.messages.is_some());
        let (memory, idle) = (self.element.is_some(), self.idle.is_some());
        if [mix, messages, memory, idle].into_iter().filter(|kind| *kind).count() != 1 {
            bail!("a workload has one of [[command]], [messages], element and idle");
        }
        self.distribution()?;
        if mix {
            // Not as the keys are really distributed: drawing them takes time.
            self.mix(Keys::new(Distribution::Uniform, 16, 42), defaults)?;
        }
        self.messages.as_ref().map_or(Ok(()), Messages::check)?;
        self.preload(defaults)?;
        self.refill(defaults)?;
        self.pacing()?;
        let depths = self.pipeline.as_ref().map_or(Vec::new(), Depths::list);
        let counts = depths.into_iter().chain(self.connections).chain(self.idle);
        if counts.into_iter().any(|n| n == 0 || n > 65_536) {
            bail!("pipeline, connections and idle go from 1 to 65536");
        }
        if self.refill.is_some() && self.requests.is_none() {
            bail!("refill needs `requests`: how many of them");
        }
        if self.requests == Some(0) || self.elements == 0 {
            bail!("requests and elements start at 1");
        }
        if memory && self.preload.is_empty() {
            bail!("element needs a preload that makes it");
        }
        if self.times_memory.is_some_and(|times| !(0.1..=1000.0).contains(&times)) {
            bail!("times_memory goes from 0.1 to 1000");
        }
        Ok(())
    }

    /// All shipped workloads.
    pub fn shipped() -> Result<Vec<Workload>> {
        SHIPPED.iter().map(|text| Workload::parse(text)).collect()
    }

    /// A shipped workload's name, or the path of a file.
    pub fn find(name: &str) -> Result<Workload> {
        if let Some(workload) = Self::shipped()?.into_iter().find(|w| w.name == name) {
            return Ok(workload);
        }
        let text = std::fs::read_to_string(name).with_context(|| {
            format!("`{name}` is no shipped workload (see --list) and no file that can be read")
        })?;
        Workload::parse(&text).with_context(|| format!("workload file {name}"))
    }

    /// The number of keys that it draws from.
    pub fn key_count(&self, defaults: Defaults) -> u64 {
        self.key_count.unwrap_or(defaults.keys).max(1)
    }

    /// The defaults it sees on a server that is given `limit` bytes of memory: as many keys as
    /// `times_memory` asks for, where it does.
    pub fn fitted(&self, defaults: Defaults, limit: u64) -> Defaults {
        let Some(times) = self.times_memory else { return defaults };
        let sizes = self.sizes(defaults);
        let value = sizes.iter().sum::<usize>() as u64 / sizes.len().max(1) as u64;
        let keys = (limit as f64 * times) as u64 / (value + KEY_SIZE);
        Defaults { keys: keys.max(1), ..defaults }
    }

    /// Closed, or open at its rate.
    pub fn pacing(&self) -> Result<Wanted> {
        Ok(match &self.rate {
            None => Wanted::Given(Pacing::Closed),
            Some(Rate::Fixed(per_second)) if *per_second > 0.0 => {
                Wanted::Given(Pacing::Open { per_second: *per_second })
            }
            Some(Rate::Fixed(_)) => bail!("a rate is positive"),
            Some(Rate::Share(text)) => {
                let percent = text.strip_suffix('%').and_then(|n| n.trim().parse::<f64>().ok());
                match percent.filter(|percent| (0.1..=200.0).contains(percent)) {
                    Some(percent) => Wanted::Share(percent / 100.0),
                    None => bail!("rate = \"{text}\" is no share such as \"60%\""),
                }
            }
        })
    }

    /// Whether a command of the workload changes data, according to the engine's command table. An
    /// unknown command counts as a write.
    pub fn writes(&self, table: &CommandTable) -> bool {
        let writes = |command: &Command| {
            let name = command.request.split_whitespace().next().unwrap_or_default();
            table.find(name.as_bytes()).is_none_or(|entry| entry.has(Flag::Write))
        };
        let queue = self.messages.as_ref().is_some_and(|m| m.pattern == Pattern::Queue);
        queue || self.commands.iter().any(writes)
    }

    /// Its requests.
    pub fn generator(&self, defaults: Defaults) -> Result<Generator> {
        self.mix(Keys::new(self.distribution()?, self.key_count(defaults), 42), defaults)
    }

    fn mix(&self, keys: Keys, defaults: Defaults) -> Result<Generator> {
        let mix: Vec<_> = self.commands.iter().map(|c| (c.request.clone(), c.weight)).collect();
        Generator::weighted(&mix, &self.sizes(defaults), self.members, keys)
    }

    /// The passes that fill the key space: each sends one request for every key.
    pub fn preload(&self, defaults: Defaults) -> Result<Vec<Generator>> {
        self.preload.iter().map(|request| self.pass(request, defaults)).collect()
    }

    /// The requests that are sent before every window.
    pub fn refill(&self, defaults: Defaults) -> Result<Option<Generator>> {
        self.refill.as_ref().map(|request| self.pass(request, defaults)).transpose()
    }

    fn pass(&self, request: &str, defaults: Defaults) -> Result<Generator> {
        if request.contains("{other}") {
            bail!("`{request}` goes through the keys in order: it has no {{other}}");
        }
        let keys = Keys::new(Distribution::Sequential, self.key_count(defaults), 42);
        let mix = [(request.to_string(), 1.0)];
        Generator::weighted(&mix, &self.sizes(defaults), self.members, keys)
    }

    /// Workloads with the same answer can share one loaded server.
    pub fn data(&self, defaults: Defaults) -> String {
        let own = if self.alone { self.name.as_str() } else { "" };
        let (keys, sizes) = (self.key_count(defaults), self.sizes(defaults));
        format!("{own} {:?} {keys} {sizes:?} {:?}", self.preload, self.storages)
    }

    fn sizes(&self, defaults: Defaults) -> Vec<usize> {
        let given = !self.value_sizes.is_empty();
        if given { self.value_sizes.clone() } else { vec![defaults.value_size] }
    }

    fn distribution(&self) -> Result<Distribution> {
        Ok(match self.keys.as_str() {
            "uniform" => Distribution::Uniform,
            "zipf" => Distribution::Zipf { theta: self.zipf_theta },
            "latest" => Distribution::Latest { theta: self.zipf_theta },
            "hot" => Distribution::Hot { share: self.hot_share },
            "sequential" => Distribution::Sequential,
            other => bail!("keys = \"{other}\" is none of uniform, zipf, hot, latest, sequential"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_workloads_are_valid_and_named_once() {
        let shipped = Workload::shipped().unwrap();
        let mut names: Vec<_> = shipped.iter().map(|w| &w.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), SHIPPED.len());
    }

    #[test]
    fn a_users_file_is_read_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mine.toml");
        let text = "name = \"mine\"\nabout = \"\"\nrate = 5.0\n[[command]]\nrequest = \"PING\"\n";
        std::fs::write(&path, text).unwrap();
        let mine = Workload::find(path.to_str().unwrap()).unwrap();
        assert_eq!(mine.pacing().unwrap(), Wanted::Given(Pacing::Open { per_second: 5.0 }));
        assert_eq!(Workload::find("get").unwrap().name, "get");
        assert!(Workload::find("no-such-workload").is_err());
    }

    #[test]
    fn a_share_of_saturation_and_a_multiple_of_memory_are_understood() {
        let text = "name = \"x\"\nabout = \"\"\nrate = \"60%\"\ntimes_memory = 4\n\
            value_sizes = [1000]\n[[command]]\nrequest = \"GET {key}\"\n";
        let workload = Workload::parse(text).unwrap();
        assert_eq!(workload.pacing().unwrap(), Wanted::Share(0.6));
        let defaults = Defaults { keys: 10, value_size: 64 };
        assert_eq!(workload.fitted(defaults, 1_016_000).keys, 4000);
    }

    #[test]
    fn what_writes_is_known_from_the_command_table() {
        let table = CommandTable::new(commands::all()).unwrap();
        let writes = |name: &str| Workload::find(name).unwrap().writes(&table);
        assert!(writes("set") && writes("mixed") && writes("ycsb-e"));
        assert!(!writes("get") && !writes("ycsb-c"));
    }

    #[test]
    fn mistakes_in_a_file_are_refused() {
        let with = |line: &str| {
            Workload::parse(&format!(
                "name = \"x\"\nabout = \"\"\n{line}\n[[command]]\nrequest = \"GET {{key}}\"\n"
            ))
        };
        assert!(with("").is_ok());
        assert!(with("keys = \"sorted\"").is_err());
        assert!(with("pipeline = 0").is_err());
        assert!(with("valeu_sizes = [1]").is_err());
        assert!(with("value_sizes = [0]").is_err());
        assert!(with("pipeline = [1, 0]").is_err());
        assert!(with("rate = \"60\"").is_err());
        assert!(with("rate = -1").is_err());
        assert!(with("refill = \"LPUSH l x\"").is_err());
        assert!(with("idle = 10").is_err(), "two kinds at once");
        assert!(with("preload = [\"SET {kee} 1\"]").is_err());
    }
}
