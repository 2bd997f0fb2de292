//! Programs about keys that expire while they are watched.
//!
//! The other side uses real time. So keys live for [`LIFE_MS`] or for ever, and time passes only
//! where a program waits for a list in vain, for longer than any key lives.

use super::Command;
use super::pools::Pools;

/// The time to live of a key that is to expire.
const LIFE_MS: &str = "100";
/// The duration of a wait, in seconds.
const WAIT_S: &str = "0.12";

const KEYS: &[&str] = &["s1", "s2", "l1"];

/// Requests in between; `K` is a key, `L` its life.
const TOUCHES: &[&str] = &[
    "EXISTS K",
    "GET K",
    "TYPE K",
    "DEL K",
    "UNLINK K",
    "GETDEL K",
    "PERSIST K",
    "EXPIRE K 100",
    "PEXPIRE K L",
    "SET K v",
    "SET K v PX L",
    "SET K v KEEPTTL",
    "SET K v NX",
    "SET K v XX",
    "APPEND K v",
    "GETEX K PX L",
    "RENAME K K",
    "RENAMENX K K",
    "COPY K K",
    "COPY K K REPLACE",
    "COPY K K DB 1",
    "MOVE K 1",
    "SINTERSTORE K none",
    "SORT K ALPHA STORE K",
    "SCAN 0 COUNT 100000",
    "SCAN 0 MATCH s* COUNT 100000",
    "SCAN 0 MATCH s* TYPE list COUNT 100000",
    "KEYS *",
    "DBSIZE",
    "DBSIZE",
    "SELECT 0",
    "SELECT 1",
    "SWAPDB 0 1",
    "SWAPDB 0 1",
    "FLUSHDB",
    "FLUSHALL",
    "UNWATCH",
    "WATCH K",
];

/// The number of keys of each database, including expired ones that were not deleted yet.
const SIZES: &str = "return {string.match(redis.call('INFO', 'keyspace'), 'db0:keys=%d+,expires=%d+') or '', string.match(redis.call('INFO', 'keyspace'), 'db1:keys=%d+,expires=%d+') or ''}";

fn words(line: &str, pools: &mut Pools<'_>) -> Vec<Vec<u8>> {
    let word = |word: &str| match word {
        "K" => pools.pick(KEYS).into(),
        "L" => LIFE_MS.into(),
        word => word.as_bytes().to_vec(),
    };
    line.split(' ').map(word).collect()
}

fn says(client: u64, line: &str, pools: &mut Pools<'_>) -> Command {
    Command { client: client as usize, args: words(line, pools) }
}

/// Keys, a client that watches them, time, changes, and a transaction.
pub fn scene(pools: &mut Pools<'_>, commands: &mut Vec<Command>) {
    for _ in 0..1 + pools.below(3) {
        let make = ["SET K v PX L", "SET K v PX L", "SET K v", "RPUSH l1 a"];
        let line = pools.pick(&make);
        let client = pools.below(2);
        commands.push(says(client, line, pools));
        if pools.chance(20) {
            commands.push(says(client, "PEXPIRE K L", pools));
        }
    }
    pass(70, pools, commands);
    for client in 0..2 {
        if client == 0 || pools.chance(40) {
            commands.push(says(client, "WATCH K", pools));
        }
    }
    pass(30, pools, commands);
    touch(3, pools, commands);
    pass(20, pools, commands);
    for client in 0..2 {
        commands.push(says(client, "MULTI", pools));
        for _ in 0..1 + pools.below(2) {
            let line = pools.pick(&["PING", "EXISTS K", "SET K w", "DBSIZE"]);
            commands.push(says(client, line, pools));
        }
        commands.push(says(client, "EXEC", pools));
        touch(1, pools, commands);
    }
    commands.push(Command::new(&["EVAL", SIZES, "0"]));
}

/// Time passes, `percent` of a hundred times.
fn pass(percent: u64, pools: &mut Pools<'_>, commands: &mut Vec<Command>) {
    if pools.chance(percent) {
        commands.push(Command::new(&["BLPOP", "none", WAIT_S]));
    }
}

fn touch(most: u64, pools: &mut Pools<'_>, commands: &mut Vec<Command>) {
    for _ in 0..pools.below(most + 1) {
        let (client, line) = (pools.below(2), pools.pick(TOUCHES));
        commands.push(says(client, line, pools));
    }
}
