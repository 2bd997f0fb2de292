//! Reading single members and counts: `ZSCORE`, `ZRANK`, `ZCOUNT`, `ZSCAN`, `ZRANDMEMBER` …

use super::{Shape, bounds, reading};
use crate::element_scan::{ScanOptions, cursor, reply_nothing, reply_page};
use crate::sampling::{Count, pick};
use engine::command::{Flag::*, Group, SPEC, Spec, key};
use engine::cx::Cx;
use engine::failure::{Outcome, SYNTAX};
use resp::Reply;
use smallvec::SmallVec;
use storage::types::ZRange;

/// Room for the text of any double.
type DoubleText = Vec<u8>;

fn zcard(cx: &mut Cx<'_>) -> Outcome {
    reading(
        cx,
        |reply| reply.integer(0),
        |zset, reply| {
            reply.integer(zset.len()? as i64);
            Ok(())
        },
    )
}

fn write_score(reply: &mut Reply<'_>, score: Option<f64>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

fn zscore(cx: &mut Cx<'_>) -> Outcome {
    let member = cx.args.arg(2);
    reading(
        cx,
        |reply| reply.null(),
        |zset, reply| {
            write_score(reply, zset.score(member)?);
            Ok(())
        },
    )
}

fn zmscore(cx: &mut Cx<'_>) -> Outcome {
    let members: SmallVec<[&[u8]; 8]> = cx.args.iter().skip(2).collect();
    cx.reply.array(members.len());
    reading(
        cx,
        |reply| members.iter().for_each(|_| reply.null()),
        |zset, reply| {
            for member in &members {
                write_score(reply, zset.score(member)?);
            }
            Ok(())
        },
    )
}

/// `ZRANK` and `ZREVRANK`.
fn rank(cx: &mut Cx<'_>, reverse: bool) -> Outcome {
    if cx.argc() > 4 {
        return Err(cx.wrong_arity());
    }
    let with_score = cx.argc() == 4;
    if with_score && !cx.is(3, "WITHSCORE") {
        return Err(SYNTAX);
    }
    let nothing = |reply: &mut Reply<'_>| match with_score {
        true => reply.null_array(),
        false => reply.null(),
    };
    let member = cx.args.arg(2);
    reading(cx, nothing, |zset, reply| {
        match zset.rank(member, reverse)? {
            None => nothing(reply),
            Some((rank, _)) if !with_score => reply.integer(rank as i64),
            Some((rank, score)) => {
                reply.array(2);
                reply.integer(rank as i64);
                reply.double(score);
            }
        }
        Ok(())
    })
}

fn zrank(cx: &mut Cx<'_>) -> Outcome {
    rank(cx, false)
}

fn zrevrank(cx: &mut Cx<'_>) -> Outcome {
    rank(cx, true)
}

fn count(cx: &mut Cx<'_>, range: ZRange<'_>) -> Outcome {
    reading(
        cx,
        |reply| reply.integer(0),
        |zset, reply| {
            reply.integer(zset.count(&range)? as i64);
            Ok(())
        },
    )
}

fn zcount(cx: &mut Cx<'_>) -> Outcome {
    let range = bounds::score_range(cx.args.arg(2), cx.args.arg(3))?;
    count(cx, range)
}

fn zlexcount(cx: &mut Cx<'_>) -> Outcome {
    let args = cx.args;
    let range = bounds::lex_range(args.arg(2), args.arg(3))?;
    count(cx, range)
}

fn zscan(cx: &mut Cx<'_>) -> Outcome {
    let args = cx.args;
    let cursor = cursor(args.arg(2))?;
    reading(cx, reply_nothing, |zset, reply| {
        let options = ScanOptions::parse(args, 3, false)?;
        reply_page(reply, |reply| {
            let (mut count, mut text) = (0, DoubleText::new());
            let next = zset.scan(cursor, options.count, &mut |member, score| {
                if options.admits(member) {
                    text.clear();
                    resp::format_double(score, &mut text);
                    reply.bulk(member);
                    // A string in RESP3 too, as the cursor's elements always are.
                    reply.bulk(&text);
                    count += 2;
                }
                true
            })?;
            Ok((next, count))
        })
    })
}

fn zrandmember(cx: &mut Cx<'_>) -> Outcome {
    if cx.argc() == 2 {
        return one_random(cx);
    }
    let with_scores = cx.argc() == 4 && cx.is(3, "WITHSCORES");
    let parse = if with_scores { Count::parse_pairs } else { Count::parse };
    let wanted = parse(cx.args.arg(2))?;
    if cx.argc() > 3 && !with_scores {
        return Err(SYNTAX);
    }
    let seed = cx.random();
    reading(
        cx,
        |reply| reply.array(0),
        |zset, reply| {
            let picked = pick(zset, wanted, seed)?;
            Shape::new(reply, with_scores).write_all(reply, &picked);
            Ok(())
        },
    )
}

fn one_random(cx: &mut Cx<'_>) -> Outcome {
    let random = cx.random();
    reading(
        cx,
        |reply| reply.null(),
        |zset, reply| {
            match zset.random(random)? {
                Some((member, _)) => reply.bulk(member),
                None => reply.null(),
            }
            Ok(())
        },
    )
}

/// The rows of this part of the family.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "zcard",
        summary: "Returns the number of members in a sorted set.",
        since: "1.2.0",
        complexity: "O(1)",
        arity: 2,
        group: Group::SortedSet,
        flags: &[Readonly, Fast],
        keys: &[key("RO", 1)],
        syntax: "key",
        handler: zcard,
        ..SPEC
    },
    Spec {
        name: "zscore",
        summary: "Returns the score of a member in a sorted set.",
        since: "1.2.0",
        complexity: "O(1)",
        arity: 3,
        group: Group::SortedSet,
        flags: &[Readonly, Fast],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key member",
        handler: zscore,
        ..SPEC
    },
    Spec {
        name: "zmscore",
        summary: "Returns the score of one or more members in a sorted set.",
        since: "6.2.0",
        complexity: "O(N) where N is the number of members being requested.",
        arity: -3,
        group: Group::SortedSet,
        flags: &[Readonly, Fast],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key member [member ...]",
        handler: zmscore,
        ..SPEC
    },
    Spec {
        name: "zrank",
        summary: "Returns the index of a member in a sorted set ordered by ascending scores.",
        since: "2.0.0",
        complexity: "O(log(N))",
        arity: -3,
        group: Group::SortedSet,
        flags: &[Readonly, Fast],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key member [WITHSCORE]",
        history: &[("7.2.0", "Added the optional `WITHSCORE` argument.")],
        handler: zrank,
        ..SPEC
    },
    Spec {
        name: "zrevrank",
        summary: "Returns the index of a member in a sorted set ordered by descending scores.",
        since: "2.0.0",
        complexity: "O(log(N))",
        arity: -3,
        group: Group::SortedSet,
        flags: &[Readonly, Fast],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key member [WITHSCORE]",
        history: &[("7.2.0", "Added the optional `WITHSCORE` argument.")],
        handler: zrevrank,
        ..SPEC
    },
    Spec {
        name: "zcount",
        summary: "Returns the count of members in a sorted set that have scores within a range.",
        since: "2.0.0",
        complexity: "O(log(N)) with N being the number of elements in the sorted set.",
        arity: 4,
        group: Group::SortedSet,
        flags: &[Readonly, Fast],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key min max",
        handler: zcount,
        ..SPEC
    },
    Spec {
        name: "zlexcount",
        summary: "Returns the number of members in a sorted set within a lexicographical range.",
        since: "2.8.9",
        complexity: "O(log(N)) with N being the number of elements in the sorted set.",
        arity: 4,
        group: Group::SortedSet,
        flags: &[Readonly, Fast],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key min max",
        handler: zlexcount,
        ..SPEC
    },
    Spec {
        name: "zscan",
        summary: "Iterates over members and scores of a sorted set.",
        since: "2.8.0",
        complexity: "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.",
        arity: -3,
        group: Group::SortedSet,
        flags: &[Readonly],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key cursor [MATCH pattern] [COUNT count]",
        tips: &["nondeterministic_output"],
        handler: zscan,
        ..SPEC
    },
    Spec {
        name: "zrandmember",
        summary: "Returns one or more random members from a sorted set.",
        since: "6.2.0",
        complexity: "O(N) where N is the number of members returned",
        arity: -2,
        group: Group::SortedSet,
        flags: &[Readonly],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key options: [count [WITHSCORES]]",
        tips: &["nondeterministic_output"],
        handler: zrandmember,
        ..SPEC
    },
];
