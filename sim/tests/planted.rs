//! Planted bugs are found, every one. `cargo xtask sim --planted` searches from the first seed.

use sim::Planted;
use std::collections::BTreeSet;
use std::thread;

/// Seeds within which a bug must be found.
const SEEDS: u64 = 2_000;

/// Each with the first seed that found it, from which to search: the engine may have changed since.
const FIRST: &[(Planted, u64)] = &[
    (Planted::VoteNotKept, 2),
    (Planted::AcknowledgedUnsynced, 29),
    (Planted::EarlyReads, 4),
    (Planted::NoLeaseCheck, 59),
    (Planted::ConditionNotWithheld, 41),
    (Planted::OlderTerm, 13),
    (Planted::FollowerExpires, 1),
    (Planted::NoUndo, 6),
    (Planted::OneApart, 1),
    (Planted::TornSnapshot, 2),
    (Planted::FollowerDoesNotApply, 1),
    (Planted::EarlyChange, 1),
    (Planted::MovedForCommitted, 11),
    (Planted::VotesAtOnce, 8),
    (Planted::LeaseSurvivesTransfer, 129),
    (Planted::ExecSplit, 77),
    (Planted::AppliedTwice, 1),
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
    assert_eq!(FIRST.len(), Planted::ALL.len());
}
