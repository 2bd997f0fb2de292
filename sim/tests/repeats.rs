//! Two runs of a seed are the same, to the last event, and find no violation.

use std::thread;

/// The number of seeds that are run twice.
const SEEDS: u64 = 10;

#[test]
fn two_runs_of_a_seed_are_the_same_and_find_nothing() {
    let half = |first: u64| {
        for seed in (first..=SEEDS).step_by(2) {
            let (one, other) = (sim::run(seed, None), sim::run(seed, None));
            assert_eq!(one, other, "seed {seed} does not repeat");
            assert_eq!(one.violation, None, "seed {seed}");
            assert!(one.answered > 100 && one.commit > 20, "seed {seed} is no test: {one:?}");
            assert_eq!(one.gave_up, 0, "seed {seed}");
        }
    };
    let other = thread::spawn(move || half(2));
    half(1);
    other.join().unwrap();
}
