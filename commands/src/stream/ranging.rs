//! XRANGE and XREVRANGE.

use super::ids::{first_id, last_id};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX};
use engine::text::args::integer;
use storage::Open;

/// `COUNT count` from argument `at` on, as often as it is there; none is `None`.
fn count_option(cx: &Cx<'_>, at: usize) -> Result<Option<u64>, Failure> {
    let mut count = None;
    let mut args = cx.args_from(at);
    while !args.is_empty() {
        let value = args.option("COUNT").ok_or(SYNTAX)?;
        // Redis uses −1 for no count, and takes 0 for a negative one.
        count = Some(integer(value)?.max(0) as u64);
    }
    Ok(count)
}

fn range(cx: &mut Cx<'_>, first_at: usize, last_at: usize, reverse: bool) -> Outcome {
    let first = first_id(cx.args.arg(first_at))?;
    let last = last_id(cx.args.arg(last_at))?;
    let count = count_option(cx, 4)?;
    let key = cx.key(1);
    let reply = &mut cx.reply;
    let found = match cx.tx.stream(&key, Open::Existing)? {
        None => {
            reply.array(0);
            false
        }
        Some(_) if count == Some(0) => {
            reply.null_array();
            true
        }
        Some(mut stream) => {
            super::write_range(reply, &mut *stream, (first, last), reverse, count.unwrap_or(0))?;
            true
        }
    };
    cx.looked_up(&key, found);
    Ok(())
}

pub(super) fn xrange(cx: &mut Cx<'_>) -> Outcome {
    range(cx, 2, 3, false)
}

pub(super) fn xrevrange(cx: &mut Cx<'_>) -> Outcome {
    range(cx, 3, 2, true)
}
