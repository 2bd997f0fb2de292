//! Planted bugs are found. This tests those for which few seeds suffice in a debug build.
//! `cargo xtask sim --planted` tries all of them, and reports the first seed that finds each.

use sim::Planted;
use std::collections::BTreeSet;
use std::thread;

/// The number of seeds within which a bug must be found.
const SEEDS: u64 = 100;

/// The bugs that few seeds find, each with the first seed that found it. The search begins there,
/// because a changed engine may need another seed.
const FIRST: &[(Planted, u64)] = &[
    (Planted::VoteNotKept, 2),
    (Planted::EarlyReads, 75),
    (Planted::OlderTerm, 119),
    (Planted::FollowerExpires, 1),
    (Planted::NoUndo, 1),
    (Planted::OneApart, 1),
    (Planted::TornSnapshot, 1),
    (Planted::FollowerDoesNotApply, 1),
    (Planted::EarlyChange, 1),
    (Planted::MovedForCommitted, 10),
    (Planted::AppliedTwice, 1),
    (Planted::ReadsUnapplied, 9),
    (Planted::AcquiredEarly, 1),
    (Planted::ReleasedUnfenced, 2),
];

#[test]
fn planted_bugs_are_found() {
    let search = |half: usize| {
        for (planted, first) in FIRST.iter().skip(half).step_by(2) {
            let found = sim::find(*planted, *first, SEEDS);
            assert!(found.is_some(), "{planted:?} is not found in {SEEDS} seeds");
        }
    };
    let other = thread::spawn(move || search(1));
    search(0);
    other.join().unwrap();
}

#[test]
fn bugs_are_listed_once() {
    let names: BTreeSet<String> = Planted::ALL.iter().map(|it| format!("{it:?}")).collect();
    assert_eq!(names.len(), Planted::ALL.len());
}
