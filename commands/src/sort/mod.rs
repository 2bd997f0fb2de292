//! SORT and SORT_RO: the elements of a list, set or sorted set in another order, by themselves or
//! by other keys' values.
//!
//! Keys made from patterns are not among the arguments, so with them every shard is locked.

mod pattern;
mod rows;

use crate::members::Members;
use engine::command::Takes::Exactly;
use engine::command::{Found, Given, KeyPosition, KeySpec, NoOption};
use engine::cx::Cx;
use engine::engine::Engine;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::notify::keyspace::Class;
use engine::text::args::{integer, parse_f64};
use pattern::Pattern;
use resp::Request;
use std::cmp::Ordering;
use std::ops::Range;
use storage::types::{End, ZRange};
use storage::{Db, Key, Kind, Open, ShardSet};

pub use rows::COMMANDS;

/// Which options are allowed.
#[derive(Clone, Copy)]
struct Terms {
    may_store: bool,
    /// Patterns read keys that are not among the arguments, so a user must be permitted to read
    /// every key to use them. Redis then refuses every `GET`, even that of the element itself.
    may_read_all: bool,
}

/// The parsed options of a `SORT` command.
struct Options<'a> {
    by: Option<Pattern<'a>>,
    get: Vec<Pattern<'a>>,
    offset: i64,
    /// Negative: all.
    count: i64,
    descending: bool,
    alpha: bool,
    store: Option<usize>,
}

impl<'a> Options<'a> {
    fn parse(args: Request<'a>, terms: Terms) -> Result<Self, Failure> {
        let mut options = Options {
            by: None,
            get: Vec::new(),
            offset: 0,
            count: -1,
            descending: false,
            alpha: false,
            store: None,
        };
        for given in OPTIONS.walk(args, 2) {
            let given = given.map_err(|NoOption| SYNTAX)?;
            options.option(args, given, terms)?;
        }
        Ok(options)
    }

    fn option(&mut self, args: Request<'a>, Given { word, at }: Given, terms: Terms) -> Outcome {
        match word {
            "ASC" => self.descending = false,
            "DESC" => self.descending = true,
            "ALPHA" => self.alpha = true,
            "LIMIT" => {
                (self.offset, self.count) = (integer(args.arg(at))?, integer(args.arg(at + 1))?);
            }
            "BY" => {
                let by = Pattern::new(args.arg(at));
                if by.names_keys() && !terms.may_read_all {
                    return Err(failure(
                        "ERR BY option of SORT denied due to insufficient ACL permissions.",
                    ));
                }
                self.by = Some(by);
            }
            "GET" if !terms.may_read_all => {
                return Err(failure(
                    "ERR GET option of SORT denied due to insufficient ACL permissions.",
                ));
            }
            "GET" => self.get.push(Pattern::new(args.arg(at))),
            _ if terms.may_store => self.store = Some(at),
            _ => return Err(SYNTAX),
        }
        Ok(())
    }

    /// Whether elements keep the order they are in: a pattern that no element changes.
    fn keeps_order(&self) -> bool {
        self.by.as_ref().is_some_and(|by| !by.names_keys())
    }

    /// Which of `len` elements are answered.
    fn window(&self, len: usize) -> Range<usize> {
        let start = usize::try_from(self.offset).unwrap_or(0).min(len);
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        start..start.saturating_add(count).min(len)
    }
}

const OPTIONS: engine::command::Options = engine::command::Options(&[
    ("ASC", Exactly(0)),
    ("DESC", Exactly(0)),
    ("ALPHA", Exactly(0)),
    ("LIMIT", Exactly(2)),
    ("STORE", Exactly(1)),
    ("BY", Exactly(1)),
    ("GET", Exactly(1)),
]);

/// The keys of SORT: of several destinations the last one counts.
fn sort_keys(specs: &'static [KeySpec], request: Request<'_>) -> Option<Found> {
    let store = OPTIONS.walk(request, 2).flatten().filter(|given| given.word == "STORE").last();
    let source = KeyPosition { index: 1, flags: specs[0].flags };
    let store = store.map(|given| KeyPosition { index: given.at, flags: specs[2].flags });
    Some([source].into_iter().chain(store).collect())
}

/// The shards of source and target, or all of them when patterns name further keys.
fn lock_rule(engine: &Engine, _db: Db, args: Request<'_>) -> ShardSet {
    let mut shards = ShardSet::new();
    let terms = Terms { may_store: true, may_read_all: true };
    let Ok(options) = Options::parse(args, terms) else { return shards };
    if options.by.iter().chain(&options.get).any(Pattern::names_keys) {
        shards.add_all();
        return shards;
    }
    for index in [Some(1), options.store].into_iter().flatten() {
        shards.add(engine.backend.shard_of(engine.backend.hash(args.arg(index))));
    }
    shards
}

/// The elements to sort; only those answered, when they keep their order.
fn load(cx: &mut Cx<'_>, key: &Key<'_>, options: &Options<'_>) -> Result<Members, Failure> {
    match cx.kind_among(key, &[Kind::List, Kind::Set, Kind::SortedSet])? {
        Some(Kind::List) => load_list(cx, key, options),
        Some(Kind::Set) => load_set(cx, key, options),
        Some(Kind::SortedSet) => load_sorted_set(cx, key, options),
        _ => Ok(Members::default()),
    }
}

fn wanted(options: &Options<'_>, len: u64) -> Range<usize> {
    match options.keeps_order() {
        true => options.window(len as usize),
        false => 0..len as usize,
    }
}

/// A list kept in order is read backwards for `DESC`.
fn load_list(cx: &mut Cx<'_>, key: &Key<'_>, options: &Options<'_>) -> Result<Members, Failure> {
    let mut members = Members::default();
    if let Some(mut list) = cx.tx.list(key, Open::Existing)? {
        let len = list.len()?;
        let wanted = wanted(options, len);
        let (start, end) = (wanted.start as u64, wanted.end as u64);
        let (start, end, from) = match options.keeps_order() && options.descending {
            true => (len - end, len - start, End::Tail),
            false => (start, end, End::Head),
        };
        list.range(start, end, from, &mut |element| {
            members.push(element);
            true
        })?;
    }
    Ok(members)
}

fn load_set(cx: &mut Cx<'_>, key: &Key<'_>, options: &Options<'_>) -> Result<Members, Failure> {
    let mut members = Members::default();
    if let Some(mut set) = cx.tx.set(key, Open::Existing)? {
        let wanted = wanted(options, set.len()?);
        let mut at = 0;
        set.for_each(&mut |member| {
            if at >= wanted.start && at < wanted.end {
                members.push(member);
            }
            at += 1;
            at < wanted.end
        })?;
    }
    Ok(members)
}

/// A sorted set keeps its own order, and keeps it backwards for `DESC`.
fn load_sorted_set(
    cx: &mut Cx<'_>,
    key: &Key<'_>,
    options: &Options<'_>,
) -> Result<Members, Failure> {
    let mut members = Members::default();
    if let Some(mut zset) = cx.tx.sorted_set(key, Open::Existing)? {
        let wanted = wanted(options, zset.len()?);
        let range = ZRange::Rank { start: wanted.start as u64, end: wanted.end as u64 };
        zset.range(&range, options.descending, 0, u64::MAX, &mut |member, _| {
            members.push(member);
            true
        })?;
    }
    Ok(members)
}

/// The value that elements are sorted by, if not themselves.
enum Weight {
    Score(f64),
    Text(Option<Vec<u8>>),
    Itself,
}

/// A score as C's `strtod` reads it: space before it is skipped, a zero byte ends it, and nothing at
/// all is 0.
fn score(text: &[u8]) -> Result<f64, Failure> {
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Ok(0.0);
    }
    let wrong = failure("ERR One or more scores can't be converted into double");
    parse_f64(text.trim_ascii_start()).ok_or(wrong)
}

fn weigh(cx: &mut Cx<'_>, element: &[u8], options: &Options<'_>) -> Result<Weight, Failure> {
    let by = match &options.by {
        Some(by) => by.look_up(cx, element)?,
        None if options.alpha => return Ok(Weight::Itself),
        None => return score(element).map(Weight::Score),
    };
    match (options.alpha, by) {
        (true, text) => Ok(Weight::Text(text)),
        // An element without a weight has the weight zero.
        (false, None) => Ok(Weight::Score(0.0)),
        (false, Some(text)) => score(&text).map(Weight::Score),
    }
}

fn compare(a: (&Weight, &[u8]), b: (&Weight, &[u8])) -> Ordering {
    match (a.0, b.0) {
        (Weight::Score(x), Weight::Score(y)) => {
            x.partial_cmp(y).unwrap_or(Ordering::Equal).then_with(|| a.1.cmp(b.1))
        }
        // Elements with equal texts stay as they were, those without come first.
        (Weight::Text(x), Weight::Text(y)) => x.cmp(y),
        _ => a.1.cmp(b.1),
    }
}

/// The indices of the elements to answer, in order.
fn order(cx: &mut Cx<'_>, members: &Members, options: &Options<'_>) -> Result<Vec<usize>, Failure> {
    let mut weights = Vec::with_capacity(members.len());
    for element in members.iter() {
        weights.push(weigh(cx, element, options)?);
    }
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by(|&a, &b| {
        let ordering = compare((&weights[a], members.get(a)), (&weights[b], members.get(b)));
        if options.descending { ordering.reverse() } else { ordering }
    });
    Ok(order[options.window(order.len())].to_vec())
}

/// The values to answer or store: elements, or those that the `GET` patterns find for them.
fn results(
    cx: &mut Cx<'_>,
    members: &Members,
    order: &[usize],
    get: &[Pattern<'_>],
    mut result: impl FnMut(&mut Cx<'_>, Option<&[u8]>),
) -> Outcome {
    for &index in order {
        let element = members.get(index);
        if get.is_empty() {
            result(cx, Some(element));
        }
        for pattern in get {
            let found = pattern.look_up(cx, element)?;
            result(cx, found.as_deref());
        }
    }
    Ok(())
}

fn run(cx: &mut Cx<'_>, may_store: bool) -> Outcome {
    let may_read_all = cx.engine.may_read_all(cx.session, cx.entry(), cx.args);
    let mut options = Options::parse(cx.args, Terms { may_store, may_read_all })?;
    if cx.engine.is_divided() {
        // The keys that elements name may be another server's.
        if options.by.as_ref().is_some_and(Pattern::names_keys) {
            return Err(failure("ERR BY option of SORT denied in cluster mode."));
        }
        if options.get.iter().any(Pattern::names_keys) {
            return Err(failure("ERR GET option of SORT denied in cluster mode."));
        }
    }
    let key = cx.key(1);
    if options.keeps_order() && options.store.is_some() && cx.tx.kind(&key)? == Some(Kind::Set) {
        // The stored list must not depend on the order in which a set happens to be.
        (options.by, options.alpha) = (None, true);
    }
    let members = load(cx, &key, &options)?;
    let order = match options.keeps_order() {
        true => (0..members.len()).collect(),
        false => order(cx, &members, &options)?,
    };
    match options.store {
        Some(target) => store(cx, &members, &order, &options.get, target),
        None => {
            cx.reply.array(order.len() * options.get.len().max(1));
            results(cx, &members, &order, &options.get, |cx, result| match result {
                Some(value) => cx.reply.bulk(value),
                None => cx.reply.null(),
            })
        }
    }
}

/// Stores the results as a list. A missing result is stored as an empty element.
fn store(
    cx: &mut Cx<'_>,
    members: &Members,
    order: &[usize],
    get: &[Pattern<'_>],
    target: usize,
) -> Outcome {
    let mut stored = Members::default();
    results(cx, members, order, get, |_, result| stored.push(result.unwrap_or_default()))?;
    let key = cx.key(target);
    let replaced = cx.tx.remove(&key)?;
    if stored.len() > 0 {
        if let Some(mut list) = cx.tx.list(&key, Open::Create)? {
            for element in stored.iter() {
                list.push(End::Tail, element)?;
            }
        }
        cx.modified_by(stored.len() as u64, &key, Class::List, "sortstore");
    } else if replaced {
        cx.modified(&key, Class::Generic, "del");
    }
    cx.reply.integer(stored.len() as i64);
    Ok(())
}

fn sort(cx: &mut Cx<'_>) -> Outcome {
    run(cx, true)
}

fn sort_ro(cx: &mut Cx<'_>) -> Outcome {
    run(cx, false)
}
