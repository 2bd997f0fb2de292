//! DEL, UNLINK, EXISTS, TOUCH, TYPE: keys as such.

use engine::cx::Cx;
use engine::failure::Outcome;
use engine::notify::keyspace::Class;

/// Also UNLINK: removing takes bounded time either way, see [`storage::Tx::remove`].
pub(super) fn del(cx: &mut Cx<'_>) -> Outcome {
    let mut removed = 0;
    for i in 1..cx.argc() {
        let key = cx.key(i);
        if cx.tx.remove(&key)? {
            cx.modified(&key, Class::Generic, "del");
            removed += 1;
        }
    }
    cx.reply.integer(removed);
    Ok(())
}

/// A key given twice counts twice.
pub(super) fn exists(cx: &mut Cx<'_>) -> Outcome {
    let mut count = 0;
    for i in 1..cx.argc() {
        let key = cx.key(i);
        let found = cx.tx.kind(&key)?.is_some();
        cx.looked_up(&key, found);
        count += i64::from(found);
    }
    cx.reply.integer(count);
    Ok(())
}

pub(super) fn touch(cx: &mut Cx<'_>) -> Outcome {
    let mut count = 0;
    for i in 1..cx.argc() {
        let key = cx.key(i);
        let found = cx.tx.touch(&key)?;
        cx.looked_up(&key, found);
        count += i64::from(found);
    }
    cx.reply.integer(count);
    Ok(())
}

pub(super) fn type_of(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    let kind = cx.tx.kind(&key)?;
    cx.looked_up(&key, kind.is_some());
    cx.reply.simple(kind.map_or("none", storage::Kind::name));
    Ok(())
}
