//! The cluster in one thread, from one seed. Only tests use it.
//!
//! [`run`] plays fifteen seconds: nodes with real engines, groups and log segments on virtual disks, a
//! virtual network, clocks that differ, clients that ask; for eight seconds faults of all kinds at once,
//! then everything heals. It looks after every step whether what must hold does ([`oracle`]), at the end
//! whether clients were served again and whether what they saw can have happened ([`check`]).
//!
//! The same seed is the same run, to the last event: [`Report::digest`] says so.
//!
//! It promises that whatever it finds happens again. It must not read a clock or a random source, nor
//! depend on the order of a hash map.

pub mod check;
mod client;
mod command;
mod digest;
mod nemesis;
mod network;
mod node;
pub mod oracle;
mod planted;
mod world;

pub use command::{Answer, Command, Micro, Reply};
pub use planted::Planted;

use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

/// How a run went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// What went wrong first.
    pub violation: Option<String>,
    /// Of all that happened.
    pub digest: u64,
    /// Operations that were answered.
    pub answered: u64,
    /// The last committed entry.
    pub commit: u64,
    /// Checks that took too long.
    pub gave_up: u64,
}

/// Plays a seed, with a planted bug or none.
pub fn run(seed: u64, planted: Option<Planted>) -> Report {
    let mut world = World::new(seed, planted);
    // A panic is a violation like others, and a planted bug may well lead to one.
    let played = catch_unwind(AssertUnwindSafe(|| world.run()));
    let (checked, gave_up) = match played {
        Ok(_) => world.clients.check(),
        Err(_) => (Ok(()), 0),
    };
    let violation = match &played {
        Err(panic) => Some(format!("panic: {}", text_of(panic.as_ref()))),
        Ok(_) => world.oracle.violation.take().or(checked.err()),
    };
    Report {
        seed,
        violation,
        digest: played.unwrap_or_default(),
        answered: world.clients.answered,
        commit: world.oracle.commit(),
        gave_up,
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}

/// The first of the seeds from `first` on that finds a planted bug, and what it found.
pub fn find(planted: Planted, first: u64, seeds: u64) -> Option<(u64, String)> {
    let found = |seed| run(seed, Some(planted)).violation.map(|what| (seed, what));
    (first..first + seeds).find_map(found)
}
