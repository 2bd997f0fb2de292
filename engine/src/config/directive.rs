//! [`Directive`], a row of the registry, and the constructors that rows are written with.

use super::Id;

/// One configuration directive.
#[derive(Debug, Clone, Copy)]
pub struct Directive {
    /// Its identifier in code.
    pub id: Id,
    /// Its name in files, on the command line and in `CONFIG`.
    pub name: &'static str,
    /// Older names that mean the same (`slave-…`, `…-ziplist-…`).
    pub aliases: &'static [&'static str],
    /// The values it accepts.
    pub kind: Kind,
    /// Its default value.
    pub initial: Initial,
    /// One line for `--help` and the docs.
    pub summary: &'static str,
    /// The effect of setting it.
    pub effect: Effect,
    /// Fixed once the server runs: `CONFIG SET` refuses it.
    pub immutable: bool,
    /// A secret: never shown in logs, MONITOR or SLOWLOG.
    pub sensitive: bool,
    /// `CONFIG SET` needs `enable-protected-configs`.
    pub protected: bool,
    /// `CONFIG GET` gives it only by its exact name.
    pub hidden: bool,
    /// `CONFIG SET` answers LOADING while the data set loads.
    pub denied_while_loading: bool,
    /// Whether it names a file. Setting it again reads the file again, so observers are notified
    /// even if the value is the same.
    pub names_file: bool,
}

/// The values a directive takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `yes` or `no`.
    YesNo,
    /// A whole number, bounds included.
    Integer {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// 0, which stands for something else, or a whole number, bounds included.
    ZeroOr {
        /// Smallest other value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// Bytes, written with Redis's suffixes (`1kb` = 1024, `1k` = 1000), bounds included.
    Memory {
        /// Smallest size in bytes.
        min: u64,
        /// Largest size in bytes.
        max: u64,
    },
    /// Bytes, or a percentage of `maxmemory` up to 100; kept as a negative number.
    MemoryOrPercent,
    /// File permission bits, from 0 to `max`.
    Octal {
        /// Largest value.
        max: i64,
    },
    /// One of these names; several names may stand for one number, the first is shown.
    Choice(&'static [(&'static str, i64)]),
    /// Any of these names together, as bits; 0 has a name of its own.
    Flags(&'static [(&'static str, i64)]),
    /// Any text the function accepts.
    Text(fn(&str) -> Result<(), &'static str>),
    /// A little grammar of its own.
    Grammar(Grammar),
}

/// Directives with a grammar of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grammar {
    /// `save`: pairs of seconds and changes.
    Save,
    /// `client-output-buffer-limit`: class, hard limit, soft limit, seconds.
    OutputBufferLimits,
    /// `notify-keyspace-events`: letters, see [`super::KeyspaceEvents`].
    KeyspaceEvents,
    /// `bind`: addresses.
    Bind,
    /// `oom-score-adj-values`: three numbers.
    OomScores,
    /// `latency-tracking-info-percentiles`: numbers from 0 to 100.
    Percentiles,
    /// `replicaof`: host and port, or `no one`.
    ReplicaOf,
}

/// A default value, in a form that a `static` can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initial {
    /// The default of yes/no, numbers, sizes, choices and flags.
    Number(i64),
    /// The default of all others, as `CONFIG GET` shows it.
    Text(&'static str),
}

/// The effect that setting a directive has in Varve, which does not need all of Redis's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It has its effect.
    Applied,
    /// It changes nothing here and nothing is lost by that: kept, given back, warned of once.
    Kept,
}

impl Directive {
    const fn new(
        id: Id,
        name: &'static str,
        kind: Kind,
        initial: Initial,
        summary: &'static str,
    ) -> Self {
        Directive {
            id,
            name,
            aliases: &[],
            kind,
            initial,
            summary,
            effect: Effect::Applied,
            immutable: false,
            sensitive: false,
            protected: false,
            hidden: false,
            denied_while_loading: false,
            names_file: false,
        }
    }

    /// Adds older names.
    pub(super) const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Kept and given back without effect.
    pub(super) const fn kept(mut self) -> Self {
        self.effect = Effect::Kept;
        self
    }

    pub(super) const fn immutable(mut self) -> Self {
        self.immutable = true;
        self
    }

    pub(super) const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    pub(super) const fn protected(mut self) -> Self {
        self.protected = true;
        self
    }

    pub(super) const fn names_file(mut self) -> Self {
        self.names_file = true;
        self
    }

    pub(super) const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    pub(super) const fn denied_while_loading(mut self) -> Self {
        self.denied_while_loading = true;
        self
    }

    /// Replaces the check of a text.
    pub(super) const fn checked(mut self, check: fn(&str) -> Result<(), &'static str>) -> Self {
        self.kind = Kind::Text(check);
        self
    }
}

pub(super) const fn yes_no(
    id: Id,
    name: &'static str,
    initial: bool,
    summary: &'static str,
) -> Directive {
    Directive::new(id, name, Kind::YesNo, Initial::Number(initial as i64), summary)
}

pub(super) const fn integer(
    id: Id,
    name: &'static str,
    (min, max): (i64, i64),
    initial: i64,
    summary: &'static str,
) -> Directive {
    Directive::new(id, name, Kind::Integer { min, max }, Initial::Number(initial), summary)
}

pub(super) const fn zero_or(
    id: Id,
    name: &'static str,
    (min, max): (i64, i64),
    initial: i64,
    summary: &'static str,
) -> Directive {
    Directive::new(id, name, Kind::ZeroOr { min, max }, Initial::Number(initial), summary)
}

pub(super) const fn memory(
    id: Id,
    name: &'static str,
    (min, max): (u64, u64),
    initial: u64,
    summary: &'static str,
) -> Directive {
    Directive::new(id, name, Kind::Memory { min, max }, Initial::Number(initial as i64), summary)
}

pub(super) const fn memory_or_percent(
    id: Id,
    name: &'static str,
    summary: &'static str,
) -> Directive {
    Directive::new(id, name, Kind::MemoryOrPercent, Initial::Number(0), summary)
}

pub(super) const fn octal(
    id: Id,
    name: &'static str,
    max: i64,
    summary: &'static str,
) -> Directive {
    Directive::new(id, name, Kind::Octal { max }, Initial::Number(0), summary)
}

pub(super) const fn choice(
    id: Id,
    name: &'static str,
    choices: &'static [(&'static str, i64)],
    initial: i64,
    summary: &'static str,
) -> Directive {
    Directive::new(id, name, Kind::Choice(choices), Initial::Number(initial), summary)
}

pub(super) const fn flags(
    id: Id,
    name: &'static str,
    bits: &'static [(&'static str, i64)],
    summary: &'static str,
) -> Directive {
    Directive::new(id, name, Kind::Flags(bits), Initial::Number(0), summary)
}

pub(super) const fn text(
    id: Id,
    name: &'static str,
    initial: &'static str,
    summary: &'static str,
) -> Directive {
    Directive::new(id, name, Kind::Text(any_text), Initial::Text(initial), summary)
}

pub(super) const fn grammar(
    id: Id,
    name: &'static str,
    grammar: Grammar,
    initial: Initial,
    summary: &'static str,
) -> Directive {
    Directive::new(id, name, Kind::Grammar(grammar), initial, summary)
}

fn any_text(_: &str) -> Result<(), &'static str> {
    Ok(())
}
