//! The commands whose instructions are counted.

use crate::load::keys::{Distribution, Keys};
use crate::load::request::Generator;
use anyhow::{Result, bail};

/// Bytes of a `{value}`.
const VALUE: usize = 64;

/// The number of values from which `{member}` is drawn.
const MEMBERS: u64 = 1000;

/// Draws keys, values and members: the same for every run.
const SEED: u64 = 42;

/// One command, and the data it meets.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name in the baseline.
    pub name: &'static str,
    /// The request, as workload files write it; drawn from `keys` keys, all alike.
    pub request: &'static str,
    /// Sent once for every key before. A final `**` repeats the part behind the key a hundred
    /// times.
    pub preload: &'static str,
    /// The number of keys.
    pub keys: u64,
}

const fn case(name: &'static str, request: &'static str, preload: &'static str, keys: u64) -> Case {
    Case { name, request, preload, keys }
}

/// All of them, as they are shown.
pub const ALL: &[Case] = &[
    case("ping", "PING", "", 1),
    case("get", "GET {key}", "SET {key} {value}", 10_000),
    case("get-miss", "GET {new}", "SET {key} {value}", 10_000),
    case("set-overwrite", "SET {key} {value}", "SET {key} {value}", 10_000),
    case("set-new", "SET {new} {value}", "SET {key} {value}", 10_000),
    case("incr", "INCR {key}", "SET {key} 100", 10_000),
    case(
        "mget-10",
        "MGET {key} {key} {key} {key} {key} {key} {key} {key} {key} {key}",
        "SET {key} {value}",
        10_000,
    ),
    case("expire", "EXPIRE {key} 1000", "SET {key} {value}", 10_000),
    case("hset", "HSET {key} name {value}", "HSET {key} id 17 name {value} city {value}", 10_000),
    case("hget", "HGET {key} name", "HSET {key} id 17 name {value} city {value}", 10_000),
    case("lpush", "LPUSH {key} {value}", "RPUSH {key} {value} **", 1000),
    case("lpop", "LPOP {key}", "RPUSH {key} {value} **", 1000),
    case("lrange-100", "LRANGE {key} 0 99", "RPUSH {key} {value} **", 1000),
    case("sadd", "SADD {key} m:{member}", "SADD {key} m:{member} **", 1000),
    case("zadd", "ZADD {key} {score} m:{member}", "ZADD {key} {score} m:{member} **", 1000),
    case("zrange-100", "ZRANGE {key} 0 99", "ZADD {key} {score} m:{member} **", 1000),
];

impl Case {
    /// The case of that name.
    pub fn find(name: &str) -> Result<&'static Case> {
        let Some(case) = ALL.iter().find(|case| case.name == name) else {
            let names: Vec<_> = ALL.iter().map(|case| case.name).collect();
            bail!("`{name}` is none of {}", names.join(", "));
        };
        Ok(case)
    }

    /// The command's name as the engine knows it.
    pub fn command(&self) -> String {
        let word = self.request.split(' ').next();
        word.unwrap_or_default().to_lowercase()
    }

    /// Its requests.
    pub fn requests(&self) -> Result<Generator> {
        generator(self.request, Keys::new(Distribution::Uniform, self.keys, SEED))
    }

    /// The requests that fill the key space, if there are any.
    pub fn preload(&self) -> Result<Vec<Generator>> {
        let keys = Keys::new(Distribution::Sequential, self.keys, SEED);
        let text = self.preload;
        (!text.is_empty()).then(|| generator(&repeated(text), keys)).into_iter().collect()
    }
}

fn generator(text: &str, keys: Keys) -> Result<Generator> {
    Ok(Generator::weighted(&[(text.to_owned(), 1.0)], &[VALUE], MEMBERS, keys)?.share(0, 1, 0))
}

/// Expands `**`: repeats the part behind the key a hundred times.
fn repeated(text: &str) -> String {
    let Some((head, tail)) = text.strip_suffix(" **").and_then(|text| text.split_once("{key} "))
    else {
        return text.to_owned();
    };
    format!("{head}{{key}} {}", vec![tail; 100].join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_makes_requests_and_its_data() {
        for case in ALL {
            case.requests().unwrap();
            case.preload().unwrap();
            assert_eq!(Case::find(case.name).unwrap().request, case.request);
        }
        assert!(Case::find("no-such-case").is_err());
    }

    #[test]
    fn a_repetition_is_written_out_behind_the_key() {
        let text = repeated("ZADD {key} {score} m:{member} **");
        assert_eq!(text.matches("{score} m:{member}").count(), 100);
        assert_eq!(text.matches("{key}").count(), 1);
    }
}
