//! The locks that a transaction holds, and the marks it carries.

use super::shard::State;
use parking_lot::MutexGuard;
use std::time::Duration;

/// The time that a transaction waits for a shard before it lets go of those it has and starts
/// again.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);

bitflags::bitflags! {
    /// How a transaction treats keys, and which of its changes a panic would leave.
    #[derive(Clone, Copy)]
    pub(super) struct Marks: u8 {
        /// Accesses are not noted.
        const NO_TOUCH = 1;
        /// A collection was opened, and may have been changed since.
        const OPENED = 1 << 1;
        /// A change was begun, and mostly ended, too.
        const CHANGED = 1 << 2;
        /// Expired keys and fields are treated as absent, and stay.
        const HIDES_EXPIRED = 1 << 3;
    }
}

/// A shard's number, with its lock held.
pub(super) type Guard<'b> = (u32, MutexGuard<'b, State>);

/// A list that is empty in most transactions: then it costs a word to make and a comparison to drop.
#[allow(clippy::box_collection, reason = "a vector of its own would be three words")]
pub(super) type Rare<T> = Option<Box<Vec<T>>>;

/// The state of a shard that the transaction has locked.
///
/// # Panics
/// Panics if it has not, because going on would be a data race.
#[inline]
pub(super) fn locked<'g>(
    first: &'g mut Option<Guard<'_>>,
    others: &'g mut Rare<Guard<'_>>,
    number: u32,
) -> &'g mut State {
    match first {
        Some((at, state)) if *at == number => state,
        _ => locked_further(others, number),
    }
}

#[inline(never)]
fn locked_further<'g>(others: &'g mut Rare<Guard<'_>>, number: u32) -> &'g mut State {
    let others = others.as_deref_mut().map_or(&mut [][..], |others| &mut others[..]);
    match others.binary_search_by_key(&number, |(number, _)| *number) {
        Ok(at) => &mut others[at].1,
        Err(_) => panic!("shard {number} is not locked by this transaction"),
    }
}
