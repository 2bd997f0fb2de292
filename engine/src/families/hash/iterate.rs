//! `HSCAN` and `HRANDFIELD`.

use crate::cx::Cx;
use crate::failure::{Outcome, SYNTAX};
use crate::families::element_scan::{ScanOptions, cursor, reply_nothing, reply_page};
use crate::families::sampling::{Count, pick};
use storage::Open;

pub(super) fn hscan(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    let cursor = cursor(cx.args.arg(2))?;
    let Some(mut hash) = cx.tx.hash(&key, Open::Existing)? else {
        reply_nothing(cx);
        return Ok(());
    };
    let options = ScanOptions::parse(cx.args, 3, true)?;
    reply_page(&mut cx.reply, |reply| {
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
    let (key, seed) = (cx.key(1), cx.random());
    let Some(mut hash) = cx.tx.hash(&key, Open::Existing)? else {
        cx.reply.array(0);
        return Ok(());
    };
    let picked = pick(&mut *hash, count, seed)?;
    let flat = with_values && !cx.reply.is_resp3();
    cx.reply.array(if flat { picked.len() * 2 } else { picked.len() });
    for (field, value) in &picked {
        if with_values && !flat {
            cx.reply.array(2);
        }
        cx.reply.bulk(field);
        if with_values {
            cx.reply.bulk(value);
        }
    }
    Ok(())
}

fn one_random(cx: &mut Cx<'_>) -> Outcome {
    let (key, random) = (cx.key(1), cx.random());
    let Some(mut hash) = cx.tx.hash(&key, Open::Existing)? else {
        cx.reply.null();
        return Ok(());
    };
    match hash.random(random)? {
        Some((field, _)) => cx.reply.bulk(field),
        None => cx.reply.null(),
    }
    Ok(())
}
