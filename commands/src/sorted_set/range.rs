//! Commands on ranges: `ZRANGE` and the commands it replaces, `ZRANGESTORE`, `ZREMRANGEBY…`.

use super::bounds::{Indices, lex_range, score_range};
use super::{Scored, Shape, reading, store, tell_removed};
use engine::command::{Flag::*, Group, SPEC, Spec, key};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::text::args::{Args, integer};
use resp::Request;
use storage::types::{SortedSet, VisitScored, ZRange};
use storage::{Key, Open, Result};

/// Whether a range is of ranks, scores or members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// The part of a range that a command's name fixes; `None` is left to its options.
#[derive(Clone, Copy, Debug)]
struct Fixed {
    by: Option<By>,
    reverse: Option<bool>,
}

/// Which members, once the sorted set's length is known.
#[derive(Clone, Copy, Debug)]
enum Span<'a> {
    Indices(Indices),
    Range(ZRange<'a>),
}

/// A parsed range query: `min max [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]`.
#[derive(Clone, Copy, Debug)]
struct Query<'a> {
    span: Span<'a>,
    reverse: bool,
    with_scores: bool,
    /// Members left out at the beginning; negative leaves out all.
    offset: i64,
    /// Members at most; negative for all.
    limit: i64,
}

/// The words behind a range.
struct Words {
    by: Option<By>,
    reverse: Option<bool>,
    with_scores: bool,
    offset: i64,
    limit: i64,
}

impl Words {
    fn parse(
        args: Request<'_>,
        from: usize,
        fixed: Fixed,
        stored: bool,
    ) -> std::result::Result<Self, Failure> {
        let Fixed { by, reverse } = fixed;
        let mut words = Words { by, reverse, with_scores: false, offset: 0, limit: -1 };
        let mut args = Args::new(args, from);
        while !args.is_empty() {
            if !stored && args.keyword("WITHSCORES") {
                words.with_scores = true;
            } else if args.keyword_before("LIMIT", 2) {
                words.offset = integer(args.expect()?)?;
                words.limit = integer(args.expect()?)?;
            } else if words.reverse.is_none() && args.keyword("REV") {
                words.reverse = Some(true);
            } else if words.by.is_none() && args.keyword("BYLEX") {
                words.by = Some(By::Lex);
            } else if words.by.is_none() && args.keyword("BYSCORE") {
                words.by = Some(By::Score);
            } else {
                return Err(SYNTAX);
            }
        }
        words.check()
    }

    fn check(self) -> std::result::Result<Self, Failure> {
        if self.limit != -1 && matches!(self.by, None | Some(By::Rank)) {
            return Err(failure(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if self.with_scores && self.by == Some(By::Lex) {
            return Err(failure(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        Ok(self)
    }
}

impl<'a> Query<'a> {
    /// The query whose range is at arguments `at` and `at + 1`.
    fn parse(
        args: Request<'a>,
        at: usize,
        fixed: Fixed,
        stored: bool,
    ) -> std::result::Result<Self, Failure> {
        let words = Words::parse(args, at + 2, fixed, stored)?;
        let reverse = words.reverse.unwrap_or(false);
        let (first, second) = (args.arg(at), args.arg(at + 1));
        // Reversed, the higher bound is given first.
        let (min, max) = if reverse { (second, first) } else { (first, second) };
        let span = match words.by.unwrap_or(By::Rank) {
            By::Rank => Span::Indices(Indices::parse(first, second)?),
            By::Score => Span::Range(score_range(min, max)?),
            By::Lex => Span::Range(lex_range(min, max)?),
        };
        let Words { with_scores, offset, limit, .. } = words;
        Ok(Query { span, reverse, with_scores, offset, limit })
    }

    /// Visits the members asked for.
    fn visit(&self, zset: &mut dyn SortedSet, visit: VisitScored<'_>) -> Result<()> {
        match self.span {
            Span::Indices(indices) => {
                let (start, end) = indices.within(zset.len()?);
                if start < end {
                    let range = ZRange::Rank { start, end };
                    zset.range(&range, self.reverse, 0, u64::MAX, visit)?;
                }
            }
            Span::Range(range) => {
                let limit = u64::try_from(self.limit).unwrap_or(u64::MAX);
                if let (Ok(skip), 1..) = (u64::try_from(self.offset), limit) {
                    zset.range(&range, self.reverse, skip, limit, visit)?;
                }
            }
        }
        Ok(())
    }

    fn collect(&self, zset: &mut dyn SortedSet) -> Result<Vec<Scored>> {
        let mut members = Vec::new();
        let visit: VisitScored<'_> = &mut |member, score| {
            members.push((member.to_vec(), score));
            true
        };
        self.visit(zset, visit)?;
        Ok(members)
    }
}

fn range_command(cx: &mut Cx<'_>, fixed: Fixed) -> Outcome {
    let query = Query::parse(cx.args, 2, fixed, false)?;
    reading(
        cx,
        |reply| reply.array(0),
        |zset, reply| {
            let shape = Shape::new(reply, query.with_scores);
            let mark = reply.deferred();
            let mut count = 0;
            query.visit(zset, &mut |member, score| {
                shape.write(reply, member, score);
                count += 1;
                true
            })?;
            reply.finish_array(mark, shape.array_len(count));
            Ok(())
        },
    )
}

fn zrange(cx: &mut Cx<'_>) -> Outcome {
    range_command(cx, Fixed { by: None, reverse: None })
}

fn zrevrange(cx: &mut Cx<'_>) -> Outcome {
    range_command(cx, Fixed { by: Some(By::Rank), reverse: Some(true) })
}

fn zrangebyscore(cx: &mut Cx<'_>) -> Outcome {
    range_command(cx, Fixed { by: Some(By::Score), reverse: Some(false) })
}

fn zrevrangebyscore(cx: &mut Cx<'_>) -> Outcome {
    range_command(cx, Fixed { by: Some(By::Score), reverse: Some(true) })
}

fn zrangebylex(cx: &mut Cx<'_>) -> Outcome {
    range_command(cx, Fixed { by: Some(By::Lex), reverse: Some(false) })
}

fn zrevrangebylex(cx: &mut Cx<'_>) -> Outcome {
    range_command(cx, Fixed { by: Some(By::Lex), reverse: Some(true) })
}

fn zrangestore(cx: &mut Cx<'_>) -> Outcome {
    let (to, from) = (cx.key(1), cx.key(2));
    let query = Query::parse(cx.args, 3, Fixed { by: None, reverse: None }, true)?;
    let members = match cx.tx.sorted_set(&from, Open::Existing)? {
        Some(mut zset) => Some(query.collect(&mut *zset)?),
        None => None,
    };
    cx.looked_up(&from, members.is_some());
    store(cx, &to, &members.unwrap_or_default(), "zrangestore")
}

/// Removes a range; `event` names the command's event.
fn remove(cx: &mut Cx<'_>, span: Span<'_>, event: &'static str) -> Outcome {
    let key = cx.key(1);
    let (removed, emptied) = remove_span(cx, &key, span)?;
    if removed > 0 {
        tell_removed(cx, &key, event, removed, emptied);
    }
    cx.reply.integer(removed as i64);
    Ok(())
}

/// Removes a range. Returns how many members were removed, and whether none is left.
fn remove_span(cx: &mut Cx<'_>, key: &Key<'_>, span: Span<'_>) -> Result<(u64, bool)> {
    let Some(mut zset) = cx.tx.sorted_set(key, Open::Existing)? else { return Ok((0, false)) };
    let range = match span {
        Span::Indices(indices) => {
            let (start, end) = indices.within(zset.len()?);
            ZRange::Rank { start, end }
        }
        Span::Range(range) => range,
    };
    let removed = zset.remove_range(&range)?;
    Ok((removed, zset.is_empty()?))
}

fn zremrangebyrank(cx: &mut Cx<'_>) -> Outcome {
    let span = Span::Indices(Indices::parse(cx.args.arg(2), cx.args.arg(3))?);
    remove(cx, span, "zremrangebyrank")
}

fn zremrangebyscore(cx: &mut Cx<'_>) -> Outcome {
    let span = Span::Range(score_range(cx.args.arg(2), cx.args.arg(3))?);
    remove(cx, span, "zremrangebyscore")
}

fn zremrangebylex(cx: &mut Cx<'_>) -> Outcome {
    let args = cx.args;
    let span = Span::Range(lex_range(args.arg(2), args.arg(3))?);
    remove(cx, span, "zremrangebylex")
}

/// The rows of this part of the family.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "zrange",
        summary: "Returns members in a sorted set within a range of indexes.",
        since: "1.2.0",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned.",
        arity: -4,
        group: Group::SortedSet,
        flags: &[Readonly],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key start stop [BYSCORE|BYLEX] @6.2.0 [REV] @6.2.0 [LIMIT <offset count>] @6.2.0 [WITHSCORES]",
        history: &[("6.2.0", "Added the `REV`, `BYSCORE`, `BYLEX` and `LIMIT` options.")],
        handler: zrange,
        ..SPEC
    },
    Spec {
        name: "zrevrange",
        summary: "Returns members in a sorted set within a range of indexes in reverse order.",
        since: "1.2.0",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned.",
        arity: -4,
        group: Group::SortedSet,
        flags: &[Readonly],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key start stop [WITHSCORES]",
        deprecated: Some(("6.2.0", "`ZRANGE` with the `REV` argument")),
        handler: zrevrange,
        ..SPEC
    },
    Spec {
        name: "zrangebyscore",
        summary: "Returns members in a sorted set within a range of scores.",
        since: "1.0.5",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).",
        arity: -4,
        group: Group::SortedSet,
        flags: &[Readonly],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key min max [WITHSCORES] @2.0.0 [LIMIT <offset count>]",
        history: &[("2.0.0", "Added the `WITHSCORES` modifier.")],
        deprecated: Some(("6.2.0", "`ZRANGE` with the `BYSCORE` argument")),
        handler: zrangebyscore,
        ..SPEC
    },
    Spec {
        name: "zrevrangebyscore",
        summary: "Returns members in a sorted set within a range of scores in reverse order.",
        since: "2.2.0",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).",
        arity: -4,
        group: Group::SortedSet,
        flags: &[Readonly],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key max min [WITHSCORES] [LIMIT <offset count>]",
        history: &[("2.1.6", "`min` and `max` can be exclusive.")],
        deprecated: Some(("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments")),
        handler: zrevrangebyscore,
        ..SPEC
    },
    Spec {
        name: "zrangebylex",
        summary: "Returns members in a sorted set within a lexicographical range.",
        since: "2.8.9",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).",
        arity: -4,
        group: Group::SortedSet,
        flags: &[Readonly],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key min max [LIMIT <offset count>]",
        deprecated: Some(("6.2.0", "`ZRANGE` with the `BYLEX` argument")),
        handler: zrangebylex,
        ..SPEC
    },
    Spec {
        name: "zrevrangebylex",
        summary: "Returns members in a sorted set within a lexicographical range in reverse order.",
        since: "2.8.9",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).",
        arity: -4,
        group: Group::SortedSet,
        flags: &[Readonly],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key max min [LIMIT <offset count>]",
        deprecated: Some(("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments")),
        handler: zrevrangebylex,
        ..SPEC
    },
    Spec {
        name: "zrangestore",
        summary: "Stores a range of members from sorted set in a key.",
        since: "6.2.0",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements stored into the destination key.",
        arity: -5,
        group: Group::SortedSet,
        flags: &[Write, DenyOom],
        keys: &[key("OW UPDATE", 1), key("RO ACCESS", 2)],
        syntax: "dst src min max [BYSCORE|BYLEX] [REV] [LIMIT <offset count>]",
        handler: zrangestore,
        ..SPEC
    },
    Spec {
        name: "zremrangebyrank",
        summary: "Removes members in a sorted set within a range of indexes. Deletes the sorted set if all members were removed.",
        since: "2.0.0",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.",
        arity: 4,
        group: Group::SortedSet,
        flags: &[Write],
        keys: &[key("RW DELETE", 1)],
        syntax: "key start stop",
        handler: zremrangebyrank,
        ..SPEC
    },
    Spec {
        name: "zremrangebyscore",
        summary: "Removes members in a sorted set within a range of scores. Deletes the sorted set if all members were removed.",
        since: "1.2.0",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.",
        arity: 4,
        group: Group::SortedSet,
        flags: &[Write],
        keys: &[key("RW DELETE", 1)],
        syntax: "key min max",
        handler: zremrangebyscore,
        ..SPEC
    },
    Spec {
        name: "zremrangebylex",
        summary: "Removes members in a sorted set within a lexicographical range. Deletes the sorted set if all members were removed.",
        since: "2.8.9",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.",
        arity: 4,
        group: Group::SortedSet,
        flags: &[Write],
        keys: &[key("RW DELETE", 1)],
        syntax: "key min max",
        handler: zremrangebylex,
        ..SPEC
    },
];
