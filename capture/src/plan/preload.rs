//! Keys that must exist before: those a capture reads, or takes from, before it writes them.
//!
//! Their type follows from the command that reads them, fields and members are those it asks for,
//! values are as long as the capture's values are on average. It is a guess, and better than
//! measuring reads that find nothing.

use super::{fill, is_value};
use crate::format::Arg;
use crate::privacy::{Role, Roles};
use engine::command::{Flag, Group};
use engine::text::args::OwnedRequest;
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasher;

/// Length of values when the capture has none.
const VALUE_DEFAULT: u64 = 64;

/// Elements of a collection that is read as a whole.
const ELEMENTS: usize = 10;

/// The data that exist before a replay begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preload {
    /// Requests, encoded, by database.
    pub wire: BTreeMap<u32, Vec<u8>>,
    /// How many requests these are, by database.
    pub requests: BTreeMap<u32, u64>,
    /// Keys created.
    pub keys: u64,
    /// Bytes per value.
    pub value_size: u64,
}

/// A key to create.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    db: u32,
    key: Vec<u8>,
    group: Group,
    /// Fields or members asked for.
    names: Vec<Vec<u8>>,
}

/// Watches the requests of a capture.
#[derive(Default)]
pub(super) struct Observer {
    hasher: RandomState,
    known: HashSet<u64>,
    wanted: Vec<Wanted>,
    values: u64,
    value_bytes: u64,
}

impl Observer {
    /// Looks at a request; whether it touches a key for the first time.
    pub(super) fn observe(&mut self, db: u32, args: &[Arg<'_>], roles: &mut Roles) -> bool {
        let words: Vec<&[u8]> = args.iter().map(Arg::bytes).collect();
        let request = OwnedRequest::new(words.iter().copied());
        let Some(entry) = roles.table().resolve(request.view()) else { return false };
        let (group, name) = (entry.spec.group, entry.spec.name);
        let reads = entry.has(Flag::Readonly) || takes(name);
        // `EXISTS` and `EXPIRE` do not tell the type of the key.
        if group == Group::Generic && !matches!(name, "del" | "unlink" | "rename" | "copy") {
            return false;
        }
        let roles = roles.of(&words);
        for (arg, _) in args.iter().zip(&roles).filter(|(_, role)| is_value(role)) {
            self.values += 1;
            self.value_bytes += match arg {
                Arg::Bytes(bytes) => bytes.len() as u64,
                Arg::Filler(length) => *length,
            };
        }
        let mut is_new = false;
        for (index, _) in roles.iter().enumerate().filter(|(_, role)| **role == Role::Key) {
            if !self.known.insert(self.hasher.hash_one((db, words[index]))) {
                continue;
            }
            is_new = true;
            if reads && group != Group::Generic {
                let names = words.iter().zip(&roles).filter(|(_, role)| **role == Role::Name);
                let names = names.map(|(word, _)| word.to_vec()).collect();
                self.wanted.push(Wanted { db, key: words[index].to_vec(), group, names });
            }
        }
        is_new
    }

    /// The keys to be created.
    pub(super) fn finish(self, letters: &[u8]) -> Preload {
        let average = self.value_bytes.checked_div(self.values).unwrap_or(VALUE_DEFAULT);
        let value_size = average.clamp(1, 1 << 20);
        let mut preload = Preload { value_size, ..Preload::default() };
        for wanted in &self.wanted {
            let mut value = Vec::new();
            fill(&mut value, letters, value_size as usize);
            if let Some(request) = create(wanted, &value) {
                let wire = preload.wire.entry(wanted.db).or_default();
                resp::encode_command(&request, wire);
                *preload.requests.entry(wanted.db).or_default() += 1;
                preload.keys += 1;
            }
        }
        preload
    }
}

/// Commands that write and yet need something to be there.
fn takes(name: &str) -> bool {
    let pops = ["lpop", "rpop", "spop", "zpopmin", "zpopmax", "getdel", "getex", "getset", "lmove"];
    let changes = ["rpoplpush", "lset", "ltrim", "linsert", "lrem", "hdel", "srem", "zrem"];
    pops.contains(&name) || changes.contains(&name)
}

/// The request that creates a key.
fn create(wanted: &Wanted, value: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut request: Vec<Vec<u8>> = Vec::new();
    let verb: &[u8] = match wanted.group {
        Group::String => b"SET",
        Group::Hash => b"HSET",
        Group::List => b"RPUSH",
        Group::Set => b"SADD",
        Group::SortedSet => b"ZADD",
        _ => return None,
    };
    request.extend([verb.to_vec(), wanted.key.clone()]);
    let made_up = (0..ELEMENTS).map(|n| format!("element:{n}").into_bytes());
    let names: Vec<Vec<u8>> =
        if wanted.names.is_empty() { made_up.collect() } else { wanted.names.clone() };
    match wanted.group {
        Group::String => request.push(value.to_vec()),
        Group::Hash => request.extend(names.into_iter().flat_map(|name| [name, value.to_vec()])),
        Group::List => request.extend(vec![value.to_vec(); ELEMENTS]),
        Group::Set => request.extend(names),
        _ => {
            let scored = names.into_iter().enumerate();
            request.extend(scored.flat_map(|(n, name)| [n.to_string().into_bytes(), name]));
        }
    }
    Some(request)
}
