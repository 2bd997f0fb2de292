//! Planted bugs are found: those for which few seeds suffice, from the seed that found each before.
//! `cargo xtask sim --planted` tries all there are, and reports the first seed that finds each.

use sim::Planted;
use std::collections::BTreeSet;
use std::thread;

/// The number of seeds within which a bug must be found.
const SEEDS: u64 = 100;

#[test]
fn planted_bugs_are_found() {
    let search = |half: usize| {
        for (planted, first) in Planted::QUICK.iter().skip(half).step_by(2) {
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
