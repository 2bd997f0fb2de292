//! The suite of journals: what every one promises, as tests that a journal runs in one line.
//!
//! ```text
//! storage::testing::journals!(aof, || open_in_a_new_directory());
//! ```
//!
//! The second argument makes an empty journal, as an `Arc<J>`, together with what has to live as long.

use crate::journal::{Fate, Journal, LOG, Position};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

pub use crate::__journal_suite as journals;

/// Runs every test of the suite against one journal; see [`crate::testing::journals`].
#[doc(hidden)]
#[macro_export]
macro_rules! __journal_suite {
    ($name:ident, $make:expr) => {
        $crate::__journal_suite! { @tests $name, $make;
            positions_grow, what_is_synced_is_kept, kept_is_kept_from_the_front,
            who_waits_is_woken, before_every_effect_nothing_waits, what_is_admitted_is_taken,
            threads_get_positions_of_their_own, handing_on_decides_nothing_else
        }
    };
    (@tests $name:ident, $make:expr; $($test:ident),+) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            $(#[test]
            fn $test() {
                let (journal, _kept) = ($make)();
                $crate::testing::journals::$test(&*journal);
            })+
        }
    };
}

/// Counts how often it was woken.
#[derive(Default)]
struct TestWaker(AtomicUsize);

impl Wake for TestWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn append(journal: &dyn Journal, key: &str) -> Position {
    journal.append(0, 0, &[b"SET", key.as_bytes(), b"value"]).unwrap()
}

fn fate(journal: &dyn Journal, position: Position) -> Fate {
    journal.poll(position, Waker::noop())
}

pub fn positions_grow(journal: &dyn Journal) {
    let first = append(journal, "a");
    let encoded = journal.append_encoded(0, 1, b"*2\r\n$4\r\nINCR\r\n$1\r\na\r\n").unwrap();
    let effect = |key: &str| (2, vec![b"INCR".to_vec(), key.as_bytes().to_vec()]);
    let one = journal.append_atomic(0, &[effect("b")]).unwrap();
    let many = journal.append_atomic(0, &[effect("b"), effect("c")]).unwrap();
    assert!(first < encoded && encoded < one && one < many);
    assert_eq!(append(journal, "d").stream, first.stream);
}

pub fn what_is_synced_is_kept(journal: &dyn Journal) {
    let position = append(journal, "a");
    assert_ne!(fate(journal, position), Fate::Unknown);
    journal.sync().unwrap();
    assert_eq!(fate(journal, position), Fate::Kept);
    journal.sync().unwrap();
    assert_eq!(fate(journal, position), Fate::Kept, "it stays so");
}

pub fn kept_is_kept_from_the_front(journal: &dyn Journal) {
    let positions: Vec<_> = (0..20).map(|n| append(journal, &n.to_string())).collect();
    journal.sync().unwrap();
    let later = append(journal, "later");
    assert!(positions.iter().rev().all(|position| fate(journal, *position) == Fate::Kept));
    assert!(matches!(fate(journal, later), Fate::Kept | Fate::Pending));
}

pub fn who_waits_is_woken(journal: &dyn Journal) {
    let waker = Arc::new(TestWaker::default());
    let position = append(journal, "a");
    let fate_now = journal.poll(position, &Waker::from(waker.clone()));
    journal.sync().unwrap();
    assert_eq!(fate(journal, position), Fate::Kept);
    assert!(fate_now == Fate::Kept || waker.0.load(Ordering::SeqCst) > 0);
}

pub fn before_every_effect_nothing_waits(journal: &dyn Journal) {
    append(journal, "a");
    assert_eq!(fate(journal, Position::log(0)), Fate::Kept);
    assert_eq!(Position::log(0), Position { stream: LOG, seq: 0 });
}

pub fn what_is_admitted_is_taken(journal: &dyn Journal) {
    assert_eq!(journal.admit(0), Ok(()));
    let effect = |key: &str| (0, vec![b"INCR".to_vec(), key.as_bytes().to_vec()]);
    assert!(journal.append(0, 0, &[b"DEL", b"a"]).is_ok());
    assert!(journal.append_atomic(0, &[effect("a"), effect("b")]).is_ok());
    assert_eq!(journal.failure(), None);
}

pub fn threads_get_positions_of_their_own(journal: &dyn Journal) {
    let mut all = std::thread::scope(|scope| {
        let work = || (0..100).map(|n| append(journal, &n.to_string())).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        let each = threads.into_iter().map(|thread| thread.join().unwrap());
        each.inspect(|mine| assert!(mine.is_sorted())).flatten().collect::<Vec<_>>()
    });
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 400);
    journal.sync().unwrap();
    assert!(all.iter().all(|position| fate(journal, *position) == Fate::Kept));
}

pub fn handing_on_decides_nothing_else(journal: &dyn Journal) {
    let (first, last) = (append(journal, "a"), append(journal, "b"));
    for position in [last, first, last, Position::log(0)] {
        journal.write_up_to(position);
        assert_ne!(fate(journal, position), Fate::Unknown);
    }
    assert!(append(journal, "c") > last);
}
