//! Sorted set commands: members ordered by score, then by bytes.
//!
//! | module | what |
//! | --- | --- |
//! | [`update`] | adding, incrementing, removing |
//! | [`read`] | scores, ranks, counts, scanning, random members |
//! | [`range`] | everything by range: reading, storing, removing |
//! | [`pop`] | taking the lowest or highest, waiting for one |
//! | [`combine`] | unions, intersections, differences |
//! | [`bounds`] | scores and ranges in arguments |

pub mod bounds;
pub mod combine;
pub mod pop;
pub mod range;
pub mod read;
pub mod update;

use engine::cx::Cx;
use engine::failure::{Failure, Outcome};
use engine::notify::keyspace::Class;
use resp::Reply;
use storage::types::SortedSet;
use storage::{Key, Open};

/// A member with its score, taken out of the storage.
pub(crate) type Scored = (Vec<u8>, f64);

crate::reading::reading!(sorted_set, dyn SortedSet);

/// Announces that members were removed, and the key's end when none is left.
fn tell_removed(cx: &mut Cx<'_>, key: &Key<'_>, event: &'static str, removed: u64, emptied: bool) {
    cx.modified_by(removed, key, Class::SortedSet, event);
    if emptied {
        cx.modified(key, Class::Generic, "del");
    }
}

/// Replaces whatever is at `key` by these members, and replies with their number.
pub(crate) fn store(
    cx: &mut Cx<'_>,
    key: &Key<'_>,
    members: &[Scored],
    event: &'static str,
) -> Outcome {
    let existed = cx.tx.remove(key)?;
    if members.is_empty() {
        if existed {
            cx.modified(key, Class::Generic, "del");
        }
    } else {
        put_all(cx, key, members)?;
        cx.modified(key, Class::SortedSet, event);
    }
    cx.reply.integer(members.len() as i64);
    Ok(())
}

fn put_all(cx: &mut Cx<'_>, key: &Key<'_>, members: &[Scored]) -> Result<(), Failure> {
    if let Some(mut zset) = cx.tx.sorted_set(key, Open::Create)? {
        for (member, score) in members {
            // As ZADD: there is no negative zero.
            zset.insert(member, *score + 0.0)?;
        }
    }
    Ok(())
}

/// The form in which members are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Members alone.
    Members,
    /// Members and scores by turns.
    Flat,
    /// Pairs of member and score.
    Pairs,
}

impl Shape {
    /// With scores, RESP3 has pairs.
    fn new(reply: &Reply<'_>, with_scores: bool) -> Self {
        match with_scores {
            false => Shape::Members,
            true if reply.is_resp3() => Shape::Pairs,
            true => Shape::Flat,
        }
    }

    /// The array's length for this many members.
    fn array_len(self, members: usize) -> usize {
        if self == Shape::Flat { members * 2 } else { members }
    }

    fn write(self, reply: &mut Reply<'_>, member: &[u8], score: f64) {
        if self == Shape::Pairs {
            reply.array(2);
        }
        reply.bulk(member);
        if self != Shape::Members {
            reply.double(score);
        }
    }

    fn write_all(self, reply: &mut Reply<'_>, members: &[Scored]) {
        reply.array(self.array_len(members.len()));
        members.iter().for_each(|(member, score)| self.write(reply, member, *score));
    }
}
