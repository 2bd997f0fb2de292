//! Tests that every command, with confusing arguments, uses only the keys that its row declares,
//! because locks and permissions depend on that. It also tests what a command reports: changes are
//! counted, clients that watch or cache a key, or listen to its events, are notified, and the log
//! leads to the same data.

use super::arguments::fill;
use super::catalog::form;
use super::pools::{OPTION_WORDS, Pools};
use crate::load::rng::Rng;
use engine::Host;
use engine::command::{CommandEntry, Flag, LockRule};
use engine::peers::{Answers, Requests, Target};
use engine::testing::{Contents, Harness, Names, Spy, contents};
use engine::text::args::OwnedRequest;
use resp::Value;
use std::sync::Arc;
use storage_memory::{Config, MemoryBackend};

/// Requests per command with keys, and without.
const REQUESTS: u64 = 40;
const REQUESTS_WITHOUT_KEYS: u64 = 4;
/// Requests between two beginnings from the same data.
const ROUND: u64 = 10;

/// Commands that are excused from a rule, each with the reason.
type Excuses = [(&'static str, &'static str)];

/// Commands that write although the row finds no key to write, with the reason.
const WRITTEN_ALL_THE_SAME: &Excuses = &[
    ("xreadgroup", "to Redis, what a group has read is no part of the stream"),
    ("pfcount", "it keeps the count that it took the trouble to find, as in Redis"),
];

/// Commands that read although the row finds no key there, with the reason.
const TOUCHED_ALL_THE_SAME: &Excuses = &[
    (
        "sort",
        "patterns name keys by elements: every shard is locked, and every key must be readable",
    ),
    ("sort_ro", "as SORT"),
];

/// Changes that fail no transaction watching the key, with the reason.
const CHANGED_SILENTLY: &Excuses = &[
    ("xgroup|create", "the groups of a stream are no part of its value"),
    ("xgroup|createconsumer", "as XGROUP CREATE"),
    ("xgroup|delconsumer", "as XGROUP CREATE"),
    ("xgroup|destroy", "as XGROUP CREATE"),
    ("xgroup|setid", "as XGROUP CREATE"),
    ("xsetid", "as in Redis"),
    ("xreadgroup", "as XGROUP CREATE"),
    ("xack", "as XGROUP CREATE"),
    ("xclaim", "as XGROUP CREATE"),
    ("xautoclaim", "as XGROUP CREATE"),
    ("bitfield", "one that overflowed may have made the string longer, as in Redis"),
];

/// Changes of which no listener is notified, with the reason.
const CHANGED_WITHOUT_EVENT: &Excuses = &[
    ("pfcount", "as in Redis"),
    ("bitfield", "as in CHANGED_SILENTLY"),
    ("xreadgroup", "as in Redis, only the creation of a consumer has an event"),
    ("xack", "as XREADGROUP"),
    ("xclaim", "as XREADGROUP"),
    ("xautoclaim", "as XREADGROUP"),
];

/// Commands that publish events even if they change nothing, with the reason.
const ANNOUNCED_ALL_THE_SAME: &Excuses = &[("ltrim", "as in Redis, also if every element stays")];

/// Commands that replace an existing key by a new one, for which there is the event `new`.
const REPLACES: &Excuses = &[
    ("rename", "as in Redis, which deletes the key at the new name first"),
    ("copy", "as RENAME"),
    ("restore", "as RENAME"),
    ("restore-asking", "as RENAME"),
];

/// Commands with keys that read, but count neither a hit nor a miss, with the reason.
const NEVER_LOOKED_UP: &Excuses = &[
    ("memory|usage", "as in Redis, which looks into its table directly"),
    ("eval_ro", "the commands that a script runs count for themselves"),
    ("evalsha_ro", "as EVAL_RO"),
    ("fcall_ro", "as EVAL_RO"),
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

fn is_in(contents: &Contents, name: &[u8]) -> bool {
    contents.keys().any(|(_, there)| there[..] == *name)
}

fn shown(names: &Names, but: &Names) -> String {
    let texts: Vec<_> = names.difference(but).map(|name| String::from_utf8_lossy(name)).collect();
    texts.join(" ")
}

fn send<A: AsRef<[u8]>>(server: &mut Harness, client: &str, args: &[A]) {
    let mut bytes = Vec::new();
    resp::encode_command(args, &mut bytes);
    server.send_bytes(client, &bytes);
}

/// Runs one request. Returns what it did wrong.
fn complaint(server: &mut Harness, spy: &Arc<Spy>, args: &[Vec<u8>]) -> Option<String> {
    let request = OwnedRequest::new(args.iter().map(Vec::as_slice));
    let engine = server.engine().clone();
    let entry = engine.commands.resolve(request.view())?;
    let found = entry.keys(request.view()).unwrap_or_default();
    let name = |at: usize| args[at].clone();
    let declared: Names = found.iter().map(|key| name(key.index)).collect();
    let written = found.iter().filter(|key| key.is_written()).map(|key| name(key.index)).collect();
    let before = contents(spy.clone());
    let counted = engine.observe.stats.changes();
    watch(server, args);
    server.replies("listener");
    server.replies("cache");
    spy.take();
    send(server, "it", args);
    server.close("it");
    let touched = spy.take();
    let excused = |by: &Excuses| by.iter().any(|(name, _)| *name == entry.full_name);
    if !touched.is_subset(&declared) && !excused(TOUCHED_ALL_THE_SAME) {
        return Some(format!("touched {} undeclared", shown(&touched, &declared)));
    }
    let after = contents(spy.clone());
    let changed = changed(&before, &after);
    if !changed.is_subset(&written) && !excused(WRITTEN_ALL_THE_SAME) {
        return Some(format!("wrote {} without permission", shown(&changed, &written)));
    }
    let told = Told::by(server, engine.observe.stats.changes() > counted);
    if let Some(wrong) = told.wrong_events(&before, &after, &changed, &excused) {
        return Some(wrong);
    }
    if !excused(CHANGED_SILENTLY) {
        return told.complaint(entry, &changed);
    }
    // What makes a key or removes one is no silent change, and BITFIELD makes others, too.
    let stays = changed.iter().all(|name| is_in(&before, name) && is_in(&after, name));
    if told.watched && stays && entry.full_name != "bitfield" {
        return Some("whoever watches hears of a silent change".into());
    }
    Told { watched: true, stale: changed.clone(), ..told }.complaint(entry, &changed)
}

/// Begins to listen to the events of all keys, and to be told of all changes as a cache.
fn listen(server: &mut Harness) {
    server.send("listener", "PSUBSCRIBE __keyevent@*");
    server.send("cache", "HELLO 3");
    server.send("cache", "CLIENT TRACKING ON BCAST");
}

/// The events that the listener was told, each with its key.
fn events(server: &mut Harness) -> Vec<(String, Vec<u8>)> {
    let event = |told: Value| match told {
        Value::Array(words) => match &words[..] {
            [_, _, Value::Bulk(channel), Value::Bulk(key)] => {
                let channel = String::from_utf8_lossy(channel);
                Some((channel.rsplit_once(':')?.1.to_owned(), key.clone()))
            }
            _ => None,
        },
        _ => None,
    };
    server.replies("listener").into_iter().filter_map(event).collect()
}

/// The keys that the cache was told to forget.
fn stale(server: &mut Harness) -> Names {
    let mut stale = Names::new();
    for told in server.replies("cache") {
        if let Value::Push(words) = told
            && let [_, Value::Array(keys)] = &words[..]
        {
            stale.extend(keys.iter().filter_map(|key| match key {
                Value::Bulk(key) => Some(key.clone()),
                _ => None,
            }));
        }
    }
    stale
}

/// Watches all arguments that might be keys of the request, in both databases that it may use.
fn watch(server: &mut Harness, args: &[Vec<u8>]) {
    let words = args.iter().map(Vec::as_slice);
    let watch: Vec<&[u8]> = [&b"WATCH"[..]].into_iter().chain(words).collect();
    for database in ["1", "0"] {
        server.send("watcher", &format!("SELECT {database}"));
        send(server, "watcher", &watch);
    }
}

/// Whether the watching client was notified of a change.
fn is_told(server: &mut Harness) -> bool {
    server.replies("watcher");
    server.send("watcher", "MULTI");
    server.send("watcher", "EXEC");
    let answers = server.replies("watcher");
    server.close("watcher");
    matches!(answers.last(), Some(Value::Null | Value::NullArray))
}

/// A command's reports of what it did.
struct Told {
    /// Whether it reported a change; then it is logged.
    counted: bool,
    /// To clients that watch.
    watched: bool,
    /// To clients that cache.
    stale: Names,
    /// To clients that listen.
    events: Vec<(String, Vec<u8>)>,
}

impl Told {
    /// Everything that clients were told; `counted` says whether the command counted a change.
    fn by(server: &mut Harness, counted: bool) -> Told {
        let (events, stale) = (events(server), stale(server));
        Told { counted, events, stale, watched: is_told(server) }
    }

    fn complaint(&self, entry: &CommandEntry, changed: &Names) -> Option<String> {
        let names = shown(changed, &Names::new());
        match (changed.is_empty(), self.counted) {
            (false, false) => Some(format!("changed {names} and did not say so")),
            (true, true) if !entry.replicates() => Some("reads, and says that it wrote".into()),
            (false, true) if !self.watched => Some(format!("no watcher hears of {names}")),
            _ if !changed.is_subset(&self.stale) => {
                Some(format!("no cache hears of {}", shown(changed, &self.stale)))
            }
            _ => None,
        }
    }

    /// The keys of which there was an event that `is_it`.
    fn keys_of(&self, is_it: impl Fn(&str) -> bool) -> Names {
        let events = self.events.iter().filter(|(event, _)| is_it(event));
        events.map(|(_, key)| key.clone()).collect()
    }

    /// The events that are missing, or were published for nothing.
    fn wrong_events(
        &self,
        before: &Contents,
        after: &Contents,
        changed: &Names,
        excused: &dyn Fn(&Excuses) -> bool,
    ) -> Option<String> {
        let expired = self.keys_of(|event| event == "expired");
        let announced = self.keys_of(|event| !matches!(event, "new" | "keymiss" | "expired"));
        if !changed.is_subset(&announced) && !excused(CHANGED_WITHOUT_EVENT) {
            return Some(format!("no listener hears of {}", shown(changed, &announced)));
        }
        if !self.counted && !announced.is_empty() && !excused(ANNOUNCED_ALL_THE_SAME) {
            let names = shown(&announced, &Names::new());
            return Some(format!("announces {names} and counts no change"));
        }
        let there = |contents: &Contents| -> Names {
            contents.keys().map(|(db, name)| [&[*db as u8], &name[..]].concat()).collect()
        };
        let made = there(after).difference(&there(before)).map(|name| name[1..].to_vec()).collect();
        let new = self.keys_of(|event| event == "new");
        if !Names::is_subset(&made, &new) {
            return Some(format!("no listener hears that {} is new", shown(&made, &new)));
        }
        let was_there = new.iter().any(|name| !made.contains(name) && !expired.contains(name));
        if was_there && !excused(REPLACES) {
            return Some(format!("announces {} as new", shown(&new, &made)));
        }
        None
    }
}

/// The difference between the data and what the log leads to.
fn unlogged(server: &Harness, spy: &Arc<Spy>) -> Option<String> {
    let replayed = server.replay(Arc::new(MemoryBackend::new(Config::default())));
    let differs = changed(&contents(spy.clone()), &replayed.contents());
    let names = shown(&differs, &Names::new());
    (!differs.is_empty()).then(|| format!("{names} would be something else after a restart"))
}

/// Whether a command that reads keys has counted none of its lookups, nor those of other commands.
fn not_looked_up(server: &Harness, entry: &CommandEntry) -> Option<String> {
    let reads = entry.has(Flag::Readonly) && !entry.spec.keys.is_empty();
    let excused = NEVER_LOOKED_UP.iter().any(|(name, _)| *name == entry.full_name);
    let stats = &server.engine().observe.stats;
    let (hits, misses) = stats.lookups();
    let counted = hits + misses > 0;
    (reads && counted == excused).then(|| match excused {
        true => {
            format!("{}: counts lookups, and is on the list of those that do not", entry.full_name)
        }
        false => format!("{}: counts neither hits nor misses", entry.full_name),
    })
}

/// The violations of its row by a command, in a number of requests.
fn complaints(entry: &CommandEntry, seed: u64) -> Vec<String> {
    let backend = MemoryBackend::new(Config { shards: 64, ..Config::default() });
    let spy = Spy::new(Arc::new(backend));
    let mut server = Harness::recording_with(commands::all(), spy.clone(), Arc::new(Obliging));
    if !entry.spec.keys.is_empty() {
        server.run("CONFIG SET notify-keyspace-events EAmn");
        listen(&mut server);
    }
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
    complaints.extend(not_looked_up(&server, entry));
    let unlogged = unlogged(&server, &spy);
    complaints.extend(unlogged.map(|complaint| format!("{}: {complaint}", entry.full_name)));
    complaints
}

#[test]
fn keys_touched_are_keys_declared_and_changes_are_told() {
    let all = Harness::new(commands::all(), Arc::new(MemoryBackend::new(Config::default())))
        .engine()
        .clone();
    let mut found = Vec::new();
    let mut tried = 0;
    for entry in all.commands.entries() {
        // A command on whole databases declares no keys, and locks more than those.
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
