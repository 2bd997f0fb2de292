//! [`Argument`]: one argument of a command as `COMMAND DOCS` describes it, and what its name and
//! command say about its type.

use super::spec::{Begin, Find, Group, Spec};
use super::syntax::{self, SyntaxError};

/// Types of arguments, as `COMMAND DOCS` names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// `string`
    #[default]
    String,
    /// `integer`
    Integer,
    /// `double`
    Double,
    /// `key`
    Key,
    /// `pattern`
    Pattern,
    /// `unix-time`
    UnixTime,
    /// `pure-token`: a word standing for itself.
    PureToken,
    /// `oneof`
    OneOf,
    /// `block`: several in a row.
    Block,
}

impl Kind {
    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Double => "double",
            Kind::Key => "key",
            Kind::Pattern => "pattern",
            Kind::UnixTime => "unix-time",
            Kind::PureToken => "pure-token",
            Kind::OneOf => "oneof",
            Kind::Block => "block",
        }
    }

    /// Whether it is a group of other arguments.
    pub const fn is_group(self) -> bool {
        matches!(self, Kind::OneOf | Kind::Block)
    }
}

/// One argument.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Argument {
    /// Its name in `COMMAND DOCS`.
    pub name: String,
    /// For a value: its name where the command's syntax is shown.
    pub display: String,
    /// Its type in `COMMAND DOCS`.
    pub kind: Kind,
    /// The literal in front of it.
    pub token: Option<String>,
    /// The Redis version that has it first, where that is not the command's.
    pub since: Option<String>,
    /// The version that advised against it.
    pub deprecated_since: Option<String>,
    /// It may be left out.
    pub optional: bool,
    /// It may be repeated.
    pub multiple: bool,
    /// Repeated together with its token.
    pub multiple_token: bool,
    /// For keys: the row's key spec that finds it.
    pub key_spec: Option<usize>,
    /// For a group: its members.
    pub arguments: Vec<Argument>,
}

/// The arguments of a command, with types and key specs.
///
/// # Errors
/// Fails if the row's syntax does not follow the notation.
pub fn arguments(spec: &Spec) -> Result<Vec<Argument>, SyntaxError> {
    let mut arguments = syntax::parse(spec.syntax)?;
    let mut typist = Typist { spec, next_key: 0 };
    arguments.iter_mut().for_each(|argument| typist.visit(argument));
    Ok(arguments)
}

/// Visits the tree in order, sets types and counts keys.
struct Typist<'a> {
    spec: &'a Spec,
    next_key: usize,
}

impl Typist<'_> {
    fn visit(&mut self, argument: &mut Argument) {
        if argument.kind.is_group() {
            return argument.arguments.iter_mut().for_each(|inner| self.visit(inner));
        }
        if argument.kind == Kind::PureToken {
            return;
        }
        argument.kind = kind(&argument.display, self.spec);
        argument.key_spec = match argument.kind {
            Kind::Key => self.key_spec(),
            Kind::Pattern => self.spec.keys.iter().position(is_unknown),
            _ => None,
        };
    }

    /// Keys belong to the key specs in their order; the last spec gets all that are left.
    fn key_spec(&mut self) -> Option<usize> {
        let specs = self.spec.keys;
        let mut this = self.next_key.min(specs.len().checked_sub(1)?);
        // A key that a pattern denotes (`SORT … BY`) is not an argument.
        while is_unknown(&specs[this])
            && specs[this].flags.starts_with("RO")
            && this + 1 < specs.len()
        {
            this += 1;
        }
        self.next_key = this + 1;
        Some(this)
    }
}

fn is_unknown(spec: &super::KeySpec) -> bool {
    spec.begin == Begin::Unknown && spec.find == Find::Unknown
}

/// The type of a value, by what such arguments are called throughout Redis.
fn kind(name: &str, spec: &Spec) -> Kind {
    match name {
        "key" | "key1" | "key2" | "newkey" | "source" | "destination" | "destkey" | "sourcekey"
        | "dst" | "src" | "storekey" | "destination-key" | "source-key"
            if !spec.keys.is_empty() =>
        {
            Kind::Key
        }
        "pattern" => Kind::Pattern,
        "unix-time-seconds" | "unix-time-milliseconds" => Kind::UnixTime,
        "longitude" | "latitude" | "radius" | "width" | "height" | "score" => Kind::Double,
        "bit" | "bits" | "client-id" | "cluster-bus-port" | "config-epoch" | "count" | "cursor"
        | "db" | "decrement" | "destination-db" | "end-slot" | "entries-added" | "entries-read"
        | "frequency" | "index" | "index1" | "index2" | "len" | "limit" | "milliseconds" | "ms"
        | "num-matches" | "numkeys" | "numreplicas" | "numlocal" | "offset" | "port"
        | "protover" | "rank" | "seconds" | "slot" | "start-slot" | "ttl" | "version"
        | "weight" | "numfields" | "min-match-len" | "id-count" | "replicas" => Kind::Integer,
        _ => ambiguous(name, spec),
    }
}

/// Names that mean different things in different commands.
fn ambiguous(name: &str, spec: &Spec) -> Kind {
    let words_as_bounds = spec.group == Group::Stream || spec.name.starts_with("zrange");
    match name {
        "start" | "end" | "stop" if words_as_bounds => Kind::String,
        "start" | "end" | "stop" => Kind::Integer,
        "min" | "max" if spec.name.contains("lex") || spec.name == "zrangestore" => Kind::String,
        "min" | "max" => Kind::Double,
        "increment" if spec.name.ends_with("float") => Kind::Double,
        "increment" => Kind::Integer,
        "timeout" if matches!(spec.group, Group::List | Group::SortedSet) => Kind::Double,
        "timeout" => Kind::Integer,
        "value" if spec.group == Group::Bitmap => Kind::Integer,
        "min-idle-time" if spec.name == "xpending" => Kind::Integer,
        _ => Kind::String,
    }
}
