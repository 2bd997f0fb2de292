//! Three servers with three groups, between which a unit of slots moves while clients write.

use crate::cluster::{TestNode, ask, three_of};
use redis::{Connection, RedisError, RedisResult};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use storage::testing::{until, until_some};

/// Long enough for a busy machine, short enough to be waited for.
const ELECTION_MS: u32 = 1_500;

/// A slot of the unit that moves, and what names keys in it.
const SLOT: &str = "7365";
const TAG: &str = "{c}";

/// The number of clients, each of which writes a key of its own.
const CLIENTS: usize = 4;

/// How often the unit moves.
const MOVES: usize = 8;

/// A client's knowledge of its key.
#[derive(Debug, Default, Clone, Copy)]
struct Written {
    /// The last number that was acknowledged.
    kept: u64,
    /// The last one that was sent.
    sent: u64,
    /// How many were acknowledged.
    count: u64,
}

/// A client that follows where it is sent.
struct Client {
    ports: Vec<u16>,
    at: usize,
    connection: Option<Connection>,
}

impl Client {
    fn new(ports: &[u16]) -> Client {
        Client { ports: ports.to_vec(), at: 0, connection: None }
    }

    /// Sends a command to the node that is thought to have the slot; another one is next if it has not.
    fn try_once<T: redis::FromRedisValue>(&mut self, words: &[&str]) -> RedisResult<T> {
        let connection = match self.connection.take() {
            Some(connection) => Ok(connection),
            None => redis::Client::open(format!("redis://127.0.0.1:{}", self.ports[self.at]))
                .and_then(|client| client.get_connection()),
        };
        let mut connection = connection.inspect_err(|_| self.turn_to(None))?;
        let answer = ask(&mut connection, words);
        match &answer {
            Ok(_) => self.connection = Some(connection),
            Err(error) => self.turn_to(error.redirect_node().map(|(to, _)| to.to_owned())),
        }
        answer
    }

    fn turn_to(&mut self, address: Option<String>) {
        let port = address.and_then(|to| to.rsplit(':').next()?.parse().ok());
        let named = self.ports.iter().position(|it| Some(*it) == port);
        self.at = named.unwrap_or((self.at + 1) % self.ports.len());
    }
}

/// Whether the command may have been executed all the same.
fn is_undecided(error: &RedisError) -> bool {
    error.is_io_error() || error.code() == Some("UNKNOWN")
}

/// Tells clients to end when it is dropped, also if the test has failed.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Writes ascending numbers until it is told to end.
fn write(name: usize, ports: &[u16], ends: &AtomicBool) -> Written {
    let (mut client, key) = (Client::new(ports), format!("{TAG}:{name}"));
    let mut written = Written::default();
    while !ends.load(Ordering::SeqCst) {
        written.sent += 1;
        let number = written.sent.to_string();
        let kept =
            until_some("it is decided", || match client.try_once::<()>(&["SET", &key, &number]) {
                Ok(()) => Some(true),
                Err(error) if is_undecided(&error) => Some(false),
                Err(_) => None,
            });
        if kept {
            written.kept = written.sent;
            written.count += 1;
        }
    }
    written
}

/// Has a node take the unit, and waits until all that run know.
fn bring(nodes: &[TestNode], to: usize) {
    let id: String = until_some("it answers", || nodes[to].ask(&["CLUSTER", "MYID"]).ok());
    let running = || nodes.iter().filter(|node| node.is_running());
    let has = |node: &TestNode| owner_of_slot(node).as_ref() == Some(&id);
    until("the unit is there", || {
        // It may not lead any group for a moment, or the group has another leader before it has moved.
        let _ = nodes[to].ask::<()>(&["CLUSTER", "SETSLOT", SLOT, "NODE", &id]);
        running().all(has)
    });
}

/// Who has the slot, as a node sees it.
fn owner_of_slot(node: &TestNode) -> Option<String> {
    type Range = (u16, u16, Vec<redis::Value>);
    let ranges: Vec<Vec<redis::Value>> = node.ask(&["CLUSTER", "SLOTS"]).ok()?;
    let slot: u16 = SLOT.parse().ok()?;
    let range = |words: Vec<redis::Value>| -> Option<Range> {
        let mut words = words.into_iter();
        let bound = |word: Option<redis::Value>| redis::from_redis_value::<u16>(word?).ok();
        let (first, last) = (bound(words.next())?, bound(words.next())?);
        redis::from_redis_value(words.next()?).ok().map(|node| (first, last, node))
    };
    let mut ranges = ranges.into_iter().filter_map(range);
    let (_, _, node) = ranges.find(|(first, last, _)| (*first..=*last).contains(&slot))?;
    redis::from_redis_value(node.get(2)?.clone()).ok()
}

#[test]
fn a_unit_moves_to_and_fro_under_load_and_nothing_acknowledged_is_lost() {
    let mut nodes = three_of(ELECTION_MS, &["--cluster-groups", "3"]);
    until("each leads a group", || (0..3).all(|at| leads(&nodes[at])));
    let ports: Vec<u16> = nodes.iter().map(TestNode::port).collect();
    let ends = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let write = |name| {
            let (ports, ends) = (&ports, &ends);
            scope.spawn(move || write(name, ports, ends))
        };
        let clients: Vec<_> = (0..CLIENTS).map(write).collect();
        let end = Ends(&ends);
        for at in 0..MOVES {
            if at == MOVES / 2 {
                let owner = owner_of_slot(&nodes[0]);
                let is_owner =
                    |node: &TestNode| node.ask::<String>(&["CLUSTER", "MYID"]).ok() == owner;
                let owner = nodes.iter().position(is_owner).expect("somebody has it");
                nodes[owner].kill();
                let other = (owner + 1) % 3;
                until("another one leads", || leads(&nodes[other]));
                bring(&nodes, other);
                nodes[owner].restart();
            }
            until("it leads", || leads(&nodes[at % 3]));
            bring(&nodes, at % 3);
        }
        drop(end);
        clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let mut client = Client::new(&ports);
    for (name, Written { kept, sent, count }) in written.into_iter().enumerate() {
        let key = format!("{TAG}:{name}");
        let found: u64 = until_some("it is read", || client.try_once(&["GET", &key]).ok());
        assert!(count > 0 && (kept..=sent).contains(&found), "{key}: {found} of {kept} to {sent}");
    }
    refuses_what_is_too_large(&nodes, &mut client);
}

/// More than a unit may have.
const LARGE: &str = "33554432";

fn refuses_what_is_too_large(nodes: &[TestNode], client: &mut Client) {
    let key = format!("{TAG}:large");
    until("it is large", || client.try_once::<u64>(&["SETRANGE", &key, LARGE, "x"]).is_ok());
    until("it is refused", || {
        let owner = owner_of_slot(&nodes[0]);
        let told = nodes.iter().filter_map(|node| {
            let id: String = node.ask(&["CLUSTER", "MYID"]).ok()?;
            let told = node.ask::<()>(&["CLUSTER", "SETSLOT", SLOT, "NODE", &id]);
            (Some(&id) != owner.as_ref()).then(|| told.err().map(|error| error.to_string()))?
        });
        // The others may not have applied it yet, or lead nothing for a moment.
        told.filter(|told| told.contains("bytes at most move")).count() == 2
    });
    until("it is served", || client.try_once(&["EXISTS", &key]) == Ok(true));
    until("it is gone", || client.try_once::<u64>(&["DEL", &key]).is_ok());
}

#[test]
fn a_unit_that_waits_is_taken_back_where_it_was_asked_for() {
    let nodes = three_of(ELECTION_MS, &["--cluster-groups", "3"]);
    until("each leads a group", || (0..3).all(|at| leads(&nodes[at])));
    let ids: Vec<String> = nodes.iter().map(|it| it.ask(&["CLUSTER", "MYID"]).unwrap()).collect();
    let owner = until_some("somebody has it", || {
        let owner = owner_of_slot(&nodes[0])?;
        ids.iter().position(|id| *id == owner)
    });
    let other = (owner + 1) % 3;
    let third = (owner + 2) % 3;
    let began = Instant::now();
    nodes[owner].running().freeze();
    until("it is asked for", || {
        let _ = nodes[other].ask::<()>(&["CLUSTER", "SETSLOT", SLOT, "NODE", &ids[other]]);
        [other, third].iter().all(|at| moving(&nodes[*at]) == Some(1))
    });
    let elsewhere = nodes[third].ask::<()>(&["CLUSTER", "SETSLOT", SLOT, "STABLE"]);
    let here = nodes[other].ask::<()>(&["CLUSTER", "SETSLOT", SLOT, "STABLE"]);
    until("nothing moves", || moving(&nodes[other]) == Some(0));
    // Otherwise another node may have given it away.
    let in_time = began.elapsed() < Duration::from_millis(ELECTION_MS.into());
    nodes[owner].running().signal(libc::SIGCONT);
    until("nobody moves anything, and all agree", || {
        let owners: Vec<_> = nodes.iter().map(owner_of_slot).collect();
        let has = [&ids[owner], &ids[other]].map(|id| Some(id.clone())).contains(&owners[0]);
        let agree = owners.iter().all(|one| *one == owners[0]);
        has && agree && nodes.iter().all(|node| moving(node) == Some(0))
    });
    // Where the unit is depends on whether the owner learnt first that it was wanted, or at once that it no longer was.
    if in_time {
        let told = elsewhere.unwrap_err().to_string();
        assert!(told.contains(&format!("127.0.0.1:{} leads", nodes[other].port())), "{told}");
        assert_eq!(here, Ok(()));
    }
}

/// The number of units that a node knows to move, or to be about to.
fn moving(node: &TestNode) -> Option<u64> {
    let info: String = node.ask(&["CLUSTER", "INFO"]).ok()?;
    let mut lines = info.lines();
    lines.find_map(|line| line.strip_prefix("varve_cluster_units_moving:")?.trim().parse().ok())
}

/// Whether a node leads any group.
fn leads(node: &TestNode) -> bool {
    let lines: RedisResult<String> = node.ask(&["CLUSTER", "NODES"]);
    lines.is_ok_and(|lines| lines.lines().any(|line| line.contains("myself,master")))
}

#[test]
fn who_waits_for_a_key_is_told_when_it_is_served_elsewhere_or_nowhere() {
    let nodes = three_of(ELECTION_MS, &["--cluster-groups", "3"]);
    until("each leads a group", || (0..3).all(|at| leads(&nodes[at])));
    let ids: Vec<String> = nodes.iter().map(|it| it.ask(&["CLUSTER", "MYID"]).unwrap()).collect();
    let owner = || {
        until_some("somebody has it", || {
            let owner = owner_of_slot(&nodes[0])?;
            ids.iter().position(|id| *id == owner)
        })
    };
    let (pop, read) = (["BLPOP", "{c}:l", "0"], ["XREAD", "BLOCK", "0", "STREAMS", "{c}:s", "$"]);
    // The unit moves.
    let (at, to) = (owner(), (owner() + 1) % 3);
    let told = while_waiting(&nodes[at], &[&pop, &read], || bring(&nodes, to));
    let moved = format!("MOVED {SLOT} 127.0.0.1:{}", nodes[to].port());
    assert!(told.iter().all(|told| told.contains(&moved)), "{told:?}");
    // Another node leads, because this one was away.
    let third = (to + 1) % 3;
    let told = while_waiting(&nodes[to], &[&pop], || {
        nodes[to].running().freeze();
        until("another one leads", || {
            owner_of_slot(&nodes[third]).is_some_and(|owner| owner != ids[to])
        });
        nodes[to].running().signal(libc::SIGCONT);
    });
    assert!(told[0].contains("MOVED") || told[0].contains("CLUSTERDOWN"), "{told:?}");
    // Nobody else is there to agree on anything.
    let at = until_some("it serves the slot", || {
        let at = owner();
        nodes[at].ask::<u64>(&["EXISTS", "{c}:l"]).is_ok().then_some(at)
    });
    let others = || nodes.iter().enumerate().filter(|(it, _)| *it != at).map(|(_, node)| node);
    let told = while_waiting(&nodes[at], &[&pop, &read], || {
        others().for_each(|node| node.running().freeze());
    });
    others().for_each(|node| node.running().signal(libc::SIGCONT));
    assert!(told.iter().all(|told| told.contains("CLUSTERDOWN")), "{told:?}");
}

/// The errors that clients get whose requests wait at a node while something happens.
fn while_waiting<'r>(
    node: &TestNode,
    requests: &'r [&'r [&'r str]],
    happens: impl FnOnce(),
) -> Vec<String> {
    let blocked = || -> Option<usize> {
        let info: String = node.ask(&["INFO", "clients"]).ok()?;
        info.lines().find_map(|line| line.strip_prefix("blocked_clients:")?.trim().parse().ok())
    };
    thread::scope(|scope| {
        let wait = |words: &'r &'r [&'r str]| {
            let (mut connection, words) = (node.running().connect(), words.to_vec());
            scope.spawn(move || ask::<redis::Value>(&mut connection, &words))
        };
        let waiting: Vec<_> = requests.iter().map(wait).collect();
        until("they wait", || blocked() == Some(requests.len()));
        happens();
        let told = waiting.into_iter().map(|it| it.join().unwrap());
        let told = told.map(|told| told.expect_err("nobody writes the key"));
        let words = |error: RedisError| {
            [error.code(), error.detail()].map(Option::unwrap_or_default).join(" ")
        };
        told.map(words).collect()
    })
}
