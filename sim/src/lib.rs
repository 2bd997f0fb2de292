//! Simulates a cluster in one thread from one seed. Only tests and `cargo xtask sim` use it.
//!
//! [`run`] simulates fifteen seconds: nodes with real engines, one to three groups and log segments on virtual
//! disks, a virtual network, clocks that differ, and clients. For eight seconds faults of all kinds
//! occur, then everything heals. After every step it checks the invariants ([`oracle`]). At the end
//! it checks that clients were served again after the faults, and that the history they saw is
//! possible ([`check`]).
//!
//! The same seed gives the same run, to the last event; [`Report::digest`] proves it. So every
//! finding can be repeated. For this, the crate must not read a clock or a random source, nor
//! depend on the order of a hash map.
//!
//! | module | what |
//! | --- | --- |
//! | `client` | clients, which send one command after the other and record the history of what they saw |
//! | `command` | the commands that clients send to nodes and the replies they get: a few Redis commands on numbers and lists |
//! | `digest` | a digest of bytes and numbers: FNV-1a over words |
//! | `nemesis` | injects faults, and plays the operator who changes the membership meanwhile |
//! | `network` | the network, with delay, loss, duplication, reordering, and cuts in one or both directions |
//! | `node` | a node: a real engine as a real member of a group, with a session for each operation of a client |
//! | `planted` | bugs that are planted on purpose, to prove that the simulator finds them |
//! | `world` | the simulated world: one thread, one queue of events, one seed |

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

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The seed of the run.
    pub seed: u64,
    /// The first violation that was found, in words.
    pub violation: Option<String>,
    /// A digest of all events.
    pub digest: u64,
    /// The number of operations that were executed and answered.
    pub answered: u64,
    /// The index of the last committed entry, of all groups together.
    pub commit: u64,
    /// The number of checks that gave up because they took too long.
    pub gave_up: u64,
}

/// Runs a seed, with a planted bug or none.
pub fn run(seed: u64, planted: Option<Planted>) -> Report {
    let mut world = World::new(seed, planted);
    // A panic is a violation like any other. A planted bug may well lead to one.
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
        commit: world.layout.groups().map(|group| world.oracle.commit(group)).sum(),
        gave_up,
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}

/// Searches `seeds` seeds from `first` on for one that finds the planted bug. Returns the seed and
/// the violation.
pub fn find(planted: Planted, first: u64, seeds: u64) -> Option<(u64, String)> {
    let found = |seed| run(seed, Some(planted)).violation.map(|what| (seed, what));
    (first..first + seeds).find_map(found)
}
