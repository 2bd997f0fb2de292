//! Unions, intersections and differences of sorted sets; plain sets count with score 1.

use super::{Scored, Shape, store};
use engine::command::{Flag::*, Group, SPEC, Spec, key, numkeys};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::text::args::{integer, is_word, parse_f64};
use hashbrown::HashMap;
use std::ops::Range;
use storage::types::{Set, SortedSet, VisitScored, ZRange};
use storage::{Key, Kind, Open, Result, Tx};

const NOT_WEIGHT: Failure = failure("ERR weight value is not a float");
const NEGATIVE_LIMIT: Failure = failure("ERR LIMIT can't be negative");

/// Every member.
const ALL: ZRange<'static> = ZRange::Rank { start: 0, end: u64::MAX };

/// The set operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
}

/// How the scores of a member found more than once are combined (`AGGREGATE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    /// Infinities that cancel out count as 0, as in Redis.
    fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Aggregate::Sum => number_or_zero(a + b),
            Aggregate::Min => {
                if b < a {
                    b
                } else {
                    a
                }
            }
            Aggregate::Max => {
                if b > a {
                    b
                } else {
                    a
                }
            }
        }
    }
}

fn number_or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// How the command uses the combined set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Reply,
    Store,
    Count,
}

/// The arguments from the number of keys on.
struct Query {
    keys: Range<usize>,
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    limit: u64,
}

impl Query {
    fn parse(
        cx: &mut Cx<'_>,
        at: usize,
        operation: Operation,
        purpose: Purpose,
    ) -> std::result::Result<Self, Failure> {
        let numkeys = integer(cx.args.arg(at))?;
        if numkeys < 1 {
            let name = cx.command_name();
            return Err(Failure::text(format!(
                "ERR at least 1 input key is needed for '{name}' command"
            )));
        }
        let left = cx.argc() - (at + 1);
        let numkeys = usize::try_from(numkeys).ok().filter(|&n| n <= left).ok_or(SYNTAX)?;
        let mut query = Query {
            keys: at + 1..at + 1 + numkeys,
            weights: Vec::new(),
            aggregate: Aggregate::Sum,
            with_scores: false,
            limit: u64::MAX,
        };
        if query.keys.end < cx.argc() {
            // The error for a wrong type comes before that for a wrong option.
            query.keys.clone().try_for_each(|index| kind(cx, index).map(drop))?;
        }
        query.options(cx, operation, purpose)?;
        Ok(query)
    }

    fn options(&mut self, cx: &Cx<'_>, operation: Operation, purpose: Purpose) -> Outcome {
        let numkeys = self.keys.len();
        let weighted = operation != Operation::Diff && purpose != Purpose::Count;
        let mut args = cx.args_from(self.keys.end);
        while !args.is_empty() {
            if weighted && args.keyword_before("WEIGHTS", numkeys) {
                let weights = args.by_ref().take(numkeys).map(parse_f64);
                self.weights = weights.collect::<Option<_>>().ok_or(NOT_WEIGHT)?;
            } else if weighted && args.keyword_before("AGGREGATE", 1) {
                self.aggregate = aggregate(args.expect()?)?;
            } else if purpose == Purpose::Reply && args.keyword("WITHSCORES") {
                self.with_scores = true;
            } else if purpose == Purpose::Count && args.keyword_before("LIMIT", 1) {
                self.limit = limit(args.expect()?)?;
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(())
    }

    fn weight(&self, nth: usize) -> f64 {
        self.weights.get(nth).copied().unwrap_or(1.0)
    }
}

fn aggregate(word: &[u8]) -> std::result::Result<Aggregate, Failure> {
    let all = [("SUM", Aggregate::Sum), ("MIN", Aggregate::Min), ("MAX", Aggregate::Max)];
    all.into_iter().find(|(name, _)| is_word(word, name)).map(|(_, found)| found).ok_or(SYNTAX)
}

/// At most this many; 0 is no limit.
fn limit(arg: &[u8]) -> std::result::Result<u64, Failure> {
    let limit = engine::text::args::parse_i64(arg).and_then(|limit| u64::try_from(limit).ok());
    match limit.ok_or(NEGATIVE_LIMIT)? {
        0 => Ok(u64::MAX),
        limit => Ok(limit),
    }
}

/// An open input of either type.
enum Input<'t> {
    Scored(Box<dyn SortedSet + 't>),
    Plain(Box<dyn Set + 't>),
}

impl<'t> Input<'t> {
    /// Opens a key whose type is known; `None` when it does not exist.
    fn open(tx: &'t mut (dyn Tx + '_), source: &Source<'t>) -> Result<Option<Self>> {
        Ok(match source.kind {
            Some(Kind::SortedSet) => tx.sorted_set(&source.key, Open::Existing)?.map(Input::Scored),
            Some(_) => tx.set(&source.key, Open::Existing)?.map(Input::Plain),
            None => None,
        })
    }

    fn len(&mut self) -> Result<u64> {
        match self {
            Input::Scored(zset) => zset.len(),
            Input::Plain(set) => set.len(),
        }
    }

    fn score(&mut self, member: &[u8]) -> Result<Option<f64>> {
        match self {
            Input::Scored(zset) => zset.score(member),
            Input::Plain(set) => Ok(set.contains(member)?.then_some(1.0)),
        }
    }

    fn for_each(&mut self, visit: VisitScored<'_>) -> Result<()> {
        match self {
            Input::Scored(zset) => zset.range(&ALL, false, 0, u64::MAX, visit),
            Input::Plain(set) => set.for_each(&mut |member| visit(member, 1.0)),
        }
    }
}

/// A key to read from.
#[derive(Clone, Copy)]
struct Source<'a> {
    key: Key<'a>,
    kind: Option<Kind>,
    len: u64,
    weight: f64,
}

impl Source<'_> {
    fn weighted(&self, score: f64) -> f64 {
        number_or_zero(self.weight * score)
    }
}

/// The type of the key at argument `index`: sorted set or set.
fn kind(cx: &mut Cx<'_>, index: usize) -> std::result::Result<Option<Kind>, Failure> {
    let key = cx.key(index);
    cx.kind_among(&key, &[Kind::SortedSet, Kind::Set])
}

/// Checks every input: all must be sorted sets or sets.
fn sources<'a>(cx: &mut Cx<'a>, query: &Query) -> std::result::Result<Vec<Source<'a>>, Failure> {
    let mut sources = Vec::with_capacity(query.keys.len());
    for (nth, index) in query.keys.clone().enumerate() {
        let key = cx.key(index);
        let kind = kind(cx, index)?;
        let mut source = Source { key, kind, len: 0, weight: query.weight(nth) };
        if let Some(mut input) = Input::open(cx.tx, &source)? {
            source.len = input.len()?;
        }
        sources.push(source);
    }
    Ok(sources)
}

fn union(tx: &mut dyn Tx, sources: &[Source<'_>], aggregate: Aggregate) -> Result<Vec<Scored>> {
    let mut all: HashMap<Vec<u8>, f64> = HashMap::new();
    for source in sources {
        let Some(mut input) = Input::open(tx, source)? else { continue };
        input.for_each(&mut |member, score| {
            let score = source.weighted(score);
            match all.get_mut(member) {
                Some(sum) => *sum = aggregate.apply(*sum, score),
                None => drop(all.insert(member.to_vec(), score)),
            }
            true
        })?;
    }
    Ok(all.into_iter().collect())
}

/// Members of all sources, at most `limit` of them. The first source is the smallest.
fn intersect(
    tx: &mut dyn Tx,
    sources: &[Source<'_>],
    aggregate: Aggregate,
    limit: u64,
) -> Result<Vec<Scored>> {
    let [smallest, others @ ..] = sources else { return Ok(Vec::new()) };
    if smallest.len == 0 {
        return Ok(Vec::new());
    }
    let mut members = load(tx, smallest)?;
    for (nth, source) in others.iter().enumerate() {
        let Some(mut input) = Input::open(tx, source)? else { return Ok(Vec::new()) };
        // The limit applies only to what the last source leaves.
        let enough = if nth + 1 == others.len() { limit } else { u64::MAX };
        let mut kept = Vec::new();
        for (member, sum) in members {
            if kept.len() as u64 >= enough {
                break;
            }
            if let Some(score) = input.score(&member)? {
                // Only the first source's score becomes 0 when its weight leaves no number.
                kept.push((member, aggregate.apply(sum, source.weight * score)));
            }
        }
        members = kept;
    }
    Ok(members)
}

/// Every member of a source, its weight applied.
fn load(tx: &mut dyn Tx, source: &Source<'_>) -> Result<Vec<Scored>> {
    let mut members = Vec::with_capacity(source.len as usize);
    if let Some(mut input) = Input::open(tx, source)? {
        input.for_each(&mut |member, score| {
            members.push((member.to_vec(), source.weighted(score)));
            true
        })?;
    }
    Ok(members)
}

/// Members of the first source that are in no other.
fn subtract(tx: &mut dyn Tx, sources: &[Source<'_>]) -> Result<Vec<Scored>> {
    let [first, others @ ..] = sources else { return Ok(Vec::new()) };
    let mut members: HashMap<Vec<u8>, f64> = load(tx, first)?.into_iter().collect();
    for source in others {
        if members.is_empty() {
            break;
        }
        let Some(mut input) = Input::open(tx, source)? else { continue };
        if source.len < members.len() as u64 {
            input.for_each(&mut |member, _| {
                members.remove(member);
                true
            })?;
            continue;
        }
        let mut kept = HashMap::new();
        for (member, score) in members {
            if input.score(&member)?.is_none() {
                kept.insert(member, score);
            }
        }
        members = kept;
    }
    Ok(members.into_iter().collect())
}

/// Runs the operation; the members in no particular order.
fn combine(
    cx: &mut Cx<'_>,
    query: &Query,
    operation: Operation,
) -> std::result::Result<Vec<Scored>, Failure> {
    let mut sources = sources(cx, query)?;
    if operation != Operation::Diff {
        // Redis adds scores up in this order, and sums of doubles depend on it.
        sources.sort_by_key(|source| source.len);
    }
    Ok(match operation {
        Operation::Union => union(cx.tx, &sources, query.aggregate)?,
        Operation::Inter => intersect(cx.tx, &sources, query.aggregate, query.limit)?,
        Operation::Diff => subtract(cx.tx, &sources)?,
    })
}

fn sorted(mut members: Vec<Scored>) -> Vec<Scored> {
    members.sort_by(|a, b| {
        let by_score = a.1.partial_cmp(&b.1).unwrap_or(std::cmp::Ordering::Equal);
        by_score.then_with(|| a.0.cmp(&b.0))
    });
    members
}

fn reply_command(cx: &mut Cx<'_>, operation: Operation) -> Outcome {
    let query = Query::parse(cx, 1, operation, Purpose::Reply)?;
    let members = sorted(combine(cx, &query, operation)?);
    Shape::new(&cx.reply, query.with_scores).write_all(&mut cx.reply, &members);
    Ok(())
}

fn store_command(cx: &mut Cx<'_>, operation: Operation, event: &'static str) -> Outcome {
    let query = Query::parse(cx, 2, operation, Purpose::Store)?;
    let members = sorted(combine(cx, &query, operation)?);
    let key = cx.key(1);
    store(cx, &key, &members, event)
}

fn zunion(cx: &mut Cx<'_>) -> Outcome {
    reply_command(cx, Operation::Union)
}

fn zinter(cx: &mut Cx<'_>) -> Outcome {
    reply_command(cx, Operation::Inter)
}

fn zdiff(cx: &mut Cx<'_>) -> Outcome {
    reply_command(cx, Operation::Diff)
}

fn zunionstore(cx: &mut Cx<'_>) -> Outcome {
    store_command(cx, Operation::Union, "zunionstore")
}

fn zinterstore(cx: &mut Cx<'_>) -> Outcome {
    store_command(cx, Operation::Inter, "zinterstore")
}

fn zdiffstore(cx: &mut Cx<'_>) -> Outcome {
    store_command(cx, Operation::Diff, "zdiffstore")
}

fn zintercard(cx: &mut Cx<'_>) -> Outcome {
    let query = Query::parse(cx, 1, Operation::Inter, Purpose::Count)?;
    let count = combine(cx, &query, Operation::Inter)?.len();
    cx.reply.integer((count as u64).min(query.limit) as i64);
    Ok(())
}

/// The rows of this part of the family.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "zunion",
        summary: "Returns the union of multiple sorted sets.",
        since: "6.2.0",
        complexity: "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of elements in the resulting sorted set.",
        arity: -3,
        group: Group::SortedSet,
        flags: &[Readonly],
        keys: &[numkeys("RO ACCESS", 1)],
        syntax: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM|MIN|MAX>] [WITHSCORES]",
        handler: zunion,
        ..SPEC
    },
    Spec {
        name: "zinter",
        summary: "Returns the intersect of multiple sorted sets.",
        since: "6.2.0",
        complexity: "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input sorted sets and M being the number of elements in the resulting sorted set.",
        arity: -3,
        group: Group::SortedSet,
        flags: &[Readonly],
        keys: &[numkeys("RO ACCESS", 1)],
        syntax: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM|MIN|MAX>] [WITHSCORES]",
        handler: zinter,
        ..SPEC
    },
    Spec {
        name: "zdiff",
        summary: "Returns the difference between multiple sorted sets.",
        since: "6.2.0",
        complexity: "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of the first set, and K is the size of the result set.",
        arity: -3,
        group: Group::SortedSet,
        flags: &[Readonly],
        keys: &[numkeys("RO ACCESS", 1)],
        syntax: "numkeys key [key ...] [WITHSCORES]",
        handler: zdiff,
        ..SPEC
    },
    Spec {
        name: "zunionstore",
        summary: "Stores the union of multiple sorted sets in a key.",
        since: "2.0.0",
        complexity: "O(N)+O(M log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of elements in the resulting sorted set.",
        arity: -4,
        group: Group::SortedSet,
        flags: &[Write, DenyOom],
        keys: &[key("OW UPDATE", 1), numkeys("RO ACCESS", 2)],
        syntax: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM|MIN|MAX>]",
        handler: zunionstore,
        ..SPEC
    },
    Spec {
        name: "zinterstore",
        summary: "Stores the intersect of multiple sorted sets in a key.",
        since: "2.0.0",
        complexity: "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input sorted sets and M being the number of elements in the resulting sorted set.",
        arity: -4,
        group: Group::SortedSet,
        flags: &[Write, DenyOom],
        keys: &[key("OW UPDATE", 1), numkeys("RO ACCESS", 2)],
        syntax: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM|MIN|MAX>]",
        handler: zinterstore,
        ..SPEC
    },
    Spec {
        name: "zdiffstore",
        summary: "Stores the difference of multiple sorted sets in a key.",
        since: "6.2.0",
        complexity: "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of the first set, and K is the size of the result set.",
        arity: -4,
        group: Group::SortedSet,
        flags: &[Write, DenyOom],
        keys: &[key("OW UPDATE", 1), numkeys("RO ACCESS", 2)],
        syntax: "destination numkeys key [key ...]",
        handler: zdiffstore,
        ..SPEC
    },
    Spec {
        name: "zintercard",
        summary: "Returns the number of members of the intersect of multiple sorted sets.",
        since: "7.0.0",
        complexity: "O(N*K) worst case with N being the smallest input sorted set, K being the number of input sorted sets.",
        arity: -3,
        group: Group::SortedSet,
        flags: &[Readonly],
        keys: &[numkeys("RO ACCESS", 1)],
        syntax: "numkeys key [key ...] [LIMIT limit]",
        handler: zintercard,
        ..SPEC
    },
];
