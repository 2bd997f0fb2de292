//! BITFIELD and BITFIELD_RO.

use super::field::{Overflow, SPAN_MAX, Type};
use super::{grow, offset};
use crate::string::unshare;
use engine::command::Takes::Exactly;
use engine::command::{Found, Given, KeyPosition, KeySpec, NoOption, Options};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::notify::keyspace::Class;
use engine::text::args::{integer, is_word};
use resp::Request;
use storage::Key;

#[derive(Clone, Copy, Debug)]
enum Action {
    Get,
    Set(i64),
    IncrBy(i64),
}

/// One operation on one field.
#[derive(Clone, Copy, Debug)]
struct Step {
    field: Type,
    bit: u64,
    action: Action,
    overflow: Overflow,
}

impl Step {
    fn is_write(&self) -> bool {
        !matches!(self.action, Action::Get)
    }

    /// The number to store and the one to answer, from the present number; `None` when it does not fit.
    fn apply(&self, present: i64) -> Option<(i64, i64)> {
        let (number, answers_new) = match self.action {
            Action::Get => return Some((present, present)),
            Action::Set(number) => (self.field.given(number), false),
            Action::IncrBy(by) => (i128::from(present) + i128::from(by), true),
        };
        let new = self.field.fit(number, self.overflow)?;
        Some((new, if answers_new { new } else { present }))
    }
}

fn overflow(word: &[u8]) -> Result<Overflow, Failure> {
    match word {
        _ if is_word(word, "WRAP") => Ok(Overflow::Wrap),
        _ if is_word(word, "SAT") => Ok(Overflow::Saturate),
        _ if is_word(word, "FAIL") => Ok(Overflow::Fail),
        _ => Err(failure("ERR Invalid OVERFLOW type specified")),
    }
}

const OPTIONS: Options = Options(&[
    ("GET", Exactly(2)),
    ("SET", Exactly(3)),
    ("INCRBY", Exactly(3)),
    ("OVERFLOW", Exactly(1)),
]);

/// The key of BITFIELD, which is only read if all operations read.
pub(super) fn key(_: &'static [KeySpec], request: Request<'_>) -> Option<Found> {
    let reads = |given| matches!(given, Ok(Given { word: "GET" | "OVERFLOW", .. }));
    let flags = match OPTIONS.walk(request, 2).all(reads) {
        true => "RO ACCESS",
        false => "RW ACCESS UPDATE",
    };
    Some(Found::from_iter([KeyPosition { index: 1, flags }]))
}

fn parse(cx: &Cx<'_>) -> Result<Vec<Step>, Failure> {
    let args = cx.args;
    let mut steps = Vec::new();
    let mut current = Overflow::Wrap;
    for given in OPTIONS.walk(args, 2) {
        let Given { word, at } = given.map_err(|NoOption| SYNTAX)?;
        if word == "OVERFLOW" {
            current = overflow(args.arg(at))?;
            continue;
        }
        let field = Type::parse(args.arg(at))?;
        let bit = offset(cx, args.arg(at + 1), Some(field.width))?;
        let action = match word {
            "GET" => Action::Get,
            "SET" => Action::Set(integer(args.arg(at + 2))?),
            _ => Action::IncrBy(integer(args.arg(at + 2))?),
        };
        steps.push(Step { field, bit, action, overflow: current });
    }
    Ok(steps)
}

pub(super) fn bitfield(cx: &mut Cx<'_>) -> Outcome {
    let steps = parse(cx)?;
    run(cx, &steps)
}

pub(super) fn bitfield_ro(cx: &mut Cx<'_>) -> Outcome {
    let steps = parse(cx)?;
    if steps.iter().any(Step::is_write) {
        return Err(failure("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    run(cx, &steps)
}

fn run(cx: &mut Cx<'_>, steps: &[Step]) -> Outcome {
    let key = cx.key(1);
    let ends = steps.iter().filter(|step| step.is_write()).map(|step| step.field.span(step.bit).1);
    let grew = match ends.max() {
        Some(end) => grow(cx, &key, end - 1)?,
        None => {
            // A type error is one even if no field is read.
            let found = cx.tx.string_len(&key)? > 0 || cx.tx.kind(&key)?.is_some();
            cx.looked_up(&key, found);
            false
        }
    };
    cx.reply.array(steps.len());
    let mut changes = 0;
    for step in steps {
        changes += u64::from(perform(cx, &key, step, grew)?);
    }
    if changes == 0 && steps.iter().any(Step::is_write) {
        unshare(cx, &key)?;
    }
    if changes > 0 {
        cx.modified_by(changes, &key, Class::String, "setbit");
    } else if grew {
        // Nothing fitted, but the string became longer. As in Redis there is no event, but the
        // change is logged.
        cx.changed_silently(1);
    }
    Ok(())
}

/// One step: its answer, and whether it counts as a change.
fn perform(cx: &mut Cx<'_>, key: &Key<'_>, step: &Step, grew: bool) -> Result<bool, Failure> {
    let (start, end) = step.field.span(step.bit);
    let mut bytes = Vec::with_capacity(SPAN_MAX);
    cx.tx.get_range(key, start, end, &mut bytes)?;
    let present = step.field.read(step.bit, &bytes);
    let Some((new, answer)) = step.apply(present) else {
        cx.reply.null();
        return Ok(false);
    };
    cx.reply.integer(answer);
    if step.is_write() && new != present {
        bytes.resize((end - start) as usize, 0);
        step.field.write(step.bit, new, &mut bytes);
        cx.tx.set_range(key, start, &bytes)?;
    }
    Ok(step.is_write() && (grew || new != present))
}
