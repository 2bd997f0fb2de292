//! Planted bugs are found. `cargo xtask sim --planted` tries all of them, and says by which seed first;
//! here are those that few seeds suffice for.

use sim::Planted;
use std::collections::BTreeSet;
use std::thread;

/// Seeds within which a bug must be found.
const SEEDS: u64 = 2_000;

/// Bugs that a few seeds find, and a seed near the first that did, from which to search.
const QUICK: &[(Planted, u64)] = &[
    (Planted::VoteNotKept, 2),
    (Planted::FollowerExpires, 1),
    (Planted::NoUndo, 6),
    (Planted::OneApart, 1),
    (Planted::TornSnapshot, 2),
    (Planted::FollowerDoesNotApply, 1),
    (Planted::EarlyChange, 1),
    (Planted::AppliedTwice, 1),
];

#[test]
fn planted_bugs_are_found() {
    let search = |half: usize| {
        for (planted, first) in QUICK.iter().skip(half).step_by(2) {
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
