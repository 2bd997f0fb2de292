//! [`Leaving`]: the connections that a reactor is to pass on, because it retires or others have fewer.

use super::group::{Group, Reactors};
use super::mailbox::Mailbox;
use super::slots::Key;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// The most connections that a reactor passes on in one loop, so that those which stay get their turns.
const MOVES_MAX: usize = 256;

/// The fate of a connection that was to be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// It is on its way to another reactor.
    Moved,
    /// It has ended, or it stays after all.
    Over,
    /// It is with another thread or with the kernel: it is asked again in the next loop.
    Later,
}

/// The connections of one reactor that are to go to others.
#[derive(Default)]
pub struct Leaving {
    keys: Vec<Key>,
    /// Whether the last loop left some that could go at once.
    hurries: bool,
}

impl Leaving {
    /// Chooses among `keys`, all connections of the reactor with `mailbox`, if it was told to pass some on.
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
            let keys = keys();
            self.keys = evenly(&keys, group.surplus(mailbox)).collect();
        }
    }

    /// Calls `part` with each connection, until so many have moved that the others have to wait for the next loop.
    pub fn part(&mut self, mut part: impl FnMut(Key) -> Parting) {
        let mut moved = 0;
        self.keys.retain(|&key| {
            if moved == MOVES_MAX {
                return true;
            }
            let parting = part(key);
            moved += usize::from(parting == Parting::Moved);
            parting == Parting::Later
        });
        self.hurries = moved == MOVES_MAX && !self.keys.is_empty();
    }

    /// Whether the reactor keeps all that it has.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether the reactor must not sleep before the next [`Leaving::part`].
    #[inline]
    pub fn hurries(&self) -> bool {
        self.hurries
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
}
