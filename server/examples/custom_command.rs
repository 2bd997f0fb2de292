//! A server with a command of its own: `SETMAX key number` keeps the largest number it was given.
//!
//! `cargo run --example custom_command -- --port 6380`, then `redis-cli -p 6380 SETMAX record 7`.

use server::Server;
use server::engine::command::{Flag::*, Group, SPEC, Spec, key};
use server::engine::notify::keyspace::Class;
use server::engine::text::args::integer;
use server::engine::{Cx, Outcome};
use server::storage::NewExpiry;
use std::process::ExitCode;

fn setmax(cx: &mut Cx<'_>) -> Outcome {
    let (key, candidate) = (cx.key(1), integer(cx.args.arg(2))?);
    let current = cx.tx.string(&key)?.map(|value| integer(value.as_bytes())).transpose()?;
    if current.is_none_or(|current| candidate > current) {
        cx.tx.set_string(&key, candidate.to_string().as_bytes(), NewExpiry::Keep)?;
        cx.modified(&key, Class::String, "setmax");
    }
    cx.reply.integer(current.map_or(candidate, |current| current.max(candidate)));
    Ok(())
}

/// The rows: arity, key extraction, locking, logging, `COMMAND` and ACL categories follow.
pub const COMMANDS: &[Spec] = &[Spec {
    name: "setmax",
    summary: "Keeps the largest number a key was given.",
    since: "0.1.0",
    complexity: "O(1)",
    arity: 3,
    group: Group::String,
    flags: &[Write, DenyOom, Fast],
    keys: &[key("RW ACCESS UPDATE", 1)],
    syntax: "key number",
    handler: setmax,
    ..SPEC
}];

fn main() -> ExitCode {
    server::command_line::run(Server::builder().commands(COMMANDS))
}
