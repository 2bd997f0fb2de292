//! [`Spec`]: one command's row. Names and meanings are those of Redis's `COMMAND` documentation.

use super::keys::KeyFinder;
use super::secrets::Secret;
use crate::config::Id;
use crate::cx::Cx;
use crate::engine::Engine;
use crate::failure::Outcome;
use resp::Request;
use storage::{Db, ShardSet};

/// Runs a command: parse the arguments, run a pure operation on the keyspace, reply.
pub type Handler = for<'a> fn(&mut Cx<'a>) -> Outcome;

/// A command's flags; see <https://redis.io/docs/latest/commands/command/>, "Flags".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// May change data.
    Write,
    /// Only reads data.
    Readonly,
    /// Refused when memory is over its limit.
    DenyOom,
    /// An administrator's command.
    Admin,
    /// About publish and subscribe.
    PubSub,
    /// It must not run in scripts.
    NoScript,
    /// May park the session.
    Blocking,
    /// Allowed while loading.
    Loading,
    /// Allowed on a stale replica.
    Stale,
    /// `MONITOR` does not show it.
    SkipMonitor,
    /// The slow log does not record it.
    SkipSlowlog,
    /// Runs in constant or logarithmic time.
    Fast,
    /// Allowed without authentication.
    NoAuth,
    /// May replicate although not a write.
    MayReplicate,
    /// It must not run during an asynchronous load.
    NoAsyncLoading,
    /// It must not run inside `MULTI`.
    NoMulti,
    /// The positions of keys alone do not determine them.
    MovableKeys,
    /// Allowed while a script is over its time.
    AllowBusy,
    /// Accepts `ASKING`.
    Asking,
    /// May be called without any key although keys can be given (`EVAL … 0`).
    NoMandatoryKeys,
    /// Runs at once inside `MULTI` instead of being queued (`EXEC`, `DISCARD`, `RESET` …).
    NotQueued,
    /// Ends a transaction, so it is never refused for lack of memory.
    EndsMulti,
    /// Allowed to a subscriber in RESP2: its reply looks like a message, or ends the subscriptions.
    WhileSubscribed,
    /// A replica sends it to its master. A replica that sends anything else is disconnected.
    ReplicaLink,
    /// Tells clients whether the server works: it is refused while the log cannot be written.
    Health,
    /// A key that it does not find is counted, but the event `keymiss` is not published.
    NoMissEvent,
    /// Its accesses count as such even for a client that has set `CLIENT NO-TOUCH`.
    AlwaysTouches,
    /// Gives any number of replies, so that it cannot be sent where each request has one (HTTP).
    Streaming,
    /// For other servers and for tests; `COMMAND DOCS` shows it as a system command.
    System,
}

bitflags::bitflags! {
    /// A set of [`Flag`]s.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Flags: u32 {
        // The names are those of the enumeration.
        const _ = !0;
    }
}

impl Flag {
    /// The set of this flag alone.
    pub const fn set(self) -> Flags {
        Flags::from_bits_retain(1 << self as u8)
    }

    /// The name `COMMAND INFO` gives it; `None` for a flag that is Varve's own.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Flag::Write => "write",
            Flag::Readonly => "readonly",
            Flag::DenyOom => "denyoom",
            Flag::Admin => "admin",
            Flag::PubSub => "pubsub",
            Flag::NoScript => "noscript",
            Flag::Blocking => "blocking",
            Flag::Loading => "loading",
            Flag::Stale => "stale",
            Flag::SkipMonitor => "skip_monitor",
            Flag::SkipSlowlog => "skip_slowlog",
            Flag::Fast => "fast",
            Flag::NoAuth => "no_auth",
            Flag::NoAsyncLoading => "no_async_loading",
            Flag::NoMulti => "no_multi",
            Flag::MovableKeys => "movablekeys",
            Flag::AllowBusy => "allow_busy",
            Flag::Asking => "asking",
            Flag::NoMandatoryKeys => "no_mandatory_keys",
            // Redis keeps this one to itself.
            Flag::MayReplicate => return None,
            Flag::NotQueued
            | Flag::EndsMulti
            | Flag::WhileSubscribed
            | Flag::ReplicaLink
            | Flag::Health
            | Flag::NoMissEvent
            | Flag::AlwaysTouches
            | Flag::Streaming
            | Flag::System => return None,
        })
    }
}

/// The family a command is documented in; also decides its data-type ACL category.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Bitmaps.
    Bitmap,
    /// Cluster.
    Cluster,
    /// Connection.
    Connection,
    /// Keys of any type.
    Generic,
    /// Geospatial indices.
    Geo,
    /// Hashes.
    Hash,
    /// HyperLogLog.
    HyperLogLog,
    /// Lists.
    List,
    /// Publish and subscribe.
    PubSub,
    /// Scripts and functions.
    Scripting,
    /// The server itself.
    Server,
    /// Sets.
    Set,
    /// Sorted sets.
    SortedSet,
    /// Streams.
    Stream,
    /// Strings.
    String,
    /// `MULTI` and its kin.
    Transactions,
}

impl Group {
    /// The name `COMMAND DOCS` gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Bitmap => "bitmap",
            Group::Cluster => "cluster",
            Group::Connection => "connection",
            Group::Generic => "generic",
            Group::Geo => "geo",
            Group::Hash => "hash",
            Group::HyperLogLog => "hyperloglog",
            Group::List => "list",
            Group::PubSub => "pubsub",
            Group::Scripting => "scripting",
            Group::Server => "server",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Stream => "stream",
            Group::String => "string",
            Group::Transactions => "transactions",
        }
    }

    /// The ACL category its commands are in, if the group has one.
    const fn category(self) -> Option<Category> {
        Some(match self {
            Group::Bitmap => Category::Bitmap,
            Group::Connection => Category::Connection,
            Group::Generic => Category::Keyspace,
            Group::Geo => Category::Geo,
            Group::Hash => Category::Hash,
            Group::HyperLogLog => Category::HyperLogLog,
            Group::List => Category::List,
            Group::PubSub => Category::PubSub,
            Group::Scripting => Category::Scripting,
            Group::Set => Category::Set,
            Group::SortedSet => Category::SortedSet,
            Group::Stream => Category::Stream,
            Group::String => Category::String,
            Group::Transactions => Category::Transaction,
            Group::Server | Group::Cluster => return None,
        })
    }
}

/// ACL categories, in the order `ACL CAT` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is the category of its name")]
pub enum Category {
    Keyspace,
    Read,
    Write,
    Set,
    SortedSet,
    List,
    Hash,
    String,
    Bitmap,
    HyperLogLog,
    Geo,
    Stream,
    PubSub,
    Admin,
    Fast,
    Slow,
    Blocking,
    Dangerous,
    Connection,
    Transaction,
    Scripting,
}

bitflags::bitflags! {
    /// A set of ACL categories.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Categories: u32 {
        // The names are those of the enumeration.
        const _ = !0;
    }
}

impl Category {
    /// Every category, in `ACL CAT` order.
    pub const ALL: [Category; 21] = [
        Category::Keyspace,
        Category::Read,
        Category::Write,
        Category::Set,
        Category::SortedSet,
        Category::List,
        Category::Hash,
        Category::String,
        Category::Bitmap,
        Category::HyperLogLog,
        Category::Geo,
        Category::Stream,
        Category::PubSub,
        Category::Admin,
        Category::Fast,
        Category::Slow,
        Category::Blocking,
        Category::Dangerous,
        Category::Connection,
        Category::Transaction,
        Category::Scripting,
    ];

    /// The categories of some types of values.
    const DATA_TYPES: Categories =
        Category::Set.set().union(Category::SortedSet.set()).union(Category::List.set());

    /// The set of this category alone.
    pub const fn set(self) -> Categories {
        Categories::from_bits_retain(1 << self as u8)
    }

    /// The name without `@`.
    pub const fn name(self) -> &'static str {
        match self {
            Category::Keyspace => "keyspace",
            Category::Read => "read",
            Category::Write => "write",
            Category::Set => "set",
            Category::SortedSet => "sortedset",
            Category::List => "list",
            Category::Hash => "hash",
            Category::String => "string",
            Category::Bitmap => "bitmap",
            Category::HyperLogLog => "hyperloglog",
            Category::Geo => "geo",
            Category::Stream => "stream",
            Category::PubSub => "pubsub",
            Category::Admin => "admin",
            Category::Fast => "fast",
            Category::Slow => "slow",
            Category::Blocking => "blocking",
            Category::Dangerous => "dangerous",
            Category::Connection => "connection",
            Category::Transaction => "transaction",
            Category::Scripting => "scripting",
        }
    }
}

/// The beginning of the search for keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At this argument.
    Index(i32),
    /// After this word, looked for from this argument on (backwards when negative).
    Keyword(&'static str, i32),
    /// The keys are not determined by their positions.
    Unknown,
}

/// The positions of keys, relative to the beginning of the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// Up to `last` (relative to the beginning; from the end when negative), every `step`-th; with
    /// `limit` 2 only the first half of what remains, and so on.
    Range {
        /// Last key.
        last: i32,
        /// Distance between keys.
        step: i32,
        /// Divisor of the rest, 0 or 1 for none.
        limit: i32,
    },
    /// A count at `index`, the first key at `first`, every `step`-th (all relative).
    KeyNum {
        /// The position of the number of keys.
        index: i32,
        /// The position of the first key.
        first: i32,
        /// Distance between keys.
        step: i32,
    },
    /// The keys are not determined by their positions.
    Unknown,
}

/// Which arguments are channels that the user must be allowed to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// No argument is a channel.
    None,
    /// The first one.
    First,
    /// All.
    All,
    /// All, and they are patterns.
    Patterns,
}

/// Which arguments are keys, and what happens to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// Redis's flags in its order: `RO|RW|OW|RM` then `ACCESS`, `UPDATE`, `INSERT`, `DELETE`, and
    /// `not_key`, `incomplete`, `variable_flags`.
    pub flags: &'static str,
    /// The beginning of the search.
    pub begin: Begin,
    /// The positions from there on.
    pub find: Find,
    /// A note shown by `COMMAND INFO`.
    pub notes: &'static str,
}

/// One key at `index`.
pub const fn key(flags: &'static str, index: i32) -> KeySpec {
    key_range(flags, index, 0, 1)
}

/// Keys from `first` to `last` (relative to `first`; from the end when negative).
pub const fn key_range(flags: &'static str, first: i32, last: i32, step: i32) -> KeySpec {
    KeySpec {
        flags,
        begin: Begin::Index(first),
        find: Find::Range { last, step, limit: 0 },
        notes: "",
    }
}

/// A count at `index`, and that many keys behind it.
pub const fn numkeys(flags: &'static str, index: i32) -> KeySpec {
    KeySpec {
        flags,
        begin: Begin::Index(index),
        find: Find::KeyNum { index: 0, first: 1, step: 1 },
        notes: "",
    }
}

/// Keys behind a word: `last` and `limit` as in [`Find::Range`].
pub const fn keyword_keys(
    flags: &'static str,
    word: &'static str,
    from: i32,
    last: i32,
    limit: i32,
) -> KeySpec {
    KeySpec {
        flags,
        begin: Begin::Keyword(word, from),
        find: Find::Range { last, step: 1, limit },
        notes: "",
    }
}

/// How the first argument of a command names the script that it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunsScript {
    /// It is the script's text (`EVAL`).
    Text,
    /// It is the script's SHA-1 digest (`EVALSHA`).
    Digest,
    /// It is the name of a library's function (`FCALL`).
    Function,
}

/// Which shards are locked while a command runs.
#[derive(Clone, Copy)]
pub enum LockRule {
    /// The shards of the declared keys.
    Keys,
    /// Every shard.
    All,
    /// None: the handler touches no key.
    None,
    /// The shards that this function returns, for commands whose shards do not follow from keys.
    Custom(fn(&Engine, Db, Request<'_>) -> ShardSet),
}

/// One command.
pub struct Spec {
    /// Lower-case name; for a subcommand its own word only.
    pub name: &'static str,
    /// One sentence, as `COMMAND DOCS` shows it.
    pub summary: &'static str,
    /// The Redis version that has it first.
    pub since: &'static str,
    /// Its cost, as `COMMAND DOCS` shows it.
    pub complexity: &'static str,
    /// It takes constant time, although Redis does not flag it `fast`: in a pipeline it is timed together
    /// with its neighbours.
    pub quick: bool,
    /// Arguments including the name (and the container's name, for a subcommand); negative: at
    /// least that many.
    pub arity: i32,
    /// Its family.
    pub group: Group,
    /// Its flags, in any order.
    pub flags: &'static [Flag],
    /// ACL categories beyond those that follow from group and flags.
    pub categories: &'static [Category],
    /// Which arguments are keys, in the form that `COMMAND INFO` shows.
    pub keys: &'static [KeySpec],
    /// Which arguments are secret.
    pub secrets: &'static [Secret],
    /// A function that finds the keys where the key specifications cannot: an option's value may
    /// equal an option's name, an option may be repeated, and the access to a key may depend on an
    /// option.
    pub find_keys: Option<KeyFinder>,
    /// Which arguments are channels.
    pub channels: Channels,
    /// The directive (`enable-…-command`) that decides which clients may run it, if there is one.
    pub enabled_by: Option<Id>,
    /// How the first argument names the script that the command runs, if it runs one. The script's
    /// own flags then take the place of the row's.
    pub runs_script: Option<RunsScript>,
    /// Its arguments after the name, in the notation of the Redis documentation: literal words in
    /// capitals, `[…]` optional, `|` alternatives, `<a|b>` a required choice, `x [x ...]`
    /// repetition.
    pub syntax: &'static str,
    /// Command tips, as `COMMAND INFO` shows them.
    pub tips: &'static [&'static str],
    /// Changes over versions: version and what changed.
    pub history: &'static [(&'static str, &'static str)],
    /// Deprecated since when, and what to use instead.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// Which shards to lock.
    pub locks: LockRule,
    /// The function that runs it. It parses, operates and replies once, or returns a [`Failure`](crate::Failure).
    pub handler: Handler,
    /// Commands named by the second word.
    pub subcommands: &'static [Spec],
}

/// The default of every field, for rows to fill up from: `Spec { name: …, ..SPEC }`.
pub const SPEC: Spec = Spec {
    name: "",
    summary: "",
    since: "1.0.0",
    complexity: "O(1)",
    quick: false,
    arity: -1,
    group: Group::Generic,
    flags: &[],
    categories: &[],
    keys: &[],
    secrets: &[],
    find_keys: None,
    channels: Channels::None,
    enabled_by: None,
    runs_script: None,
    syntax: "",
    tips: &[],
    history: &[],
    deprecated: None,
    locks: LockRule::Keys,
    handler: missing_subcommand,
    subcommands: &[],
};

/// The handler of a container: never reached, as it accepts no request.
fn missing_subcommand(cx: &mut Cx<'_>) -> Outcome {
    Err(crate::failure::unknown_subcommand(cx.args))
}

impl Spec {
    /// All flags as a set.
    pub fn flag_set(&self) -> Flags {
        self.flags.iter().map(|flag| flag.set()).collect()
    }

    /// All ACL categories as a set: those given, and those that follow from group and flags as
    /// in Redis's `setImplicitACLCategories`. A generic command whose row names data types (`SORT`)
    /// is about their values, not about the keyspace.
    pub fn category_set(&self) -> Categories {
        let given: Categories = self.categories.iter().map(|category| category.set()).collect();
        // A container does nothing that would belong to its group; its subcommands do.
        let container = !self.subcommands.is_empty();
        let names_types = self.group == Group::Generic && given.intersects(Category::DATA_TYPES);
        let group = self.group.category().filter(|_| !container && !names_types);
        let group = group.map_or(Categories::empty(), Category::set);
        given | group | self.implied_categories()
    }

    fn implied_categories(&self) -> Categories {
        let has = |flag: Flag| self.flags.contains(&flag);
        let scripting = self.group == Group::Scripting;
        let mut implied = Categories::empty();
        let mut imply = |condition: bool, category: Category| {
            if condition {
                implied.insert(category.set());
            }
        };
        imply(has(Flag::Write), Category::Write);
        imply(has(Flag::Readonly) && !scripting, Category::Read);
        imply(has(Flag::Admin), Category::Admin);
        imply(has(Flag::Admin), Category::Dangerous);
        imply(has(Flag::PubSub), Category::PubSub);
        imply(has(Flag::Fast), Category::Fast);
        imply(has(Flag::Blocking), Category::Blocking);
        imply(!has(Flag::Fast), Category::Slow);
        implied
    }
}
