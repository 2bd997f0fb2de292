//! Planted bugs are found. This tests a few of those for which few seeds suffice, because a debug
//! build is slow. CI has the release build find all of these (`cargo xtask sim --planted --quick`);
//! without `--quick` it tries all there are, and reports the first seed that finds each.

use sim::Planted;
use std::collections::BTreeSet;
use std::thread;

/// The number of seeds within which a bug must be found.
const SEEDS: u64 = 100;

#[test]
fn planted_bugs_are_found() {
    let search = |half: usize| {
        for (planted, first) in Planted::QUICK.iter().skip(half).step_by(4) {
            let found = sim::find(*planted, *first, SEEDS);
            assert!(found.is_some(), "{planted:?} is not found in {SEEDS} seeds");
        }
    };
    let other = thread::spawn(move || search(2));
    search(0);
    other.join().unwrap();
}

#[test]
fn bugs_are_listed_once() {
    let names: BTreeSet<String> = Planted::ALL.iter().map(|it| format!("{it:?}")).collect();
    assert_eq!(names.len(), Planted::ALL.len());
}
