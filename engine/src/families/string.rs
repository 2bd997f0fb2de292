//! String commands.

use crate::command::{Flag::*, Group, SPEC, Spec, key};
use crate::cx::Cx;
use crate::failure::Outcome;
use crate::keyspace::Class;
use storage::{Expiry, Str};

fn get(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    match cx.tx.string(&key)? {
        Some(Str::Bytes(value)) => cx.reply.bulk(value),
        Some(Str::Shared(value)) => cx.reply.bulk_shared(value.clone()),
        None => cx.reply.null(),
    }
    Ok(())
}

fn set(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    cx.tx.set_string(&key, cx.args.arg(2), Expiry::Clear)?;
    cx.modified(&key, Class::String, "set");
    cx.reply.ok();
    Ok(())
}

/// The family's rows.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "get",
        summary: "Returns the string value of a key.",
        since: "1.0.0",
        complexity: "O(1)",
        arity: 2,
        group: Group::String,
        flags: &[Readonly, Fast],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key",
        handler: get,
        ..SPEC
    },
    Spec {
        name: "set",
        summary: "Sets the string value of a key, ignoring its type. The key is created if it doesn't exist.",
        since: "1.0.0",
        complexity: "O(1)",
        arity: -3,
        group: Group::String,
        flags: &[Write, DenyOom],
        keys: &[key("RW ACCESS UPDATE variable_flags", 1)],
        syntax: "key value [NX|XX] [GET] [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|KEEPTTL]",
        handler: set,
        ..SPEC
    },
];
