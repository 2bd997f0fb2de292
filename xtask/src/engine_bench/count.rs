//! `bench engine --count NAME`: runs one command so that callgrind counts the same instructions
//! every time: one thread, seeded hashes and draws, a clock that stands still, and a stopwatch that
//! counts its readings. Only one function is counted, so start-up and data do not matter.

use super::cases::Case;
use super::rig::{Clients, Rig, Round, open};
use anyhow::{Result, ensure};
use runtime::Now;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Requests counted.
pub const REQUESTS: usize = 16_384;

/// The number of requests before the counted ones, so that what is allocated only once exists.
const WARM_UP: usize = 2048;

/// Connections that have a batch in each turn.
const CONNECTIONS: usize = 16;

/// Always the same, so that counts can be compared; few, so that each shard sees some hundred requests.
const SHARDS: u32 = 64;

/// The time of the run.
const NOW: Now = Now { wall_ms: 1_700_000_000_000, mono_us: 1_000_000 };

/// Prepares the data, runs the counted part, and then checks its result.
pub fn run(case: &Case, pipeline: usize) -> Result<()> {
    let rig = Rig::new(open("memory", Path::new(""), SHARDS)?, tick, NOW)?;
    rig.load(&case.preload()?, case.keys, NOW)?;
    let mut clients = rig.connect(CONNECTIONS, NOW)?;
    let mut requests = case.requests()?;
    let mut turns = |count: usize| -> Vec<Round> {
        let turn = |_| {
            let mut turn = Round::default();
            turn.refill(&mut requests, CONNECTIONS, pipeline);
            turn
        };
        (0..count.div_ceil(CONNECTIONS * pipeline)).map(turn).collect()
    };
    let (before, counted) = (turns(WARM_UP), turns(REQUESTS));
    for turn in &before {
        clients.turn(turn, NOW)?;
    }
    let ran = || {
        let entry = rig.engine().commands.find(case.command().as_bytes());
        entry.map(|entry| rig.engine().observe.stats.command(entry.id)).unwrap_or_default()
    };
    let earlier = ran().calls;
    let answered = count_callgrind(&mut clients, &counted)?;
    let calls = ran().calls - earlier;
    ensure!(calls == REQUESTS as u64, "{calls} calls instead of {REQUESTS}");
    ensure!(ran().failed == 0, "{} calls failed", ran().failed);
    println!("{REQUESTS} requests answered with {answered} bytes");
    Ok(())
}

/// The part that callgrind counts: it knows the function by its name.
#[inline(never)]
fn count_callgrind(clients: &mut Clients, turns: &[Round]) -> Result<usize> {
    let mut answered = 0;
    for turn in turns {
        answered += clients.turn(turn, NOW)?;
    }
    Ok(answered)
}

/// A stopwatch by which everything takes two hundred nanoseconds.
fn tick() -> u64 {
    static READ: AtomicU64 = AtomicU64::new(0);
    READ.fetch_add(200, Ordering::Relaxed)
}
