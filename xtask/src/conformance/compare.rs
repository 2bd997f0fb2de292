//! Decides whether two replies are alike: equal, except for unspecified orders, random picks, and
//! times that two servers cannot share.

use super::generate::{Command, ends_with_all, inner_command, word};
use super::lag;
use engine::command::{CommandTable, Group};
use resp::Value;

/// Milliseconds by which times may be apart.
const TOLERANCE_MS: i64 = 20_000;

/// A unix time in milliseconds this near to the present depends on it.
const NEAR_MS: i64 = 1_000 * 86_400_000;

/// A count from which on a random pick takes everything.
pub const EVERYTHING: i64 = 1_000;

/// The way in which a reply is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// To the byte.
    Exact,
    /// Elements in any order.
    Unordered,
    /// Elements in any order, two by two where the protocol has no maps.
    Pairs,
    /// A cursor, and elements in any order.
    Scan,
    /// A cursor, and pairs in any order.
    ScanPairs,
    /// Its type, and the number of elements.
    Shape,
    /// Milliseconds or seconds, `TOLERANCE_MS` apart at most.
    Time {
        /// Milliseconds in a unit.
        unit: i64,
    },
    /// As streams answer: IDs and idle times follow the clock.
    Stream,
    /// As streams answered before 7.2.6: it counts in its own way how far groups have read, which
    /// where nothing was deleted differs in their lag only.
    OlderStream,
    /// The name of an encoding; packed sets and packed lists are newer than Redis 7.0, and whole
    /// numbers are numbers, however they came about.
    Encoding,
}

/// Compares a program's answers, in order.
pub struct Comparer<'a> {
    table: &'a CommandTable,
    encodings: bool,
    /// Whether the other side is as new as ours.
    newer: bool,
    /// The commands that each client has queued since its `MULTI`.
    queued: [Vec<Rule>; super::side::CLIENTS],
    /// The key that was last asked for its type, and the answer.
    typed: Option<(Vec<u8>, Value)>,
}

impl<'a> Comparer<'a> {
    /// Rules from `table`; whether encodings are compared, and `newer` if all is.
    pub fn new(table: &'a CommandTable, encodings: bool, newer: bool) -> Self {
        Comparer { table, encodings, newer, queued: Default::default(), typed: None }
    }

    /// Whether two answers to `command` are alike.
    pub fn alike(&mut self, command: &Command, ours: &Value, theirs: &Value) -> bool {
        let rule = self.rule(&command.args);
        let queued = &mut self.queued[command.client];
        if *theirs == Value::Simple(b"QUEUED".to_vec()) {
            queued.push(rule);
            return ours == theirs;
        }
        match word(&command.args, 0).as_str() {
            "exec" => {
                let rules = std::mem::take(queued);
                executed(&rules, ours, theirs)
            }
            "discard" => {
                queued.clear();
                ours == theirs
            }
            "type" => {
                self.typed = command.args.get(1).map(|key| (key.clone(), ours.clone()));
                same(ours, theirs)
            }
            _ if matches!(rule, Rule::Stream | Rule::OlderStream) && !lag::is_right(ours) => false,
            _ => {
                alike(rule, ours, theirs) || is_script(&command.args) && within(rule, ours, theirs)
            }
        }
    }

    /// Returns the way in which the reply to a command is compared.
    fn rule(&self, args: &[Vec<u8>]) -> Rule {
        if let Some(inner) = inner_command(args) {
            return self.rule(inner);
        }
        let name = word(args, 0);
        match name.as_str() {
            "ttl" | "expiretime" => Rule::Time { unit: 1000 },
            "pttl" | "pexpiretime" => Rule::Time { unit: 1 },
            "hgetall" => Rule::Pairs,
            "hrandfield" | "zrandmember" | "srandmember" => random(args),
            "randomkey" | "dump" => Rule::Shape,
            "spop" => Rule::Unordered,
            "scan" | "sscan" => scan(args, 1, Rule::Scan),
            "hscan" | "zscan" => scan(args, 2, Rule::ScanPairs),
            "sort" | "sort_ro" => sorted(args),
            "object" => self.object(args),
            _ => self.by_row(&name),
        }
    }

    fn object(&self, args: &[Vec<u8>]) -> Rule {
        match word(args, 1).as_str() {
            "encoding" if self.encodings => match &self.typed {
                Some((key, kind)) if args.get(2) == Some(key) && is_strict(kind) => Rule::Exact,
                _ => Rule::Encoding,
            },
            "help" => Rule::Exact,
            _ => Rule::Shape,
        }
    }

    fn by_row(&self, name: &str) -> Rule {
        let Some(entry) = self.table.find(name.as_bytes()) else { return Rule::Exact };
        match entry.spec {
            spec if spec.group == Group::Stream && self.newer => Rule::Stream,
            spec if spec.group == Group::Stream => Rule::OlderStream,
            spec if spec.tips.contains(&"nondeterministic_output_order") => Rule::Unordered,
            _ => Rule::Exact,
        }
    }
}

/// Whether values of a type have the same encodings in Redis 7.0.
fn is_strict(kind: &Value) -> bool {
    !matches!(kind.as_bytes(), Some(b"list" | b"set" | b"string"))
}

/// `HRANDFIELD` and its like: everything, or who knows what.
fn random(args: &[Vec<u8>]) -> Rule {
    let count: Option<i64> = args.get(2).and_then(|n| std::str::from_utf8(n).ok()?.parse().ok());
    match count {
        Some(count) if count < EVERYTHING => Rule::Shape,
        _ if args.len() > 3 => Rule::Pairs,
        Some(_) => Rule::Unordered,
        None => Rule::Shape,
    }
}

/// A scan returns everything if it begins at the beginning and need not continue.
fn scan(args: &[Vec<u8>], cursor: usize, all: Rule) -> Rule {
    let cursor = if word(args, 0) == "scan" { 1 } else { cursor.max(2) };
    let whole = args.get(cursor).is_none_or(|cursor| cursor == b"0") && ends_with_all(args);
    if whole { all } else { Rule::Shape }
}

/// `SORT … BY … ALPHA` leaves equal elements in any order, and with a `BY` that is not a pattern
/// all elements.
fn sorted(args: &[Vec<u8>]) -> Rule {
    let has = |token: &str| args.iter().any(|arg| arg.eq_ignore_ascii_case(token.as_bytes()));
    let unsorted = |pair: &[Vec<u8>]| word(pair, 0) == "by" && !pair[1].contains(&b'*');
    match has("BY") && has("ALPHA") || args.windows(2).any(unsorted) {
        true if has("LIMIT") || has("GET") => Rule::Shape,
        true => Rule::Unordered,
        false => Rule::Exact,
    }
}

fn is_script(args: &[Vec<u8>]) -> bool {
    inner_command(args).is_some()
}

/// A script may put the answer into a table.
fn within(rule: Rule, ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(a), Value::Array(b)) if a.len() == 1 && b.len() == 1 => {
            alike(rule, &a[0], &b[0])
        }
        _ => false,
    }
}

fn executed(rules: &[Rule], ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() && a.len() == rules.len() => {
            rules.iter().zip(a.iter().zip(b)).all(|(rule, (a, b))| alike(*rule, a, b))
        }
        _ => same(ours, theirs),
    }
}

/// Whether two answers are alike under a rule.
pub fn alike(rule: Rule, ours: &Value, theirs: &Value) -> bool {
    if same(ours, theirs) {
        return true;
    }
    match rule {
        Rule::Exact => false,
        Rule::Shape => shape(ours) == shape(theirs),
        Rule::Unordered => same(&in_order(ours, 1), &in_order(theirs, 1)),
        Rule::Pairs => same(&in_order(ours, 2), &in_order(theirs, 2)),
        Rule::Scan => scanned(ours, theirs, 1),
        Rule::ScanPairs => scanned(ours, theirs, 2),
        Rule::Time { unit } => match (ours, theirs) {
            (Value::Integer(a), Value::Integer(b)) => {
                a.signum() == b.signum() && a.abs_diff(*b) <= (TOLERANCE_MS / unit) as u64
            }
            _ => false,
        },
        Rule::Stream => streams_alike(ours, theirs, &[]),
        Rule::OlderStream if lag::has_deletions(ours) => {
            streams_alike(ours, theirs, &[b"lag", b"entries-read"])
        }
        Rule::OlderStream => streams_alike(ours, theirs, &[b"lag"]),
        Rule::Encoding => {
            let newer = |name: &Value| *name == Value::Bulk(b"listpack".to_vec());
            let older: &[&[u8]] = &[b"hashtable", b"quicklist"];
            // INCRBYFLOAT leaves a whole number as text.
            let text =
                *ours == Value::Bulk(b"int".to_vec()) && *theirs == Value::Bulk(b"embstr".to_vec());
            text || newer(ours) && theirs.as_bytes().is_some_and(|name| older.contains(&name))
        }
    }
}

/// Equality, with NaN equal to itself, and numbers in as few digits as 7.2 needs equal to those in
/// the seventeen that 7.0 always has.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Bulk(a), Value::Bulk(b)) => a == b || same_number(a, b),
        // 7.2 words it otherwise.
        (Value::Error(a), Value::Error(b)) if [a, b].iter().all(|e| e.starts_with(b"NOPERM")) => {
            true
        }
        // Our errors are text: bytes that are not UTF-8 are replaced.
        (Value::Error(a), Value::Error(b)) => {
            // 7.2 names the user, 7.0 does not.
            let forbidden = |text: &[u8]| text.starts_with(b"NOPERM ");
            forbidden(a) && forbidden(b) || String::from_utf8_lossy(a) == String::from_utf8_lossy(b)
        }
        (Value::Map(a), Value::Map(b)) => {
            let alike =
                |(a, b): (&(Value, Value), &(Value, Value))| same(&a.0, &b.0) && same(&a.1, &b.1);
            a.len() == b.len() && a.iter().zip(b).all(alike)
        }
        (Value::Double(a), Value::Double(b)) => a.to_bits() == b.to_bits() || a == b,
        (Value::Array(a), Value::Array(b)) | (Value::Set(a), Value::Set(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        _ => a == b,
    }
}

/// A number as either version writes it.
fn same_number(short: &[u8], long: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().filter(|byte| byte.is_ascii_digit()).count();
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<f64>().ok();
    let written_so = digits(long) >= 16 || long.contains(&b'e');
    written_so && number(short).is_some_and(|value| Some(value) == number(long))
}

/// The type, and the number of elements where there are any.
fn shape(value: &Value) -> (std::mem::Discriminant<Value>, usize, &[u8]) {
    let error = value.as_error().unwrap_or_default();
    let elements = value.as_slice().map_or(0, <[Value]>::len);
    (std::mem::discriminant(value), elements, error)
}

/// The same answer with its elements sorted, `width` by `width` where it is flat.
fn in_order(value: &Value, width: usize) -> Value {
    match value {
        Value::Array(items) => {
            let nested = items.iter().any(|item| matches!(item, Value::Array(_)));
            let width = if nested || items.len() % width != 0 { 1 } else { width };
            let mut groups: Vec<&[Value]> = items.chunks(width).collect();
            groups.sort_by_cached_key(|group| format!("{group:?}"));
            Value::Array(groups.concat())
        }
        Value::Set(items) => {
            let mut items = items.clone();
            items.sort_by_cached_key(|item| format!("{item:?}"));
            Value::Set(items)
        }
        Value::Map(pairs) => {
            let mut pairs = pairs.clone();
            pairs.sort_by_cached_key(|pair| format!("{pair:?}"));
            Value::Map(pairs)
        }
        other => other.clone(),
    }
}

fn scanned(ours: &Value, theirs: &Value, width: usize) -> bool {
    match (ours, theirs) {
        (Value::Array(a), Value::Array(b)) if a.len() == 2 && b.len() == 2 => {
            same(&a[0], &b[0]) && same(&in_order(&a[1], width), &in_order(&b[1], width))
        }
        _ => false,
    }
}

/// Fields of `XINFO` about Redis's own tree, or that were added in 7.2.
const NOT_COMPARED: &[&[u8]] =
    &[b"radix-tree-keys", b"radix-tree-nodes", b"active-time", b"inactive"];

/// Fields of `XINFO` that are durations.
const DURATIONS: &[&[u8]] = &[b"idle"];

/// Whether streams answered alike, but for fields called as in `but`.
fn streams_alike(ours: &Value, theirs: &Value, but: &[&[u8]]) -> bool {
    let (Some(a), Some(b)) = (fields(ours, but), fields(theirs, but)) else {
        return match (ours, theirs) {
            (Value::Integer(a), Value::Integer(b)) => near_present(*a, *b),
            (Value::Bulk(a), Value::Bulk(b)) => a == b || ids_alike(a, b),
            _ => same(ours, theirs),
        };
    };
    if a.len() != b.len() || std::mem::discriminant(ours) != std::mem::discriminant(theirs) {
        return false;
    }
    let timed = idle_position(&a);
    (0..a.len()).all(|at| {
        let named = at > 0 && a[at - 1].as_bytes().is_some_and(|name| DURATIONS.contains(&name));
        match (a[at], b[at]) {
            (Value::Integer(a), Value::Integer(b)) if named || timed == Some(at) => {
                alike(Rule::Time { unit: 1 }, &Value::Integer(a + 1), &Value::Integer(b + 1))
            }
            (a, b) => streams_alike(a, b, but),
        }
    })
}

/// The elements of an aggregate, with maps flattened, without those that are not compared.
fn fields<'v>(value: &'v Value, but: &[&[u8]]) -> Option<Vec<&'v Value>> {
    let flat: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Map(pairs) => pairs.iter().flat_map(|(k, v)| [k, v]).collect(),
        _ => return None,
    };
    let mut kept = Vec::with_capacity(flat.len());
    let mut flat = flat.into_iter();
    while let Some(item) = flat.next() {
        match item.as_bytes() {
            Some(name) if NOT_COMPARED.contains(&name) || but.contains(&name) => drop(flat.next()),
            _ => kept.push(item),
        }
    }
    Some(kept)
}

/// Where an entry of `XPENDING`, or of the pending lists of `XINFO STREAM … FULL`, has its time.
fn idle_position(items: &[&Value]) -> Option<usize> {
    match items {
        [Value::Bulk(_), Value::Bulk(_), Value::Integer(_), Value::Integer(_)] => Some(2),
        [Value::Bulk(_), Value::Integer(_), Value::Integer(_)] => Some(1),
        _ => None,
    }
}

/// Two times in unix milliseconds, both of now.
fn near_present(a: i64, b: i64) -> bool {
    a == b || a.abs_diff(b) <= TOLERANCE_MS as u64 && is_near_present(a)
}

fn is_near_present(ms: i64) -> bool {
    ms.abs_diff(super::state::wall_ms() as i64) < NEAR_MS as u64
}

/// Two IDs that the clock chose.
fn ids_alike(a: &[u8], b: &[u8]) -> bool {
    let ms = |id: &[u8]| -> Option<i64> {
        std::str::from_utf8(id).ok()?.split_once('-')?.0.parse().ok()
    };
    matches!((ms(a), ms(b)), (Some(a), Some(b)) if is_near_present(a) && near_present(a, b))
}
