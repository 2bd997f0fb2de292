//! Workloads: small TOML files that say what to ask for, of which keys, how fast.
//!
//! The shipped ones are compiled in; `--workloads path/to/mine.toml` reads others.

use super::Pacing;
use super::keys::{Distribution, Keys};
use super::request::Generator;
use anyhow::{Context, Result, bail};
use serde::Deserialize;

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
    /// The request as one would type it, with `{key}`, `{new}`, `{member}`, `{score}`, `{value}`.
    pub request: String,
}

/// A workload file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// What `--workloads` calls it.
    pub name: String,
    /// One line for `--list`.
    pub about: String,
    /// `uniform`, `zipf`, `hot` or `latest`.
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
    /// `{member}` is drawn from so many.
    #[serde(default = "members")]
    pub members: u64,
    /// Overrides `--pipelines`.
    pub pipeline: Option<usize>,
    /// Overrides `--connections`.
    pub connections: Option<usize>,
    /// Open loop at so many requests per second; absent means closed loop.
    pub rate: Option<f64>,
    /// Requests that are sent once for every key before anything is measured.
    #[serde(default)]
    pub preload: Vec<String>,
    /// The mix.
    #[serde(rename = "command")]
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

/// What the command line says where a workload says nothing.
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
        let defaults = Defaults { keys: 16, value_size: 16 };
        workload.generator(defaults)?;
        workload.preload(defaults)?;
        for zero in [workload.pipeline, workload.connections] {
            if zero.is_some_and(|n| n == 0 || n > 65_536) {
                bail!("pipeline and connections go from 1 to 65536");
            }
        }
        Ok(workload)
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

    /// How many keys it draws from.
    pub fn key_count(&self, defaults: Defaults) -> u64 {
        self.key_count.unwrap_or(defaults.keys).max(1)
    }

    /// Closed, or open at its rate.
    pub fn pacing(&self) -> Pacing {
        self.rate.map_or(Pacing::Closed, |per_second| Pacing::Open { per_second })
    }

    /// Its requests.
    pub fn generator(&self, defaults: Defaults) -> Result<Generator> {
        let mix: Vec<_> = self.commands.iter().map(|c| (c.request.clone(), c.weight)).collect();
        let keys = Keys::new(self.distribution()?, self.key_count(defaults), 42);
        Generator::weighted(&mix, &self.sizes(defaults), self.members, keys)
    }

    /// The passes that fill the key space: each sends one request for every key.
    pub fn preload(&self, defaults: Defaults) -> Result<Vec<Generator>> {
        let sizes = self.sizes(defaults);
        let pass = |request: &String| {
            if request.matches("{key}").count() != 1 {
                bail!("preload `{request}` needs exactly one {{key}}");
            }
            let keys = Keys::new(Distribution::Sequential, self.key_count(defaults), 42);
            Generator::weighted(&[(request.clone(), 1.0)], &sizes, self.members, keys)
        };
        self.preload.iter().map(pass).collect()
    }

    /// Workloads with the same answer can share one loaded server.
    pub fn data(&self, defaults: Defaults) -> String {
        format!("{:?} {} {:?}", self.preload, self.key_count(defaults), self.sizes(defaults))
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
            other => bail!("keys = \"{other}\" is none of uniform, zipf, hot, latest"),
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
        assert_eq!(mine.pacing(), Pacing::Open { per_second: 5.0 });
        assert_eq!(Workload::find("get").unwrap().name, "get");
        assert!(Workload::find("no-such-workload").is_err());
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
        assert!(with("preload = [\"SET {kee} 1\"]").is_err());
    }
}
