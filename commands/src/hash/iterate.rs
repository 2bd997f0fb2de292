//! `HSCAN` and `HRANDFIELD`.

use super::reading;
use crate::element_scan::{ScanOptions, cursor, reply_nothing, reply_page};
use crate::sampling::{Count, pick};
use engine::cx::Cx;
use engine::failure::{Outcome, SYNTAX};
use resp::Reply;

pub(super) fn hscan(cx: &mut Cx<'_>) -> Outcome {
    let args = cx.args;
    let cursor = cursor(args.arg(2))?;
    reading(cx, reply_nothing, |hash, reply| {
        let options = ScanOptions::parse(args, 3, true)?;
        reply_page(reply, |reply| {
            let mut count = 0;
            let next = hash.scan(cursor, options.count, &mut |field, value| {
                if options.admits(field) {
                    reply.bulk(field);
                    count += 1;
                    if !options.no_values {
                        reply.bulk(value);
                        count += 1;
                    }
                }
                true
            })?;
            Ok((next, count))
        })
    })
}

pub(super) fn hrandfield(cx: &mut Cx<'_>) -> Outcome {
    if cx.argc() == 2 {
        return one_random(cx);
    }
    let with_values = cx.argc() == 4 && cx.is(3, "WITHVALUES");
    let parse = if with_values { Count::parse_pairs } else { Count::parse };
    let count = parse(cx.args.arg(2))?;
    if cx.argc() > 3 && !with_values {
        return Err(SYNTAX);
    }
    let seed = cx.random();
    reading(
        cx,
        |reply| reply.array(0),
        |hash, reply| {
            write_fields(reply, &pick(hash, count, seed)?, with_values);
            Ok(())
        },
    )
}

fn write_fields(reply: &mut Reply<'_>, fields: &[(Vec<u8>, Vec<u8>)], with_values: bool) {
    let flat = with_values && !reply.is_resp3();
    reply.array(if flat { fields.len() * 2 } else { fields.len() });
    for (field, value) in fields {
        if with_values && !flat {
            reply.array(2);
        }
        reply.bulk(field);
        if with_values {
            reply.bulk(value);
        }
    }
}

fn one_random(cx: &mut Cx<'_>) -> Outcome {
    let random = cx.random();
    reading(
        cx,
        |reply| reply.null(),
        |hash, reply| {
            match hash.random(random)? {
                Some((field, _)) => reply.bulk(field),
                None => reply.null(),
            }
            Ok(())
        },
    )
}
