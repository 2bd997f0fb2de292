//! Three nodes with real engines. Their disks and their network need no time.

mod groups;
mod moves;
mod suite;

use crate::loading::Bounds;
use crate::{
    FIRST_GROUP, Flaws, Member, Node, NodeConfig, Opened, Output, Packet, Restoring, State,
    contents_of,
};
use consensus::testing::Disk;
use consensus::{Files as _, MessageKind, NodeId, Settings};
use engine::config::ConfigStore;
use engine::gate::Gate;
use engine::replay::Replayer;
use engine::testing::{Harness, START_MS, text};
use engine::{Engine, Environment, NoHost, Parts};
use runtime::Now;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use storage::Journal;
use storage::journal::Fate;
use storage_memory::{BySlot, Config, MemoryBackend};

/// A node, its clients, and its disk.
struct TestNode {
    node: Node<Disk>,
    clients: Harness,
    disk: Disk,
    /// The number of times that its disk had no room for a snapshot.
    full: usize,
    /// Whether loading a snapshot takes time, and what is being loaded.
    slow: bool,
    loading: Option<Box<Restoring>>,
}

struct Trio {
    nodes: BTreeMap<NodeId, TestNode>,
    /// The time in microseconds.
    now: Arc<AtomicU64>,
    /// The nodes that are cut off from the others.
    away: Vec<NodeId>,
    /// How often a follower has asked how far it has to be.
    asked: usize,
}

/// The largest record, in bytes.
const RECORD_MAX: usize = 2 << 20;

fn start(id: NodeId, disk: Disk, now: &Arc<AtomicU64>) -> TestNode {
    start_with(1, id, disk, now)
}

/// A node of so many groups.
fn start_with(groups: u16, id: NodeId, disk: Disk, now: &Arc<AtomicU64>) -> TestNode {
    let config = NodeConfig {
        seed: 7,
        groups,
        units: 4,
        founders: if id > 4 { vec![] } else { vec![1, 2, 3] },
        addresses: (1..=3).map(|id| (id, format!("node:{id}").into())).collect(),
        settings: Settings { record_max: RECORD_MAX, ..Settings::new(id) },
        segment_bytes: 4_096,
        snapshot_entries: 50,
        snapshot_bytes: 1 << 20,
        flaws: Flaws::default(),
    };
    let time = now.clone();
    let clock = move || {
        let mono_us = time.load(Ordering::SeqCst);
        Now { wall_ms: START_MS + mono_us / 1_000, mono_us }
    };
    let started = clock();
    let opened = Opened::open(config, disk.clone(), Arc::new(clock), Arc::new(|| {})).unwrap();
    let backend = MemoryBackend::new(Config { shards: 4, databases: 1, ..Config::default() });
    let backend = BySlot::new(backend, engine::commit::slot);
    let environment = Environment { stopwatch: || 0, seed: id, started, host: Arc::new(NoHost) };
    let parts = Parts {
        backend: Arc::new(backend),
        journal: Some(opened.groups.clone()),
        config: Arc::new(ConfigStore::new()),
        commands: commands::all(),
        environment,
    };
    let engine = Engine::new(parts).unwrap();
    TestNode {
        node: opened.start(engine.clone()).unwrap(),
        clients: Harness::around(engine),
        disk,
        full: 0,
        slow: false,
        loading: None,
    }
}

impl Trio {
    fn new() -> Trio {
        Trio::of(1)
    }

    /// Nodes of so many groups.
    fn of(groups: u16) -> Trio {
        let now = Arc::new(AtomicU64::new(1_000_000));
        let start = |id| start_with(groups, id, Disk::default(), &now);
        let nodes = (1..=3).map(|id| (id, start(id))).collect();
        Trio { nodes, now, away: Vec::new(), asked: 0 }
    }

    /// Does all pending work and delivers all messages, until nothing is left.
    fn settle(&mut self) {
        loop {
            let mut packets: Vec<Packet> = Vec::new();
            for host in self.nodes.values_mut() {
                host.node.flush();
                host.node.turn(&mut ()).unwrap();
                while let Some(output) = host.node.out.pop() {
                    match output {
                        Output::Send(packet) => packets.push(*packet),
                        Output::Sync => host.node.synced().unwrap(),
                        Output::Capture(capture) => host.node.captured(capture.run()).unwrap(),
                        Output::Keep(keeping) => host.node.kept(keeping.run()).unwrap(),
                        Output::Snapshot(wanted) => {
                            let (group, message, mut snapshot) = *wanted;
                            let most = snapshot.length() as usize;
                            let data = snapshot.piece(most).unwrap().unwrap_or_default().into();
                            host.node.snapshot_sent(group, message.to, true);
                            packets.push(Packet { group, message, data: Some(State::Bytes(data)) });
                        }
                        Output::Restore(restoring) if host.slow => host.loading = Some(restoring),
                        Output::Restore(restoring) => host.node.restored(restoring.run()).unwrap(),
                        Output::Full => host.full += 1,
                    }
                    host.node.turn(&mut ()).unwrap();
                }
                host.clients.advance(0);
            }
            let asks = |packet: &&Packet| packet.message.kind == MessageKind::ReadIndex;
            self.asked += packets.iter().filter(asks).count();
            let away = &self.away;
            packets.retain(|Packet { message, .. }| {
                !away.contains(&message.from) && !away.contains(&message.to)
            });
            if packets.is_empty() {
                return;
            }
            for packet in packets {
                self.host(packet.message.to).node.receive(packet).unwrap();
            }
        }
    }

    /// Lets time pass until a leader other than `than` serves.
    fn elect(&mut self, than: NodeId) -> NodeId {
        for _ in 0..100 {
            self.pass(100);
            let ready = |(id, host): &(&NodeId, &TestNode)| {
                **id != than && !self.away.contains(id) && host.node.member().may_append().is_ok()
            };
            if let Some((id, _)) = self.nodes.iter().find(ready) {
                return *id;
            }
        }
        panic!("nobody leads");
    }

    fn pass(&mut self, ms: u64) {
        self.now.fetch_add(ms * 1_000, Ordering::SeqCst);
        for host in self.nodes.values_mut() {
            host.clients.advance(ms);
            host.node.tick();
        }
        self.settle();
    }

    fn host(&mut self, id: NodeId) -> &mut TestNode {
        self.nodes.get_mut(&id).unwrap()
    }

    /// The replies that a client of a node has received once all pending work is done.
    fn ask(&mut self, id: NodeId, line: &str) -> String {
        self.host(id).clients.send("client", line);
        self.settle();
        let replies = self.host(id).clients.replies("client");
        replies.iter().map(text).collect::<Vec<_>>().join("; ")
    }

    fn followers(&self, leader: NodeId) -> Vec<NodeId> {
        self.nodes.keys().copied().filter(|id| *id != leader).collect()
    }

    fn keys(&self, id: NodeId) -> Vec<String> {
        let contents = contents_of(self.nodes[&id].node.engine()).unwrap();
        contents.keys().map(|key| String::from_utf8_lossy(key).into_owned()).collect()
    }
}

#[test]
fn a_leader_serves_and_followers_have_what_it_did() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    assert_eq!(trio.ask(leader, "SET k v"), "OK");
    assert_eq!(trio.ask(leader, "RPUSH l a b"), "(integer) 2");
    assert_eq!(trio.ask(leader, "GET k"), "\"v\"");
    let expected = contents_of(trio.nodes[&leader].node.engine()).unwrap();
    for id in trio.followers(leader) {
        assert_eq!(contents_of(trio.nodes[&id].node.engine()).unwrap(), expected);
        assert_eq!(trio.ask(id, "GET k"), format!("(error) MOVED 7629 node:{leader}"));
    }
}

#[test]
fn replies_wait_for_a_quorum_and_reads_for_a_round() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    assert_eq!(trio.ask(leader, "SET k v"), "OK");
    trio.away = trio.followers(leader);
    assert_eq!(trio.ask(leader, "SET k w"), "");
    trio.host(leader).clients.send("other", "GET k");
    assert_eq!(
        trio.host(leader).clients.replies("other"),
        [],
        "what is not committed is not shown"
    );
    // The lease has ended: even keys that nobody here has changed may have been changed elsewhere.
    trio.now.fetch_add(900_000, Ordering::SeqCst);
    trio.host(leader).clients.send("third", "GET nothing");
    trio.settle();
    assert_eq!(trio.host(leader).clients.replies("third"), []);
    trio.away.clear();
    trio.pass(100);
    for (client, expected) in [("client", "OK"), ("other", "\"w\""), ("third", "(nil)")] {
        let replies = trio.host(leader).clients.replies(client);
        assert_eq!(replies.iter().map(text).collect::<Vec<_>>(), [expected], "{client}");
    }
}

#[test]
fn nobody_waits_for_ever_for_what_is_not_decided() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    assert_eq!(trio.ask(leader, "SET k 1"), "OK");
    trio.away = trio.followers(leader);
    assert_eq!(trio.ask(leader, "SET k 2"), "");
    (0..60).for_each(|_| trio.pass(100));
    let told = trio.host(leader).clients.replies("client");
    let told: Vec<String> = told.iter().map(text).collect();
    assert!(told.len() == 1 && told[0].starts_with("(error) UNKNOWN "), "{told:?}");
    // The write may have been committed elsewhere, so the state here is not shown even to clients
    // that accept stale data.
    assert_eq!(trio.ask(leader, "READONLY"), "OK");
    assert_eq!(trio.ask(leader, "GET k"), "(error) CLUSTERDOWN Hash slot not served");
    trio.away.clear();
    (0..30).for_each(|_| trio.pass(100));
    let next = trio.elect(0);
    assert_eq!(trio.ask(next, "GET k"), "\"2\"");
}

#[test]
fn what_a_deposed_leader_did_is_undone_and_said_so() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    assert_eq!(trio.ask(leader, "SET kept 1"), "OK");
    trio.away = vec![leader];
    assert_eq!(trio.ask(leader, "SET cut 1"), "");
    assert_eq!(trio.keys(leader), ["cut", "kept"]);
    let next = trio.elect(leader);
    assert_eq!(trio.ask(next, "SET later 1"), "OK");
    trio.away.clear();
    trio.pass(100);
    trio.pass(100);
    let told = trio.ask(leader, "PING");
    assert!(told.starts_with("(error) MOVED ") && told.contains(&format!("node:{next}")), "{told}");
    assert_eq!(trio.keys(leader), ["kept", "later"]);
}

#[test]
fn what_is_executed_while_the_fence_falls_is_cut_and_undone() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    assert_eq!(trio.ask(leader, "SET kept 1"), "OK");
    let host = trio.host(leader);
    let member = host.node.member().clone();
    // A thread was admitted and has changed the state; then the driver's thread overtakes it.
    assert!(member.may_append().is_ok());
    let (mut batch, bytes) = (resp::Batch::new(), b"*3\r\n$3\r\nSET\r\n$4\r\nlate\r\n$1\r\n1\r\n");
    let _ = resp::Parser::new().parse(bytes, 1, &resp::Limits::default(), &mut batch);
    let request = batch.view(batch.request(0), bytes);
    Replayer::new(host.node.engine()).apply(0, request).unwrap();
    let to = trio.followers(leader)[0];
    member.with(|group| group.transfer(to)).unwrap();
    let position = member.append(0, 0, &[b"SET", b"late", b"1"]).unwrap();
    assert!(matches!(member.poll(position, Waker::noop()), Fate::Cut(_)));
    assert_eq!(trio.keys(leader), ["kept", "late"]);
    trio.settle();
    assert_eq!(trio.keys(leader), ["kept"]);
}

#[test]
fn only_the_leader_deletes_what_has_expired() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    assert_eq!(trio.ask(leader, "SET k v PX 500"), "OK");
    for _ in 0..10 {
        trio.pass(100);
    }
    let follower = trio.followers(leader)[0];
    assert_eq!(trio.ask(follower, "DBSIZE"), "(integer) 1");
    assert_eq!(trio.keys(follower), ["k"]);
    assert_eq!(trio.ask(leader, "GET k"), "(nil)");
    assert!(trio.keys(follower).is_empty());
}

#[test]
fn who_has_said_readonly_reads_from_followers_and_writes_nowhere_else() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    assert_eq!(trio.ask(leader, "SET k v"), "OK");
    let follower = trio.followers(leader)[0];
    assert_eq!(trio.ask(follower, "READONLY"), "OK");
    assert_eq!(trio.ask(follower, "GET k"), "\"v\"");
    let moved = format!("(error) MOVED 7629 node:{leader}");
    assert_eq!(trio.ask(follower, "SET k w"), moved);
    assert_eq!(trio.ask(follower, "READWRITE"), "OK");
    assert_eq!(trio.ask(follower, "GET k"), moved);
}

#[test]
fn a_node_comes_back_with_snapshot_and_log() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    for at in 0..120 {
        assert_eq!(trio.ask(leader, &format!("SET key:{at} {at}")), "OK");
    }
    let expected = contents_of(trio.nodes[&leader].node.engine()).unwrap();
    assert!(trio.nodes[&leader].node.member().group().base().index > 1, "no snapshot was taken");
    let id = trio.followers(leader)[0];
    let host = start(id, trio.nodes[&id].disk.clone(), &trio.now);
    trio.nodes.insert(id, host);
    (0..20).for_each(|_| trio.pass(100));
    assert_eq!(contents_of(trio.nodes[&id].node.engine()).unwrap(), expected);
}

#[test]
fn a_pipeline_of_reads_asks_the_leader_once_for_all_that_has_come() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    for at in 0..40 {
        assert_eq!(trio.ask(leader, &format!("SET key:{at} {at}")), "OK");
    }
    let id = trio.followers(leader)[0];
    assert_eq!(trio.ask(id, "CLIENT CONSISTENCY QUORUM READS INDEX"), "OK");
    let before = trio.asked;
    // The first one is asked for at once, the others when that is answered.
    for at in 0..40 {
        trio.host(id).clients.send("client", &format!("GET key:{at}"));
    }
    trio.settle();
    trio.settle();
    let replies = trio.host(id).clients.replies("client");
    let replies: Vec<String> = replies.iter().map(text).collect();
    assert_eq!(replies, (0..40).map(|at| format!("\"{at}\"")).collect::<Vec<_>>());
    assert_eq!(trio.asked - before, 2);
    let mut pipeline = Vec::new();
    (0..40).for_each(|at| {
        resp::encode_command([b"GET".as_slice(), format!("key:{at}").as_bytes()], &mut pipeline)
    });
    trio.host(id).clients.send_bytes("client", &pipeline);
    trio.settle();
    assert_eq!(trio.host(id).clients.replies("client").len(), 40);
    assert_eq!(trio.asked - before, 3);
    // What comes later is asked for again: it must show what was written before.
    assert_eq!(trio.ask(leader, "SET key:0 new"), "OK");
    assert_eq!(trio.ask(id, "GET key:0"), "\"new\"");
    assert_eq!(trio.asked - before, 4);
}

#[test]
fn what_comes_while_a_read_waits_is_not_served_by_its_answer() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    let id = trio.followers(leader)[0];
    assert_eq!(trio.ask(id, "CLIENT CONSISTENCY QUORUM READS INDEX"), "OK");
    trio.host(id).clients.send("client", "GET k");
    // It has been asked, and the answer is on its way.
    trio.host(id).node.flush();
    trio.host(id).node.turn(&mut ()).unwrap();
    let before = trio.asked;
    trio.host(id).clients.send("client", "GET k");
    trio.settle();
    assert_eq!(trio.host(id).clients.replies("client").len(), 1);
    trio.settle();
    assert_eq!(trio.host(id).clients.replies("client").len(), 1);
    assert_eq!(trio.asked - before, 2, "each has a round of its own");
}

#[test]
fn who_loads_a_snapshot_acknowledges_meanwhile_and_shows_nothing() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    let (late, third) = (trio.followers(leader)[0], trio.followers(leader)[1]);
    trio.away = vec![late];
    for at in 0..120 {
        assert_eq!(trio.ask(leader, &format!("SET key:{at} {at}")), "OK");
    }
    assert!(trio.nodes[&leader].node.member().group().base().index > 50, "no snapshot was taken");
    trio.away.clear();
    trio.host(late).slow = true;
    (0..5).for_each(|_| trio.pass(100));
    assert!(trio.nodes[&late].loading.is_some());
    assert_eq!(trio.ask(late, "READONLY"), "OK");
    assert!(trio.ask(late, "GET key:0").starts_with("(error) LOADING "));
    // Without it there is no majority.
    trio.away = vec![third];
    assert_eq!(trio.ask(leader, "SET later 1"), "OK");
    assert!(trio.keys(late).is_empty(), "what follows has to wait");
    let host = trio.host(late);
    let restoring = host.loading.take().unwrap();
    host.node.restored(restoring.run()).unwrap();
    trio.pass(100);
    let expected = contents_of(trio.nodes[&leader].node.engine()).unwrap();
    assert_eq!(contents_of(trio.nodes[&late].node.engine()).unwrap(), expected);
    assert_eq!(trio.ask(late, "GET later"), "\"1\"");
}

#[test]
fn who_has_just_joined_sends_clients_away_until_it_has_a_state() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    let value = "v".repeat(1_000);
    for at in 0..60 {
        assert_eq!(trio.ask(leader, &format!("SET key:{at} {value}")), "OK");
    }
    // Its disk has no room for a snapshot yet.
    let disk = Disk::default();
    disk.set_free(Some(20_000));
    let mut joins = start(5, disk, &trio.now);
    joins.node.form(1).unwrap();
    trio.nodes.insert(5, joins);
    let change = consensus::Change { steps: vec![consensus::Step::Learner(5)] };
    trio.host(leader).node.member().with(|group| group.change(&change)).unwrap();
    (0..5).for_each(|_| trio.pass(100));
    assert!(trio.nodes[&5].full > 0 && trio.nodes[&5].node.member().leader() == Some(leader));
    assert_eq!(trio.ask(5, "READONLY"), "OK");
    assert!(trio.ask(5, "GET key:0").ends_with(&format!("node:{leader}")));
    trio.nodes[&5].disk.set_free(None);
    (0..20).for_each(|_| trio.pass(100));
    assert_eq!(trio.ask(5, "STRLEN key:0"), "(integer) 1000");
}

/// A follower that is loading a snapshot, beside the leader.
fn loading_follower() -> (Trio, NodeId, NodeId) {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    let late = trio.followers(leader)[0];
    trio.away = vec![late];
    for at in 0..120 {
        assert_eq!(trio.ask(leader, &format!("SET key:{at} {at}")), "OK");
    }
    trio.away.clear();
    trio.host(late).slow = true;
    (0..5).for_each(|_| trio.pass(100));
    assert!(trio.nodes[&late].loading.is_some());
    (trio, leader, late)
}

/// Completes the load that the node asked for.
fn load(host: &mut TestNode) {
    let restoring = host.loading.take().unwrap();
    host.slow = false;
    host.node.restored(restoring.run()).unwrap();
}

#[test]
fn who_loads_a_snapshot_votes_and_does_not_lead() {
    let (mut trio, leader, late) = loading_follower();
    let third = trio.followers(leader)[1];
    let _ = trio.host(leader).node.member().with(|group| group.transfer(late));
    trio.host(late).node.take_over(FIRST_GROUP, true);
    (0..15).for_each(|_| trio.pass(100));
    assert_eq!(trio.nodes[&late].node.member().leader(), Some(leader));
    trio.away = vec![leader];
    assert_eq!(trio.elect(leader), third, "with the vote of who loads");
    assert!(trio.nodes[&late].loading.is_some());
    assert_eq!(trio.ask(third, "SET later 1"), "OK");
    load(trio.host(late));
    // Afterwards it may lead.
    trio.pass(100);
    let _ = trio.host(third).node.member().with(|group| group.transfer(late));
    assert_eq!(trio.elect(third), late);
    assert_eq!(trio.ask(late, "GET later"), "\"1\"");
}

#[test]
fn a_leader_that_makes_its_state_again_for_long_hands_over() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    assert_eq!(trio.ask(leader, "SET k v"), "OK");
    trio.host(leader).slow = true;
    trio.host(leader).node.member().with(|group| group.abandon());
    trio.settle();
    assert!(trio.nodes[&leader].loading.is_some());
    let next = trio.elect(leader);
    assert_eq!(trio.ask(next, "GET k"), "\"v\"");
    load(trio.host(leader));
    trio.pass(100);
    assert_eq!(trio.keys(leader), ["k"]);
}

#[test]
fn what_waits_for_a_state_is_bounded_and_done_bit_by_bit() {
    let (mut trio, leader, late) = loading_follower();
    trio.host(late).node.set_bounds(Bounds { waiting: 2_000, turn: 500 });
    for at in 0..20 {
        assert_eq!(trio.ask(leader, &format!("SET more:{at} {at}")), "OK");
    }
    let group = trio.nodes[&leader].node.member().group();
    assert!(group.matched(late).unwrap() + 5 < group.status().last, "it takes no more");
    drop(group);
    load(trio.host(late));
    let turns = [(); 3].map(|()| {
        trio.host(late).node.turn(&mut ()).unwrap();
        let gate = trio.nodes[&late].node.engine().gate();
        assert!(gate.contains(Gate::LOADING), "it serves nobody before it is done");
        trio.keys(late).len()
    });
    let mut slices = turns.windows(2).map(|two| two[1] - two[0]);
    assert!(slices.all(|keys| (1..6).contains(&keys)), "{turns:?}");
    (0..20).for_each(|_| trio.pass(100));
    let expected = contents_of(trio.nodes[&leader].node.engine()).unwrap();
    assert_eq!(contents_of(trio.nodes[&late].node.engine()).unwrap(), expected);
}

#[test]
fn a_full_disk_delays_a_snapshot_and_ends_nobody() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    let value = "v".repeat(2_000);
    for at in 0..20 {
        assert_eq!(trio.ask(leader, &format!("SET key:{at} {value}")), "OK");
    }
    // There is room for the log, but not for all the data.
    trio.nodes.values().for_each(|host| host.disk.set_free(Some(20_000)));
    for at in 0..40 {
        assert_eq!(trio.ask(leader, &format!("SET small:{at} {at}")), "OK");
    }
    let base = |trio: &Trio| trio.nodes[&leader].node.member().group().base().index;
    assert_eq!((base(&trio), trio.nodes[&leader].full), (1, 1), "it is not tried all the time");
    let names = trio.nodes[&leader].disk.list().unwrap();
    assert_eq!(names.iter().filter(|name| name.ends_with(".snapshot")).count(), 1, "{names:?}");
    trio.nodes.values().for_each(|host| host.disk.set_free(None));
    (0..110).for_each(|_| trio.pass(100));
    assert!(base(&trio) > 50, "it was taken in the end");
}

#[test]
fn a_snapshot_that_may_not_be_taken_is_not_begun() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    assert_eq!(trio.ask(leader, "SET kept 1"), "OK");
    // Another snapshot is being written, so the group's has to wait a second.
    let engine = trio.host(leader).node.engine().clone();
    let other = engine.backend.clone().snapshot(&mut || {}).unwrap();
    trio.away = trio.followers(leader);
    let value = "v".repeat(1 << 20);
    assert_eq!(trio.ask(leader, &format!("SET large {value}")), "");
    // The state is rolled back, but its effects may yet be committed: it is not known what a
    // snapshot would show.
    trio.host(leader).node.member().with(|group| group.abandon());
    trio.settle();
    trio.now.fetch_add(1_000_000, Ordering::SeqCst);
    trio.settle();
    drop(other);
    trio.away.clear();
    trio.pass(100);
    assert_eq!(trio.keys(leader), ["kept", "large"]);
    assert!(trio.nodes[&leader].node.member().group().base().index > 1, "nothing stood in its way");
}

#[test]
fn what_is_larger_than_an_entry_is_refused_and_undone() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    assert_eq!(trio.ask(leader, "SET k v"), "OK");
    let large = "v".repeat(RECORD_MAX);
    let refused =
        "(error) ERR The write is larger than the 2097152 bytes that a cluster agrees on at once";
    assert_eq!(trio.ask(leader, &format!("SET k {large}")), refused);
    assert_eq!(trio.keys(leader), ["k"]);
    // A small request can have large effects. They are undone, and nobody sees them.
    let half = "w".repeat(RECORD_MAX / 2);
    assert_eq!(trio.ask(leader, &format!("SET {{k}}half {half}")), "OK");
    let script = r#"EVAL "local\x20v=redis.call('GET',KEYS[2])redis.call('SET',KEYS[1],v..v..v)" 2 k {k}half"#;
    trio.host(leader).clients.send("client", script);
    trio.host(leader).clients.send("other", "GET k");
    trio.settle();
    (0..20).for_each(|_| trio.pass(100));
    let told = |trio: &mut Trio, who| {
        let replies = trio.host(leader).clients.replies(who);
        replies.iter().map(text).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(told(&mut trio, "client"), refused);
    let other = told(&mut trio, "other");
    assert!(other == "\"v\"" || other.contains("TRYAGAIN"), "{}", &other[..other.len().min(90)]);
    assert_eq!(trio.ask(leader, "GET k"), "\"v\"");
    assert_eq!(trio.ask(leader, "SET k w"), "OK");
}

const READS_INDEX: &str = "CLIENT CONSISTENCY QUORUM READS INDEX";

#[test]
fn a_follower_answers_with_what_was_agreed_on_when_it_was_asked() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    let follower = trio.followers(leader)[0];
    assert_eq!(trio.ask(leader, "SET k 1"), "OK");
    assert_eq!(trio.ask(follower, READS_INDEX), "OK");
    assert_eq!(trio.ask(follower, "GET k"), "\"1\"");
    assert_eq!(trio.ask(follower, "SET k 9"), format!("(error) MOVED 7629 node:{leader}"));
    // What it has not heard of yet it waits for.
    trio.away = vec![follower];
    assert_eq!(trio.ask(leader, "SET k 2"), "OK");
    assert_eq!(trio.ask(follower, "GET k"), "");
    trio.away.clear();
    trio.pass(100);
    trio.pass(100);
    let replies = trio.host(follower).clients.replies("client");
    assert_eq!(replies.iter().map(text).collect::<Vec<_>>(), ["\"2\""]);
    // A transaction that only reads is one read; and a pipeline keeps its order.
    assert_eq!(trio.ask(follower, "MULTI"), "OK");
    assert_eq!(trio.ask(follower, "GET k"), "QUEUED");
    assert!(trio.ask(follower, "EXEC").contains("\"2\""));
    trio.host(follower).clients.send_bytes("client", b"GET k\r\nPING\r\nGET none\r\n");
    trio.settle();
    let mut replies = trio.host(follower).clients.replies("client");
    trio.settle();
    replies.extend(trio.host(follower).clients.replies("client"));
    assert_eq!(replies.iter().map(text).collect::<Vec<_>>(), ["\"2\"", "PONG", "(nil)"]);
    assert_eq!(trio.ask(follower, "RESET"), "RESET");
    assert!(trio.ask(follower, "GET k").contains("MOVED"));
}

#[test]
fn a_minority_answers_no_reads_of_what_is_agreed_on() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    let follower = trio.followers(leader)[0];
    assert_eq!(trio.ask(leader, "SET k 1"), "OK");
    assert_eq!(trio.ask(follower, READS_INDEX), "OK");
    // The leader is with it, and nobody else.
    trio.away = vec![trio.followers(leader)[1]];
    let third = trio.away[0];
    assert_eq!(trio.ask(follower, "GET k"), "\"1\"", "two of three are a quorum");
    trio.away = vec![leader, third];
    assert_eq!(trio.ask(follower, "GET k"), "");
    (0..30).for_each(|_| trio.pass(100));
    let replies = trio.host(follower).clients.replies("client");
    let told: Vec<_> = replies.iter().map(text).collect();
    assert_eq!(told, ["(error) CLUSTERDOWN Hash slot not served"]);
}

#[test]
fn who_wants_no_promise_waits_for_nobody() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    trio.away = trio.followers(leader);
    assert_eq!(trio.ask(leader, "CLIENT CONSISTENCY ASYNC"), "OK");
    assert_eq!(trio.ask(leader, "SET k 1"), "OK");
    assert_eq!(trio.ask(leader, "GET k"), "\"1\"");
    assert_eq!(trio.ask(leader, "CLIENT CONSISTENCY QUORUM"), "OK");
    assert_eq!(trio.ask(leader, "GET k"), "", "the others do not know of it");
    trio.away.clear();
    trio.pass(100);
    let replies = trio.host(leader).clients.replies("client");
    assert_eq!(replies.iter().map(text).collect::<Vec<_>>(), ["\"1\""]);
}
