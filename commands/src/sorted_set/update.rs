//! `ZADD`, `ZINCRBY` and `ZREM`.

use super::{bounds, tell_removed};
use engine::command::{Flag::*, Group, SPEC, Spec, key};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::notify::keyspace::Class;
use engine::text::args::is_word;
use resp::Request;
use smallvec::SmallVec;
use storage::Open;
use storage::types::{Inserted, SortedSet};

const NOT_A_NUMBER: Failure = failure("ERR resulting score is not a number (NaN)");

/// The words before the scores of `ZADD`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
    ch: bool,
    incr: bool,
}

impl Options {
    /// The options, and where the first score is.
    fn parse(args: Request<'_>) -> (Self, usize) {
        Options::parse_some(args, &["NX", "XX", "GT", "LT", "CH", "INCR"])
    }

    /// [`Options::parse`] where only some of the words are options (`GEOADD`).
    pub(crate) fn parse_some(args: Request<'_>, words: &[&str]) -> (Self, usize) {
        let mut options = Options::default();
        let mut at = 2;
        while let Some(word) = args.get(at) {
            // Scores are tried against no word: none begins like a number.
            let known = word.first().is_some_and(u8::is_ascii_alphabetic)
                && words.iter().any(|known| is_word(word, known))
                && options.take(word);
            if !known {
                break;
            }
            at += 1;
        }
        (options, at)
    }

    fn take(&mut self, word: &[u8]) -> bool {
        let flags = [
            ("NX", &mut self.nx),
            ("XX", &mut self.xx),
            ("GT", &mut self.gt),
            ("LT", &mut self.lt),
            ("CH", &mut self.ch),
            ("INCR", &mut self.incr),
        ];
        let found = flags.into_iter().find(|(name, _)| is_word(word, name));
        found.map(|(_, flag)| *flag = true).is_some()
    }

    pub(crate) fn check(self, pairs: usize) -> Outcome {
        if self.nx && self.xx {
            return Err(failure("ERR XX and NX options at the same time are not compatible"));
        }
        if self.nx && (self.gt || self.lt) || self.gt && self.lt {
            return Err(failure(
                "ERR GT, LT, and/or NX options at the same time are not compatible",
            ));
        }
        if self.incr && pairs > 1 {
            return Err(failure("ERR INCR option supports a single increment-element pair"));
        }
        Ok(())
    }

    /// The number that is answered.
    pub(crate) fn reported(self, changes: Counts) -> u64 {
        if self.ch { changes.count() } else { changes.added }
    }

    /// Whether a member's present score must be looked at before it is set.
    fn is_conditional(self) -> bool {
        self.nx || self.xx || self.gt || self.lt || self.incr
    }

    /// The score to set; `None` when the conditions leave the member alone.
    fn decide(self, present: Option<f64>, score: f64) -> Result<Option<f64>, Failure> {
        let Some(present) = present else {
            return Ok((!self.xx).then_some(score));
        };
        if self.nx {
            return Ok(None);
        }
        let score = if self.incr { present + score } else { score };
        if score.is_nan() {
            return Err(NOT_A_NUMBER);
        }
        let kept = (self.gt && score <= present) || (self.lt && score >= present);
        Ok((!kept).then_some(score))
    }
}

/// The numbers of members that one command added and changed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    added: u64,
    updated: u64,
    /// The last member's score, if it was processed.
    score: Option<f64>,
}

impl Counts {
    fn note(&mut self, inserted: Inserted, score: f64) {
        self.added += u64::from(inserted == Inserted::Added);
        self.updated += u64::from(inserted == Inserted::Updated);
        self.score = Some(score);
    }

    pub(crate) fn count(self) -> u64 {
        self.added + self.updated
    }
}

/// Sets one member's score as the options say.
fn put(
    zset: &mut dyn SortedSet,
    options: Options,
    member: &[u8],
    score: f64,
    changes: &mut Counts,
) -> Outcome {
    let mut score = Some(score);
    if let (true, Some(given)) = (options.is_conditional(), score) {
        score = options.decide(zset.score(member)?, given)?;
    }
    changes.score = None;
    if let Some(score) = score {
        // Redis's compact form has no negative zero, and both zeros are one score.
        let score = score + 0.0;
        changes.note(zset.insert(member, score)?, score);
    }
    Ok(())
}

/// Adds or increments the pairs of score and member from argument `at` on.
fn add_from(cx: &mut Cx<'_>, options: Options, at: usize) -> Result<Counts, Failure> {
    let args = cx.args;
    // All scores are checked before anything is changed.
    let mut scores: SmallVec<[f64; 8]> = SmallVec::new();
    for index in (at..args.len()).step_by(2) {
        scores.push(bounds::score(args.arg(index))?);
    }
    add(cx, options, &scores, |nth| args.arg(at + 2 * nth + 1))
}

/// Adds or increments the `nth` member by each score, at the first key.
pub(crate) fn add<'a>(
    cx: &mut Cx<'_>,
    options: Options,
    scores: &[f64],
    member: impl Fn(usize) -> &'a [u8],
) -> Result<Counts, Failure> {
    let key = cx.key(1);
    let open = if options.xx { Open::Existing } else { Open::Create };
    let mut changes = Counts::default();
    if let Some(mut zset) = cx.tx.sorted_set(&key, open)? {
        for (nth, &score) in scores.iter().enumerate() {
            put(&mut *zset, options, member(nth), score, &mut changes)?;
        }
    }
    if changes.count() > 0 {
        let event = if options.incr { "zincr" } else { "zadd" };
        cx.modified_by(changes.count(), &key, Class::SortedSet, event);
    }
    Ok(changes)
}

fn zadd(cx: &mut Cx<'_>) -> Outcome {
    let (options, at) = Options::parse(cx.args);
    let rest = cx.argc() - at;
    if rest == 0 || rest % 2 == 1 {
        return Err(SYNTAX);
    }
    options.check(rest / 2)?;
    let changes = add_from(cx, options, at)?;
    match (options.incr, changes.score) {
        (true, Some(score)) => cx.reply.double(score),
        (true, None) => cx.reply.null(),
        (false, _) => cx.reply.integer(options.reported(changes) as i64),
    }
    Ok(())
}

fn zincrby(cx: &mut Cx<'_>) -> Outcome {
    let changes = add_from(cx, Options { incr: true, ..Options::default() }, 2)?;
    cx.reply.double(changes.score.unwrap_or_default());
    Ok(())
}

fn zrem(cx: &mut Cx<'_>) -> Outcome {
    let (key, args) = (cx.key(1), cx.args);
    let (mut removed, mut emptied) = (0, false);
    if let Some(mut zset) = cx.tx.sorted_set(&key, Open::Existing)? {
        for member in args.iter().skip(2) {
            removed += u64::from(zset.remove(member)?.is_some());
        }
        emptied = zset.is_empty()?;
    }
    if removed > 0 {
        tell_removed(cx, &key, "zrem", removed, emptied);
    }
    cx.reply.integer(removed as i64);
    Ok(())
}

/// The rows of this part of the family.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "zadd",
        summary: "Adds one or more members to a sorted set, or updates their scores. Creates the key if it doesn't exist.",
        since: "1.2.0",
        complexity: "O(log(N)) for each item added, where N is the number of elements in the sorted set.",
        arity: -4,
        group: Group::SortedSet,
        flags: &[Write, DenyOom, Fast],
        keys: &[key("RW UPDATE", 1)],
        syntax: "key [NX|XX] @3.0.2 [GT|LT] @6.2.0 change: [CH] @3.0.2 increment: [INCR] @3.0.2 score member [score member ...]",
        history: &[
            ("2.4.0", "Accepts multiple elements."),
            ("3.0.2", "Added the `XX`, `NX`, `CH` and `INCR` options."),
            ("6.2.0", "Added the `GT` and `LT` options."),
        ],
        handler: zadd,
        ..SPEC
    },
    Spec {
        name: "zincrby",
        summary: "Increments the score of a member in a sorted set.",
        since: "1.2.0",
        complexity: "O(log(N)) where N is the number of elements in the sorted set.",
        arity: 4,
        group: Group::SortedSet,
        flags: &[Write, DenyOom, Fast],
        keys: &[key("RW ACCESS UPDATE", 1)],
        syntax: "key increment member",
        handler: zincrby,
        ..SPEC
    },
    Spec {
        name: "zrem",
        summary: "Removes one or more members from a sorted set. Deletes the sorted set if all members were removed.",
        since: "1.2.0",
        complexity: "O(M*log(N)) with N being the number of elements in the sorted set and M the number of elements to be removed.",
        arity: -3,
        group: Group::SortedSet,
        flags: &[Write, Fast],
        keys: &[key("RW DELETE", 1)],
        syntax: "key member [member ...]",
        history: &[("2.4.0", "Accepts multiple elements.")],
        handler: zrem,
        ..SPEC
    },
];
