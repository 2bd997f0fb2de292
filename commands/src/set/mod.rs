//! Set commands.

mod algebra;
mod random;
mod rows;

use crate::element_scan::{ScanOptions, cursor, reply_nothing, reply_page};
use engine::cx::Cx;
use engine::failure::{Outcome, WRONG_TYPE};
use engine::notify::keyspace::Class;
use storage::{Key, Kind, Open};

pub use rows::COMMANDS;

/// Reports that members were removed and, if none are `left`, that the key was.
fn removed(cx: &mut Cx<'_>, key: &Key<'_>, event: &'static str, gone: u64, left: u64) {
    cx.modified_by(gone, key, Class::Set, event);
    if left == 0 {
        cx.notify(key, Class::Generic, "del");
    }
}

fn sadd(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    let mut added = 0;
    if let Some(mut set) = cx.tx.set(&key, Open::Create)? {
        for i in 2..cx.args.len() {
            added += u64::from(set.insert(cx.args.arg(i))?);
        }
    }
    if added > 0 {
        cx.modified_by(added, &key, Class::Set, "sadd");
    }
    cx.reply.integer(added as i64);
    Ok(())
}

fn srem(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    let (mut gone, mut left) = (0, 0);
    if let Some(mut set) = cx.tx.set(&key, Open::Existing)? {
        left = set.len()?;
        for i in 2..cx.args.len() {
            gone += u64::from(set.remove(cx.args.arg(i))?);
        }
    }
    if gone > 0 {
        removed(cx, &key, "srem", gone, left - gone);
    }
    cx.reply.integer(gone as i64);
    Ok(())
}

fn scard(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    let len = match cx.tx.set(&key, Open::Existing)? {
        Some(mut set) => set.len()?,
        None => 0,
    };
    cx.looked_up(&key, len > 0);
    cx.reply.integer(len as i64);
    Ok(())
}

fn sismember(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    let contained = match cx.tx.set(&key, Open::Existing)? {
        Some(mut set) => Some(set.contains(cx.args.arg(2))?),
        None => None,
    };
    cx.looked_up(&key, contained.is_some());
    cx.reply.integer(contained.unwrap_or(false).into());
    Ok(())
}

fn smismember(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    let reply = &mut cx.reply;
    let mut set = cx.tx.set(&key, Open::Existing)?;
    reply.array(cx.args.len() - 2);
    for i in 2..cx.args.len() {
        let contained = match &mut set {
            Some(set) => set.contains(cx.args.arg(i))?,
            None => false,
        };
        reply.integer(contained.into());
    }
    let found = set.is_some();
    drop(set);
    cx.looked_up(&key, found);
    Ok(())
}

fn smembers(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    let reply = &mut cx.reply;
    let found = match cx.tx.set(&key, Open::Existing)? {
        Some(mut set) => {
            reply.set(set.len()? as usize);
            set.for_each(&mut |member| {
                reply.bulk(member);
                true
            })?;
            true
        }
        None => {
            reply.set(0);
            false
        }
    };
    cx.looked_up(&key, found);
    Ok(())
}

fn smove(cx: &mut Cx<'_>) -> Outcome {
    let (from, to, member) = (cx.key(1), cx.key(2), cx.args.arg(3));
    let Some(mut source) = cx.tx.set(&from, Open::Existing)? else {
        cx.reply.integer(0);
        return Ok(());
    };
    let contained = source.contains(member)?;
    drop(source);
    if cx.tx.kind(&to)?.is_some_and(|kind| kind != Kind::Set) {
        return Err(WRONG_TYPE);
    }
    if contained && from.bytes != to.bytes {
        move_member(cx, &from, &to, member)?;
    }
    cx.reply.integer(contained.into());
    Ok(())
}

/// Moves a member that is there between two different sets.
fn move_member(cx: &mut Cx<'_>, from: &Key<'_>, to: &Key<'_>, member: &[u8]) -> Outcome {
    let (mut left, mut added) = (0, false);
    if let Some(mut source) = cx.tx.set(from, Open::Existing)? {
        source.remove(member)?;
        left = source.len()?;
    }
    if let Some(mut target) = cx.tx.set(to, Open::Create)? {
        added = target.insert(member)?;
    }
    removed(cx, from, "srem", 1, left);
    if added {
        cx.modified(to, Class::Set, "sadd");
    }
    Ok(())
}

fn sscan(cx: &mut Cx<'_>) -> Outcome {
    let from = cursor(cx.args.arg(2))?;
    let key = cx.key(1);
    let Some(mut set) = cx.tx.set(&key, Open::Existing)? else {
        cx.looked_up(&key, false);
        reply_nothing(&mut cx.reply);
        return Ok(());
    };
    let options = ScanOptions::parse(cx.args, 3, false)?;
    reply_page(&mut cx.reply, |page| {
        let mut shown = 0;
        let next = set.scan(from, options.count, &mut |member| {
            if options.admits(member) {
                page.bulk(member);
                shown += 1;
            }
            true
        })?;
        Ok((next, shown))
    })?;
    drop(set);
    cx.looked_up(&key, true);
    Ok(())
}
