//! SET and its older forms, and GETEX: values that come or stay with an expiry.

use super::reply_value;
use engine::command::{Found, KeyPosition, KeySpec};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX};
use engine::notify::keyspace::Class;
use engine::text::args::{Args, is_word};
use engine::text::expiry::{EX, EXAT, PX, PXAT, Unit, positive_expiry};
use resp::Request;
use storage::{Key, NewExpiry};

/// Whether the key must exist.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    Missing,
    Existing,
}

/// How the command treats the key's expiry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    Default,
    /// `KEEPTTL`
    Keep,
    /// `PERSIST`
    Persist,
    /// `EX` and its kin, with the argument that says when.
    Until(Unit, usize),
}

/// Which of the two commands sharing the grammar.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Set,
    GetEx,
}

struct Options {
    when: When,
    get: bool,
    lifetime: Lifetime,
}

/// The key of `SET`, which is read if the old value is asked for.
pub(super) fn key(_: &'static [KeySpec], request: Request<'_>) -> Option<Found> {
    let gets = request.tail(3).iter().any(|arg| is_word(arg, "GET"));
    let flags = if gets { "RW ACCESS UPDATE" } else { "OW UPDATE" };
    Some(Found::from_iter([KeyPosition { index: 1, flags }]))
}

/// The options of `SET` from argument 3 on, or of `GETEX` from argument 2 on.
fn parse(cx: &Cx<'_>, command: For) -> Result<Options, Failure> {
    let mut options = Options { when: When::Always, get: false, lifetime: Lifetime::Default };
    let is_set = command == For::Set;
    let mut args = cx.args_from(if is_set { 3 } else { 2 });
    while !args.is_empty() {
        if is_set && options.when != When::Existing && args.keyword("NX") {
            options.when = When::Missing;
        } else if is_set && options.when != When::Missing && args.keyword("XX") {
            options.when = When::Existing;
        } else if is_set && args.keyword("GET") {
            options.get = true;
        } else {
            parse_lifetime(&mut args, command, &mut options.lifetime)?;
        }
    }
    Ok(options)
}

/// One option about the expiry. As in Redis the same one may come twice, and the last counts.
fn parse_lifetime(args: &mut Args<'_>, command: For, lifetime: &mut Lifetime) -> Outcome {
    let words: [(&str, For, Lifetime); 2] =
        [("KEEPTTL", For::Set, Lifetime::Keep), ("PERSIST", For::GetEx, Lifetime::Persist)];
    for (word, of, meaning) in words {
        let fits = of == command && [Lifetime::Default, meaning].contains(lifetime);
        if fits && args.keyword(word) {
            *lifetime = meaning;
            return Ok(());
        }
    }
    let units = [("EX", EX), ("PX", PX), ("EXAT", EXAT), ("PXAT", PXAT)];
    let unit = units.into_iter().find(|(word, _)| args.keyword_before(word, 1)).ok_or(SYNTAX)?.1;
    let free = match *lifetime {
        Lifetime::Default => true,
        Lifetime::Until(before, _) => before == unit,
        Lifetime::Keep | Lifetime::Persist => false,
    };
    if !free {
        return Err(SYNTAX);
    }
    *lifetime = Lifetime::Until(unit, args.at());
    args.expect().map(drop)
}

/// Sets the value, tells, and logs what replays to the same whenever it is run.
fn store(cx: &mut Cx<'_>, key: &Key<'_>, value: &[u8], expiry: NewExpiry) -> Outcome {
    cx.tx.set_string(key, value, expiry)?;
    match expiry {
        NewExpiry::At(at) => cx.log_number(&[b"SET", key.bytes, value, b"PXAT"], at),
        NewExpiry::Keep => cx.log(&[b"SET", key.bytes, value, b"KEEPTTL"]),
        NewExpiry::Clear => cx.log(&[b"SET", key.bytes, value]),
    }
    cx.modified(key, Class::String, "set");
    if let NewExpiry::At(_) = expiry {
        cx.notify(key, Class::Generic, "expire");
    }
    Ok(())
}

pub(super) fn set(cx: &mut Cx<'_>) -> Outcome {
    if cx.argc() > 3 {
        return set_with_options(cx);
    }
    let key = cx.key(1);
    cx.tx.set_string(&key, cx.args.arg(2), NewExpiry::Clear)?;
    cx.modified(&key, Class::String, "set");
    cx.reply.ok();
    Ok(())
}

fn set_with_options(cx: &mut Cx<'_>) -> Outcome {
    let options = parse(cx, For::Set)?;
    let expiry = match options.lifetime {
        Lifetime::Until(unit, at) => NewExpiry::At(positive_expiry(cx, at, unit)?),
        Lifetime::Keep => NewExpiry::Keep,
        Lifetime::Default | Lifetime::Persist => NewExpiry::Clear,
    };
    let key = cx.key(1);
    let found = match (options.get, options.when) {
        (true, _) => reply_value(cx, &key)?,
        (false, When::Always) => false,
        (false, _) => cx.tx.kind(&key)?.is_some(),
    };
    let allowed = match options.when {
        When::Always => true,
        When::Missing => !found,
        When::Existing => found,
    };
    if allowed {
        store(cx, &key, cx.args.arg(2), expiry)?;
    }
    match (options.get, allowed) {
        (true, _) => {}
        (false, true) => cx.reply.ok(),
        (false, false) => cx.reply.null(),
    }
    Ok(())
}

pub(super) fn setnx(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    let absent = cx.tx.kind(&key)?.is_none();
    if absent {
        store(cx, &key, cx.args.arg(2), NewExpiry::Clear)?;
    }
    cx.reply.integer(absent.into());
    Ok(())
}

pub(super) fn setex(cx: &mut Cx<'_>) -> Outcome {
    set_until(cx, EX)
}

pub(super) fn psetex(cx: &mut Cx<'_>) -> Outcome {
    set_until(cx, PX)
}

/// `key time value`.
fn set_until(cx: &mut Cx<'_>, unit: Unit) -> Outcome {
    let at = positive_expiry(cx, 2, unit)?;
    let key = cx.key(1);
    store(cx, &key, cx.args.arg(3), NewExpiry::At(at))?;
    cx.reply.ok();
    Ok(())
}

pub(super) fn getset(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    reply_value(cx, &key)?;
    store(cx, &key, cx.args.arg(2), NewExpiry::Clear)
}

pub(super) fn getex(cx: &mut Cx<'_>) -> Outcome {
    let options = parse(cx, For::GetEx)?;
    let key = cx.key(1);
    // Redis looks for the key before it looks at the time, but answers nothing before both.
    if !reply_value(cx, &key)? {
        return Ok(());
    }
    match options.lifetime {
        Lifetime::Until(unit, at) => {
            let at = positive_expiry(cx, at, unit)?;
            crate::generic::expire_at(cx, &key, at as i64)
        }
        Lifetime::Persist => crate::generic::persist_key(cx, &key).map(|_| ()),
        Lifetime::Default | Lifetime::Keep => Ok(()),
    }
}
