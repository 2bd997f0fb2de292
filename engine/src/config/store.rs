//! The current values, shared by all threads.

use super::grammar::{self, OutputBufferLimit, SavePoint};
use super::value::choice_name;
use super::{Directive, Id, Kind, Value, all, by_id, lookup, names};
use crate::text::glob;
use parking_lot::{Mutex, RwLock};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Called with every change before `CONFIG SET` replies. An error undoes the whole `CONFIG SET`.
/// Observers may read the store, but never change it.
pub type Observer = Box<dyn Fn(Id, &Value) -> Result<(), String> + Send + Sync>;

/// The values of all directives.
///
/// Reading is cheap and never waits for a writer of numbers; changes are serialized. A change of
/// several values is all or nothing, but readers may see it half way, as values are independent.
pub struct ConfigStore {
    /// By [`Id`]; the values of number-like kinds.
    numbers: Box<[AtomicI64]>,
    /// By [`Id`]; the values of text-like kinds.
    texts: RwLock<Vec<Arc<str>>>,
    /// Grows by every change, so that derived values can be cached.
    version: AtomicU64,
    /// Also the lock of writers.
    observers: Mutex<Vec<Observer>>,
}

/// The origin of a `CONFIG SET`, and the state of the server.
#[derive(Debug, Clone, Copy, Default)]
pub struct SetContext {
    /// The client is on a loopback address or a Unix socket.
    pub local: bool,
    /// The data set is being loaded.
    pub loading: bool,
    /// Whether the change comes from someone who may write the configuration file, and not from a
    /// client: then nothing is protected.
    pub owner: bool,
}

/// The reason why a `CONFIG SET` failed; displayed, it is the error line Redis sends, code
/// included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetError {
    /// No such directive.
    Unknown(String),
    /// One of the values was refused.
    Failed {
        /// The directive, by the name that was used.
        name: String,
        /// The reason, in Redis's words where Redis has the directive.
        reason: String,
    },
    /// One of the directives cannot change while the data set loads.
    Loading,
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetError::Unknown(name) => {
                write!(f, "ERR Unknown option or number of arguments for CONFIG SET - '{name}'")
            }
            SetError::Failed { name, reason } => write!(
                f,
                "ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"
            ),
            SetError::Loading => f.write_str("LOADING Redis is loading the dataset in memory"),
        }
    }
}

impl std::error::Error for SetError {}

impl Default for ConfigStore {
    fn default() -> Self {
        Self::new()
    }
}

impl ConfigStore {
    /// A store with all defaults.
    pub fn new() -> Self {
        let store = ConfigStore {
            numbers: Id::ALL.iter().map(|_| AtomicI64::new(0)).collect(),
            texts: RwLock::new(vec![Arc::from(""); Id::ALL.len()]),
            version: AtomicU64::new(0),
            observers: Mutex::new(Vec::new()),
        };
        for directive in all() {
            store.put(directive.id, directive.default_value());
        }
        store
    }

    /// The value of a yes/no directive.
    pub fn boolean(&self, id: Id) -> bool {
        self.integer(id) != 0
    }

    /// The value of a number-like directive: integers, octal, the number of a choice, flags, bits of
    /// [`super::KeyspaceEvents`]; a percentage of `maxmemory-clients` is negative.
    pub fn integer(&self, id: Id) -> i64 {
        self.numbers[id as usize].load(Relaxed)
    }

    /// The value of a size, in bytes.
    pub fn memory(&self, id: Id) -> u64 {
        self.integer(id) as u64
    }

    /// The name of the chosen value of a [`Kind::Choice`]; `unknown` for any other kind.
    pub fn choice(&self, id: Id) -> &'static str {
        match by_id(id).kind {
            Kind::Choice(choices) => choice_name(choices, self.integer(id)),
            _ => "unknown",
        }
    }

    /// The value of any directive as `CONFIG GET` shows it.
    pub fn text(&self, id: Id) -> Arc<str> {
        match self.get(id) {
            Value::Text(text) => text,
            number => by_id(id).render(&number).into(),
        }
    }

    /// The value of any directive.
    pub fn get(&self, id: Id) -> Value {
        match by_id(id).initial {
            super::Initial::Number(_) => Value::Number(self.integer(id)),
            super::Initial::Text(_) => Value::Text(self.texts.read()[id as usize].clone()),
        }
    }

    /// Whether a directive still has its default value.
    pub fn is_default(&self, id: Id) -> bool {
        self.get(id) == by_id(id).default_value()
    }

    /// The conditions of `save`.
    pub fn save_points(&self) -> Vec<SavePoint> {
        grammar::save_points(&self.text(Id::Save))
    }

    /// The limits of `client-output-buffer-limit`: normal, replica and pubsub clients.
    pub fn output_buffer_limits(&self) -> [OutputBufferLimit; 3] {
        grammar::parse_limits(&self.text(Id::ClientOutputBufferLimit))
    }

    /// The addresses of `bind`; `*` means all of IPv4, a leading `-` that failing is no error.
    pub fn bind_addresses(&self) -> Vec<String> {
        self.text(Id::Bind).split_whitespace().map(str::to_owned).collect()
    }

    /// The percentiles of `latency-tracking-info-percentiles`.
    pub fn latency_percentiles(&self) -> Vec<f64> {
        let text = self.text(Id::LatencyTrackingInfoPercentiles);
        text.split(' ').filter_map(|word| word.parse().ok()).collect()
    }

    /// A number that grows with every change: values derived from the store may be cached under it.
    pub fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }

    /// Calls `observer` at every change from now on.
    pub fn on_change(&self, observer: Observer) {
        self.observers.lock().push(observer);
    }

    /// `CONFIG GET`: names and values, by name. A pattern without `*`, `?` and `[` is a name, looked
    /// up whatever its case and given back as it was asked; only so hidden directives show.
    pub fn get_matching<P: AsRef<[u8]>>(&self, patterns: &[P]) -> Vec<(String, String)> {
        let mut found: Vec<(String, Id)> = Vec::new();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            match pattern.iter().any(|byte| b"*?[".contains(byte)) {
                true => found.extend(visible(pattern)),
                false => found.extend(exact(pattern)),
            }
        }
        // Stable, so the spelling asked for first is the one that stays.
        found.sort_by_cached_key(|(name, _)| name.to_ascii_lowercase());
        found.dedup_by(|later, first| later.0.eq_ignore_ascii_case(&first.0));
        found.into_iter().map(|(name, id)| (name, self.text(id).to_string())).collect()
    }

    /// Sets one directive from the words of a file or a command line. Directives that cannot be
    /// changed later may be set here.
    ///
    /// # Errors
    /// Fails, with the reason in Redis's words, if the words are not a value of the directive.
    pub fn load(&self, directive: &'static Directive, words: &[&str]) -> Result<(), String> {
        let observers = self.observers.lock();
        let value = directive.parse(words, &self.get(directive.id))?;
        self.apply(&[(directive, directive.name, value)], &observers).map_err(|(_, reason)| reason)
    }

    /// `CONFIG SET`: all pairs of names and values, or none.
    ///
    /// # Errors
    /// The first thing that is wrong, in Redis's order: names first, then values, then observers.
    pub fn set_many<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        pairs: &[(N, V)],
        context: SetContext,
    ) -> Result<(), SetError> {
        let mut named: Vec<Named<'_>> = Vec::with_capacity(pairs.len());
        for (name, value) in pairs {
            let entry = self.admit(name.as_ref(), value.as_ref(), context)?;
            if named.iter().any(|earlier| earlier.name == entry.name) {
                return Err(failed(&String::from_utf8_lossy(name.as_ref()), "duplicate parameter"));
            }
            named.push(entry);
        }
        let observers = self.observers.lock();
        let mut changes: Vec<Change> = Vec::with_capacity(named.len());
        for Named { directive, name, value } in named {
            let text = std::str::from_utf8(value)
                .map_err(|_| failed(name, "argument must be valid UTF-8"))?;
            // An alias and its directive may both be set; the later one sees the earlier one.
            let earlier = changes.iter().rev().find(|(other, ..)| other.id == directive.id);
            let current = match earlier {
                Some((.., value)) => value.clone(),
                None => self.get(directive.id),
            };
            let parsed = directive.parse(&directive.split(text), &current);
            changes.push((directive, name, parsed.map_err(|reason| failed(name, &reason))?));
        }
        self.apply(&changes, &observers).map_err(|(name, reason)| failed(name, &reason))
    }

    /// Whether a directive may be set by `CONFIG SET` at all now.
    fn admit<'v>(
        &self,
        name: &[u8],
        value: &'v [u8],
        context: SetContext,
    ) -> Result<Named<'v>, SetError> {
        let shown = String::from_utf8_lossy(name);
        let Some((canonical, directive)) = lookup(&shown) else {
            return Err(SetError::Unknown(shown.into_owned()));
        };
        if directive.immutable {
            return Err(failed(&shown, "can't set immutable config"));
        }
        if directive.protected && !context.owner && !self.protected_allowed(context.local) {
            return Err(failed(&shown, "can't set protected config"));
        }
        if directive.denied_while_loading && context.loading {
            return Err(SetError::Loading);
        }
        Ok(Named { directive, name: canonical, value })
    }

    fn protected_allowed(&self, local: bool) -> bool {
        match self.choice(Id::EnableProtectedConfigs) {
            "yes" => true,
            "local" => local,
            _ => false,
        }
    }

    /// Stores the changes and notifies the observers. If one of them refuses, all changes are
    /// undone.
    fn apply(
        &self,
        changes: &[Change],
        observers: &[Observer],
    ) -> Result<(), (&'static str, String)> {
        let before: Vec<(Id, Value)> =
            changes.iter().map(|(directive, ..)| (directive.id, self.get(directive.id))).collect();
        for (directive, _, value) in changes {
            self.put(directive.id, value.clone());
        }
        let tell = |id: Id, value: &Value| observers.iter().try_for_each(|tell| tell(id, value));
        for (at, (directive, name, value)) in changes.iter().enumerate() {
            if before[at].1 == *value && !directive.names_file {
                continue;
            }
            if let Err(reason) = tell(directive.id, value) {
                for (id, old) in before.iter().rev() {
                    self.put(*id, old.clone());
                }
                // The old values were accepted once; an objection now has nowhere to go.
                before[..=at].iter().rev().for_each(|(id, old)| drop(tell(*id, old)));
                return Err((name, reason));
            }
        }
        Ok(())
    }

    fn put(&self, id: Id, value: Value) {
        match value {
            Value::Number(number) => self.numbers[id as usize].store(number, Relaxed),
            Value::Text(text) => self.texts.write()[id as usize] = text,
        }
        self.version.fetch_add(1, Relaxed);
    }
}

/// A directive to set, by its name in lower case, with the value not yet parsed.
struct Named<'v> {
    directive: &'static Directive,
    name: &'static str,
    value: &'v [u8],
}

/// A directive, the name used for it, its new value.
type Change = (&'static Directive, &'static str, Value);

fn failed(name: &str, reason: &str) -> SetError {
    SetError::Failed { name: name.to_owned(), reason: reason.to_owned() }
}

fn visible(pattern: &[u8]) -> impl Iterator<Item = (String, Id)> {
    names()
        .filter(move |(name, directive)| {
            !directive.hidden && glob::matches(pattern, name.as_bytes(), true)
        })
        .map(|(name, directive)| (name.to_owned(), directive.id))
}

fn exact(name: &[u8]) -> Option<(String, Id)> {
    let name = std::str::from_utf8(name).ok()?;
    lookup(name).map(|(_, directive)| (name.to_owned(), directive.id))
}
