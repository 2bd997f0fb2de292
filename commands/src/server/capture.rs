//! `CAPTURE`: the connection becomes a stream of what clients ask, for `varve capture`.

use super::base::ADMIN;
use engine::command::{Flag::*, Spec};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::notify::capture::{BUFFER_DEFAULT, BUFFER_RANGE};
use engine::text::args::{integer, is_word};

fn capture(cx: &mut Cx<'_>) -> Outcome {
    if cx.session.may_not_block() {
        return Err(failure("ERR CAPTURE isn't allowed for DENY BLOCKING client"));
    }
    let limit = buffer(cx)?;
    cx.engine.notify.captures.begin(
        cx.session.client(),
        limit,
        (&cx.engine.clients, cx.engine.gates()),
        cx.now,
    );
    cx.reply.ok();
    Ok(())
}

/// The bytes that may wait for this client.
fn buffer(cx: &Cx<'_>) -> Result<usize, Failure> {
    if cx.argc() == 1 {
        return Ok(BUFFER_DEFAULT);
    }
    if cx.argc() != 3 || !is_word(cx.args.arg(1), "BUFFER") {
        return Err(SYNTAX);
    }
    let asked = usize::try_from(integer(cx.args.arg(2))?).unwrap_or(0);
    if !BUFFER_RANGE.contains(&asked) {
        let (low, high) = (BUFFER_RANGE.start(), BUFFER_RANGE.end());
        return Err(Failure::text(format!("ERR BUFFER must be between {low} and {high} bytes")));
    }
    Ok(asked)
}

/// The rows of this file.
pub const COMMANDS: &[Spec] = &[Spec {
    name: "capture",
    summary: "Streams all requests with their times and connections, for replaying them.",
    since: "7.2.0",
    complexity: "O(1); every request of other clients then costs O(N) in its length.",
    arity: -1,
    syntax: "[BUFFER bytes]",
    flags: &[Admin, NoScript, Loading, Stale, Streaming],
    handler: capture,
    ..ADMIN
}];
