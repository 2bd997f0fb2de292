//! [`Leaving`]: the connections that a reactor is to pass on, because it retires or others have fewer.

use super::group::{Group, Reactors};
use super::mailbox::Mailbox;
use super::slots::Key;
use std::collections::HashSet;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// The most connections that a reactor passes on, or has begun to, in one loop: those which stay get their turns, and
/// those which go are served until shortly before.
const MOVES_MAX: usize = 256;

/// The fate of a connection that was to be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// It is on its way to another reactor.
    Moved,
    /// It has ended, or it stays after all.
    Over,
    /// It is with another thread: it is asked again in the next loop.
    Later,
    /// It is no longer served here, and goes once the kernel is done with it: it is asked again in the next loop.
    Begun,
}

/// The connections of one reactor that are to go to others.
#[derive(Default)]
pub struct Leaving {
    keys: Vec<Key>,
    /// Whether the last loop left some that could be asked at once.
    hurries: bool,
}

impl Leaving {
    /// Chooses among `keys`, all connections of the reactor with `mailbox`, if it was told to pass some on. Those that
    /// were chosen before remain so, because they may be [`Parting::Begun`].
    #[inline]
    pub fn notice<R: Reactors>(
        &mut self,
        group: &Group<R>,
        mailbox: &Mailbox<R::Message>,
        keys: impl FnOnce() -> Vec<Key>,
    ) {
        if mailbox.retire.load(Relaxed) {
            self.keys = keys();
        } else if mailbox.share.load(Relaxed) && mailbox.share.swap(false, SeqCst) {
            self.choose(keys(), group.surplus(mailbox));
        }
    }

    /// Adds so many of `keys` that `count` are chosen.
    fn choose(&mut self, mut keys: Vec<Key>, count: usize) {
        let chosen: HashSet<Key> = self.keys.iter().copied().collect();
        keys.retain(|key| !chosen.contains(key));
        self.keys.extend(evenly(&keys, count.saturating_sub(chosen.len())));
    }

    /// Calls `part` with each connection, until so many have moved or begun to that the others have to wait for the
    /// next loop.
    pub fn part(&mut self, mut part: impl FnMut(Key) -> Parting) {
        let (mut moved, mut begun) = (0, 0);
        self.keys.retain(|&key| {
            if moved + begun == MOVES_MAX {
                return true;
            }
            let parting = part(key);
            moved += usize::from(parting == Parting::Moved);
            begun += usize::from(parting == Parting::Begun);
            matches!(parting, Parting::Later | Parting::Begun)
        });
        // If all have only begun, the kernel tells when there is something to do.
        self.hurries = moved + begun == MOVES_MAX && moved > 0;
    }

    /// Whether the reactor keeps all that it has.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether the reactor must not sleep before the next [`Leaving::part`].
    #[inline]
    pub fn hurries(&self) -> bool {
        self.hurries && !self.keys.is_empty()
    }
}

/// `count` of the keys, at equal distances: those that came together, and may be equally busy, do not all go or stay.
fn evenly(keys: &[Key], count: usize) -> impl Iterator<Item = Key> {
    let (len, count) = (keys.len(), count.min(keys.len()));
    let chosen = move |n: &usize| n * count / len != (n + 1) * count / len;
    (0..len).filter(chosen).map(|n| keys[n])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(range: impl Iterator<Item = u64>) -> Vec<Key> {
        range.map(Key::from_number).collect()
    }

    #[test]
    fn those_that_leave_are_at_equal_distances() {
        let all = keys(0..12);
        let chosen = |count| evenly(&all, count).collect::<Vec<_>>();
        assert_eq!(chosen(0), []);
        assert_eq!(chosen(3), keys([3, 7, 11].into_iter()));
        assert_eq!(chosen(9).len(), 9);
        assert_eq!(chosen(99), all);
        assert_eq!(evenly(&[], 3).count(), 0);
    }

    #[test]
    fn a_loop_moves_a_bounded_number_and_then_asks_again() {
        let all = MOVES_MAX as u64 + 10;
        let mut leaving = Leaving { keys: keys(0..all), hurries: false };
        let busy = Key::from_number(1);
        let mut moved = Vec::new();
        let mut part = |key: Key| match key {
            key if key == busy => Parting::Later,
            key if key.number() == 2 => Parting::Over,
            key => {
                moved.push(key);
                Parting::Moved
            }
        };
        leaving.part(&mut part);
        assert_eq!((leaving.hurries(), leaving.keys.len()), (true, 9));
        leaving.part(&mut part);
        assert_eq!((leaving.hurries(), &leaving.keys), (false, &vec![busy]));
        assert_eq!(moved.len() as u64, all - 2);
        leaving.part(|_| Parting::Moved);
        assert!(leaving.is_empty() && !leaving.hurries());
    }

    #[test]
    fn who_was_chosen_remains_so_when_more_are() {
        let mut leaving = Leaving { keys: keys([3, 9].into_iter()), hurries: false };
        leaving.choose(keys(0..12), 8);
        assert_eq!(leaving.keys[..2], keys([3, 9].into_iter()));
        let different: HashSet<Key> = leaving.keys.iter().copied().collect();
        assert_eq!((leaving.keys.len(), different.len()), (8, 8));
        leaving.choose(keys(0..12), 1);
        assert_eq!(leaving.keys.len(), 8, "fewer than are chosen already");
    }

    #[test]
    fn a_bounded_number_has_begun_and_waiting_for_the_kernel_is_no_hurry() {
        let all = 2 * MOVES_MAX as u64 + 10;
        let mut leaving = Leaving { keys: keys(0..all), hurries: false };
        let mut begun = HashSet::new();
        for _ in 0..3 {
            leaving.part(|key| {
                begun.insert(key);
                Parting::Begun
            });
            assert_eq!((begun.len(), leaving.hurries()), (MOVES_MAX, false));
        }
        let first = Key::from_number(0);
        leaving.part(|key| if key == first { Parting::Moved } else { Parting::Begun });
        assert!(leaving.hurries(), "there is room for one more");
    }

    #[test]
    fn who_has_nobody_left_to_pass_on_does_not_hurry() {
        let leaving = Leaving { keys: Vec::new(), hurries: true };
        assert!(!leaving.hurries());
    }
}
