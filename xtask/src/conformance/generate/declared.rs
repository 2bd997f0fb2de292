//! Every command, with arguments made to confuse it, keeps to the keys that its row finds: locks
//! and permissions depend on it.

use super::arguments::fill;
use super::catalog::form;
use super::pools::{OPTION_WORDS, Pools};
use crate::load::rng::Rng;
use engine::args::OwnedRequest;
use engine::command::{Entry, LockRule};
use engine::engine::Host;
use engine::peers::{Answers, Requests, Target};
use engine::testing::{Contents, Harness, Names, Spy, contents};
use std::sync::Arc;
use storage_memory::{Config, MemoryBackend};

/// Requests per command with keys, and without.
const REQUESTS: u64 = 40;
const REQUESTS_WITHOUT_KEYS: u64 = 4;
/// Requests between two beginnings from the same data.
const ROUND: u64 = 10;

/// What is written although the row finds no key to write, with the reason.
const WRITTEN_ALL_THE_SAME: &[(&str, &str)] = &[
    ("xreadgroup", "to Redis, what a group has read is no part of the stream"),
    ("pfcount", "it keeps the count that it took the trouble to find, as in Redis"),
];

/// What is read although the row finds no key there, with the reason.
const TOUCHED_ALL_THE_SAME: &[(&str, &str)] = &[
    (
        "sort",
        "patterns name keys by elements: every shard is locked, and every key must be readable",
    ),
    ("sort_ro", "as SORT"),
];

/// Another server that takes whatever it is sent.
struct Obliging;

impl Host for Obliging {
    fn exchange(&self, _: &Target<'_>, requests: &Requests) -> Answers {
        Answers { done: vec![true; requests.works], ..Answers::default() }
    }
}

fn names() -> Vec<String> {
    let letters = "slehzxpg".chars().flat_map(|letter| (1..4).map(move |n| format!("{letter}{n}")));
    letters.chain(OPTION_WORDS.iter().map(|word| (*word).to_owned())).collect()
}

/// A value of some type under each name.
fn data(pools: &mut Pools<'_>) -> Vec<String> {
    let mut lines = vec!["FLUSHALL".to_owned()];
    for name in names() {
        let kind = name.chars().next().filter(|_| name.len() == 2);
        match kind.unwrap_or_else(|| "slehzxg".as_bytes()[pools.below(7) as usize].into()) {
            's' => lines.push(format!("SET {name} 7")),
            'l' => lines.push(format!("RPUSH {name} a b 1")),
            'e' => lines.push(format!("SADD {name} a b 1")),
            'h' => lines.push(format!("HSET {name} a 1 b 2")),
            'z' => lines.push(format!("ZADD {name} 1 a 2 b")),
            'p' => lines.push(format!("PFADD {name} a b")),
            'g' => lines.push(format!("GEOADD {name} 13.361389 38.115556 a 15.087269 37.502669 b")),
            _ => {
                lines.push(format!("XADD {name} 1-1 a 1"));
                let groups = ["g1", "STREAMS", "COUNT"];
                lines.extend(groups.map(|group| format!("XGROUP CREATE {name} {group} 0")));
            }
        }
    }
    lines
}

/// Names under which something else is than before.
fn changed(before: &Contents, after: &Contents) -> Names {
    let names = before.keys().chain(after.keys());
    let differs = names.filter(|place| before.get(place) != after.get(place));
    differs.map(|(_, name)| name.clone()).collect()
}

fn shown(names: &Names, but: &Names) -> String {
    let texts: Vec<_> = names.difference(but).map(|name| String::from_utf8_lossy(name)).collect();
    texts.join(" ")
}

/// One request: what it did that it must not do.
fn complaint(server: &mut Harness, spy: &Arc<Spy>, args: &[Vec<u8>]) -> Option<String> {
    let request = OwnedRequest::new(args.iter().map(Vec::as_slice));
    let engine = server.engine().clone();
    let entry = engine.commands.resolve(request.view())?;
    let found = entry.keys(request.view()).unwrap_or_default();
    let name = |at: usize| args[at].clone();
    let declared: Names = found.iter().map(|key| name(key.index)).collect();
    let written = found.iter().filter(|key| key.is_written()).map(|key| name(key.index)).collect();
    let before = contents(spy.clone());
    spy.take();
    let mut bytes = Vec::new();
    resp::encode_command(args, &mut bytes);
    server.send_bytes("it", &bytes);
    server.close("it");
    let touched = spy.take();
    let excused = |by: &[(&str, &str)]| by.iter().any(|(name, _)| *name == entry.full_name);
    if !touched.is_subset(&declared) && !excused(TOUCHED_ALL_THE_SAME) {
        return Some(format!("touched {} undeclared", shown(&touched, &declared)));
    }
    let changed = changed(&before, &contents(spy.clone()));
    (!changed.is_subset(&written) && !excused(WRITTEN_ALL_THE_SAME))
        .then(|| format!("wrote {} without permission", shown(&changed, &written)))
}

/// What a command did that it must not do, in so many requests.
fn complaints(entry: &Entry, seed: u64) -> Vec<String> {
    let backend = MemoryBackend::new(Config { shards: 64, ..Config::default() });
    let spy = Spy::new(Arc::new(backend));
    let mut server = Harness::with_host(commands::all(), spy.clone(), Arc::new(Obliging));
    let (mut rng, form) = (Rng::new(seed), form(entry, true));
    let mut pools = Pools { rng: &mut rng, odd: 2, hostile: 20 };
    let requests = if entry.spec.keys.is_empty() { REQUESTS_WITHOUT_KEYS } else { REQUESTS };
    let mut complaints = Vec::new();
    for number in 0..requests {
        if number % ROUND == 0 {
            data(&mut pools).iter().for_each(|line| server.send("data", line));
        }
        let args = fill(&form, &mut pools);
        let words: Vec<_> = args.iter().map(|arg| String::from_utf8_lossy(arg)).collect();
        let complaint = complaint(&mut server, &spy, &args);
        complaints.extend(complaint.map(|complaint| format!("{}: {complaint}", words.join(" "))));
    }
    complaints
}

#[test]
fn keys_touched_are_keys_declared() {
    let all = Harness::new(commands::all(), Arc::new(MemoryBackend::new(Config::default())))
        .engine()
        .clone();
    let mut found = Vec::new();
    let mut tried = 0;
    for entry in all.commands.entries() {
        // What is about whole databases declares no keys, and locks more than those.
        let whole = entry.spec.keys.is_empty()
            && matches!(entry.spec.locks, LockRule::All | LockRule::Custom(_));
        if whole || !entry.subcommands.is_empty() {
            continue;
        }
        tried += 1;
        found.extend(complaints(entry, tried));
    }
    assert!(tried > 300, "only {tried} commands");
    assert!(found.is_empty(), "{} complaints:\n{}", found.len(), found.join("\n"));
}
