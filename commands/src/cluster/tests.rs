//! Replies about a cluster of which everything is known.

use engine::Engine;
use engine::cluster::{Cluster, NodeView, Role, Route, Topology};
use engine::commit::SLOTS;
use engine::session::SessionState;
use engine::testing::Harness;
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use storage_memory::{Config, MemoryBackend};

/// Serves everything, and notes what is asked of it.
#[derive(Default)]
struct Known {
    asked: Mutex<Vec<String>>,
    /// It is the second node, which follows the first one; or the fourth, which belongs to nobody.
    follows: AtomicBool,
    apart: AtomicBool,
    /// It hears nothing of the leader.
    alone: AtomicBool,
    /// Several groups have the slots.
    divided: AtomicBool,
    /// Slot 5 is being given away.
    gives: AtomicBool,
}

fn node(id: char, port: u16, role: Role) -> NodeView {
    NodeView {
        id: id.to_string().repeat(40),
        host: "10.0.0.1".into(),
        port,
        bus_port: port + 1_000,
        role,
        shard: "5".repeat(40),
        is_up: true,
        times: (5, 6),
        ..NodeView::default()
    }
}

impl Cluster for Known {
    fn route(&self, _: u16, _: &SessionState) -> Route {
        Route::Serve { stream: 0, fence: 1 }
    }

    fn is_current(&self, _: u16, _: u16, _: u64) -> bool {
        true
    }

    fn served(&self) -> Vec<Range<u16>> {
        (!self.apart.load(SeqCst)).then_some(0..SLOTS).into_iter().collect()
    }

    fn topology(&self) -> Topology {
        let (follows, apart) = (self.follows.load(SeqCst), self.apart.load(SeqCst));
        let is_up = !self.alone.load(SeqCst);
        let is_me = !follows && !apart;
        let slots = vec![(0, 16_383)];
        let leader = NodeView { is_me, is_up, slots, epoch: 4, ..node('a', 7_000, Role::Leads) };
        let lost = NodeView { has_failed: true, is_up: false, ..node('c', 7_002, Role::Follows) };
        let follower = NodeView { is_me: follows, ..node('b', 7_001, Role::Follows) };
        let [follower, lost] =
            [follower, lost].map(|node| NodeView { master: leader.id.clone(), epoch: 4, ..node });
        let other = NodeView { is_me: apart, ..node('d', 7_003, Role::Apart) };
        let nodes = vec![leader, follower, lost, other];
        Topology {
            nodes,
            slots_ok: 16_384,
            is_ok: true,
            voters: 3,
            epoch: 4,
            ..Topology::default()
        }
    }

    fn meet(&self, ip: &str, port: u16, bus_port: u16) -> Result<(), Box<str>> {
        self.asked.lock().push(format!("meet {ip} {port} {bus_port}"));
        Ok(())
    }

    fn forget(&self, id: &str) -> Result<(), Box<str>> {
        Err(format!("ERR Unknown node {id}").into())
    }

    fn add_slots(&self, slots: &[u16]) -> Result<(), Box<str>> {
        self.asked.lock().push(format!("add {slots:?}"));
        Ok(())
    }

    fn remove_slots(&self, slots: &[u16]) -> Result<(), Box<str>> {
        self.asked.lock().push(format!("remove {} from {}", slots.len(), slots[0]));
        Ok(())
    }

    fn is_divided(&self) -> bool {
        self.divided.load(SeqCst)
    }

    fn take_slot(&self, slot: u16, _: &Engine) -> Result<(), Box<str>> {
        self.asked.lock().push(format!("take {slot}"));
        Ok(())
    }

    fn keep_slot(&self, slot: u16) -> Result<(), Box<str>> {
        self.gives.store(false, SeqCst);
        self.asked.lock().push(format!("keep {slot}"));
        if slot == 7 { Err("ERR on its way".into()) } else { Ok(()) }
    }

    fn give_slot(&self, slot: u16, gives: bool) {
        self.gives.store(gives, SeqCst);
        self.asked.lock().push(format!("give {slot}: {gives}"));
    }

    fn lists_keys(&self, slot: u16) -> bool {
        slot != 5 || !self.gives.load(SeqCst)
    }

    fn take_over(&self) -> Result<(), Box<str>> {
        self.asked.lock().push("take over".into());
        Ok(())
    }

    fn reset(&self) -> Result<(), Box<str>> {
        self.asked.lock().push("reset".into());
        Ok(())
    }
}

fn member() -> (Harness, Arc<Known>) {
    let backend = Arc::new(MemoryBackend::new(Config::default()));
    let harness = Harness::new(crate::all(), backend);
    let known = Arc::<Known>::default();
    harness.engine().join(known.clone());
    (harness, known)
}

#[test]
fn nodes_are_shown_as_redis_shows_them() {
    let (mut harness, _) = member();
    let (a, b, c) = ("a".repeat(40), "b".repeat(40), "c".repeat(40));
    let lines = harness.text("CLUSTER NODES");
    for line in [
        format!("{a} 10.0.0.1:7000@8000 myself,master - 0 0 4 connected 0-16383"),
        format!("{b} 10.0.0.1:7001@8001 slave {a} 0 6 4 connected"),
        format!("{c} 10.0.0.1:7002@8002 slave,fail {a} 0 6 4 disconnected"),
    ] {
        assert!(lines.contains(&line), "{line} in {lines}");
    }
    assert_eq!(harness.text("CLUSTER MYID"), format!("\"{a}\""));
    assert_eq!(harness.text("CLUSTER MYSHARDID"), format!("\"{}\"", "5".repeat(40)));
    let slots = harness.text("CLUSTER SLOTS");
    assert!(slots.contains(&a) && slots.contains(&b), "{slots}");
    assert!(!slots.contains(&c), "who is lost is not where to read: {slots}");
    let shards = harness.text("CLUSTER SHARDS");
    assert!(shards.contains(&c) && shards.contains("\"fail\""), "{shards}");
    let links = harness.text("CLUSTER LINKS");
    assert!(links.contains(&b) && !links.contains(&a) && !links.contains(&c), "{links}");
    let info = harness.text("CLUSTER INFO");
    assert!(info.contains("cluster_state:ok") && info.contains("cluster_size:1"), "{info}");
    assert!(harness.text(&format!("CLUSTER REPLICAS {a}")).contains(&b));
    let refused = harness.text(&format!("CLUSTER REPLICAS {b}"));
    assert_eq!(refused, "(error) ERR The specified node is not a master");
}

#[test]
fn changes_are_checked_before_they_are_asked_for() {
    let (mut harness, known) = member();
    for (line, told) in [
        ("CLUSTER ADDSLOTS 1 2", "OK"),
        ("CLUSTER ADDSLOTS 1 1", "(error) ERR Slot 1 specified multiple times"),
        ("CLUSTER ADDSLOTS 16384", "(error) ERR Invalid or out of range slot"),
        ("CLUSTER ADDSLOTS x", "(error) ERR Invalid or out of range slot"),
        ("CLUSTER ADDSLOTSRANGE 3 5", "OK"),
        (
            "CLUSTER ADDSLOTSRANGE 5 3",
            "(error) ERR start slot number 5 is greater than end slot number 3",
        ),
        (
            "CLUSTER ADDSLOTSRANGE 5 6 7",
            "(error) ERR wrong number of arguments for 'cluster|addslotsrange' command",
        ),
        ("CLUSTER MEET 10.0.0.2 7000", "OK"),
        ("CLUSTER MEET 10.0.0.2 7000 9000", "OK"),
        ("CLUSTER MEET 10.0.0.2 x", "(error) ERR Invalid base port specified: x"),
        ("CLUSTER MEET 10.0.0.2 7000 y", "(error) ERR Invalid bus port specified: y"),
        ("CLUSTER FORGET me", "(error) ERR Unknown node me"),
        ("SELECT 1", "(error) ERR SELECT is not allowed in cluster mode"),
        ("SELECT 0", "OK"),
        ("REPLICAOF NO ONE", "(error) ERR REPLICAOF not allowed in cluster mode."),
        ("READONLY", "OK"),
        ("READWRITE", "OK"),
        ("ASKING", "OK"),
    ] {
        assert_eq!(harness.text(line), told, "{line}");
    }
    let asked = known.asked.lock().clone();
    let meetings = ["meet 10.0.0.2 7000 8000", "meet 10.0.0.2 7000 9000"];
    assert_eq!(asked[..2], ["add [1, 2]", "add [3, 4, 5]"]);
    assert_eq!(asked[2..], meetings);
}

#[test]
fn slots_have_keys() {
    let (mut harness, _) = member();
    for key in ["{x}1", "{x}2", "{x}3", "y"] {
        assert_eq!(harness.text(&format!("SET {key} v")), "OK");
    }
    assert_eq!(harness.text("CLUSTER KEYSLOT {x}1"), "(integer) 16287");
    assert_eq!(harness.text("CLUSTER COUNTKEYSINSLOT 16287"), "(integer) 3");
    assert_eq!(harness.text("CLUSTER COUNTKEYSINSLOT 16384"), "(error) ERR Invalid slot");
    let some = harness.text("CLUSTER GETKEYSINSLOT 16287 2");
    assert_eq!(some.matches("{x}").count(), 2, "{some}");
    assert_eq!(
        harness.text("CLUSTER GETKEYSINSLOT 16287 -1"),
        "(error) ERR Invalid slot or number of keys"
    );
}

/// Each line's reply begins so.
#[track_caller]
fn tell(harness: &mut Harness, lines: &[(&str, &str)]) {
    for (line, told) in lines {
        let reply = harness.text(&format!("CLUSTER {line}"));
        assert!(reply.starts_with(told), "{line}: {reply}");
    }
}

const SYNTAX: &str = "(error) ERR syntax error";

#[test]
fn slots_with_keys_are_not_flushed_and_masters_with_keys_are_not_reset() {
    let (mut harness, known) = member();
    assert_eq!(harness.text("SET k v"), "OK");
    let refused = [
        ("FLUSHSLOTS", "(error) ERR DB must be empty to perform CLUSTER FLUSHSLOTS."),
        ("RESET", "(error) ERR CLUSTER RESET can't be called with master nodes containing keys"),
        ("RESET HARD", "(error) ERR CLUSTER RESET can't be called with master nodes"),
        ("RESET NOW", SYNTAX),
    ];
    tell(&mut harness, &refused);
    assert!(known.asked.lock().is_empty());
    known.follows.store(true, SeqCst);
    tell(&mut harness, &[("RESET", "OK")]);
    known.follows.store(false, SeqCst);
    assert_eq!(harness.text("DEL k"), "(integer) 1");
    tell(&mut harness, &[("FLUSHSLOTS", "OK"), ("RESET", "OK")]);
}

#[test]
fn a_replica_takes_over_when_it_is_told_to() {
    let (mut harness, known) = member();
    let not_here = "(error) ERR You should send CLUSTER FAILOVER to a replica";
    tell(&mut harness, &[("FAILOVER", not_here), ("FAILOVER NOW", SYNTAX)]);
    let arity = "(error) ERR unknown subcommand or wrong number of arguments for 'FAILOVER'. Try";
    tell(&mut harness, &[("FAILOVER FORCE 1", arity)]);
    known.follows.store(true, SeqCst);
    tell(&mut harness, &[("FAILOVER", "OK")]);
    known.alone.store(true, SeqCst);
    let down = "(error) ERR Master is down or failed, please use CLUSTER FAILOVER FORCE";
    tell(
        &mut harness,
        &[("FAILOVER", down), ("FAILOVER force", "OK"), ("FAILOVER TAKEOVER", "OK")],
    );
    assert_eq!(*known.asked.lock(), ["take over"; 3]);
}

#[test]
fn what_a_group_does_by_itself_is_confirmed_or_refused_with_the_reason() {
    let (mut harness, known) = member();
    let [a, b, d] = ["a", "b", "d"].map(|id| format!("REPLICATE {}", id.repeat(40)));
    let counts = format!("COUNT-FAILURE-REPORTS {}", "c".repeat(40));
    let arity = "(error) ERR unknown subcommand or wrong number of arguments for 'RESET'. Try";
    tell(
        &mut harness,
        &[
            (&a, "(error) ERR Can't replicate myself"),
            (&b, "(error) ERR I can only replicate a master, not a replica."),
            (&d, "(error) ERR Members of the group follow whom they elect."),
            ("REPLICATE x", "(error) ERR Unknown node x"),
            (&counts, "(integer) 0"),
            ("COUNT-FAILURE-REPORTS x", "(error) ERR Unknown node x"),
            ("BUMPEPOCH", "STILL 4"),
            ("SET-CONFIG-EPOCH x", "(error) ERR value is not an integer or out of range"),
            ("SET-CONFIG-EPOCH -1", "(error) ERR Invalid config epoch specified: -1"),
            ("SET-CONFIG-EPOCH 7", "(error) ERR The user can assign a config epoch only when"),
            ("RESET NOW", SYNTAX),
            ("RESET SOFT 1", arity),
            ("RESET HARD", "(error) ERR A node gets another identity by being started with"),
            ("RESET", "OK"),
            ("RESET soft", "OK"),
            ("SAVECONFIG", "OK"),
        ],
    );
    known.follows.store(true, SeqCst);
    tell(&mut harness, &[(&a, "OK")]);
    assert_eq!(*known.asked.lock(), ["reset"; 2]);
}

#[test]
fn slots_stay_where_they_are() {
    let (mut harness, known) = member();
    let line = |rest: &str, id: &str| format!("SETSLOT 5 {rest} {}", id.repeat(40));
    let stays = "(error) ERR Slots do not move within a group.";
    let replica = "(error) ERR Target node is not a master";
    tell(
        &mut harness,
        &[
            ("SETSLOT 5 STABLE", "OK"),
            (&line("NODE", "a"), "OK"),
            (&line("node", "d"), stays),
            (&line("MIGRATING", "d"), stays),
            (&line("NODE", "b"), replica),
            (&line("MIGRATING", "b"), replica),
            ("SETSLOT 5 NODE x", "(error) ERR Unknown node x"),
            ("SETSLOT 5 MIGRATING x", "(error) ERR I don't know about node x"),
            (&line("IMPORTING", "d"), "(error) ERR I'm already the owner of hash slot 5"),
            ("SETSLOT 99999 STABLE", "(error) ERR Invalid or out of range slot"),
            ("SETSLOT 5 NODE", "(error) ERR Invalid CLUSTER SETSLOT action or number of"),
            ("SETSLOT 5 STABLE x", "(error) ERR Invalid CLUSTER SETSLOT action or number of"),
            ("DELSLOTS 5 6", "OK"),
            ("DELSLOTS 5 5", "(error) ERR Slot 5 specified multiple times"),
            ("DELSLOTSRANGE 5 9", "OK"),
            ("DELSLOTSRANGE 5 9 7", "(error) ERR wrong number of arguments for"),
            ("FLUSHSLOTS", "OK"),
        ],
    );
    let removed = ["remove 2 from 5", "remove 5 from 5", "remove 16384 from 0"];
    assert_eq!(*known.asked.lock(), removed);
    known.follows.store(true, SeqCst);
    tell(
        &mut harness,
        &[("SETSLOT 5 STABLE", "(error) ERR You can use SETSLOT only with masters.")],
    );
}

#[test]
fn where_groups_have_the_slots_the_one_that_is_to_have_a_slot_takes_it() {
    let (mut harness, known) = member();
    known.divided.store(true, SeqCst);
    let line = |rest: &str, id: &str| format!("SETSLOT 5 {rest} {}", id.repeat(40));
    let key = "{axh}k";
    assert_eq!(harness.text(&format!("CLUSTER KEYSLOT {key}")), "(integer) 5");
    assert_eq!(harness.text(&format!("SET {key} v")), "OK");
    assert_eq!(harness.text("CLUSTER GETKEYSINSLOT 5 10"), format!("1) \"{key}\""));
    tell(
        &mut harness,
        &[
            (&line("MIGRATING", "d"), "OK"),
            ("GETKEYSINSLOT 5 10", "(empty array)"),
            (&line("IMPORTING", "d"), "OK"),
            (&line("NODE", "d"), "OK"),
            ("SETSLOT 5 STABLE", "OK"),
            ("SETSLOT 7 STABLE", "(error) ERR on its way"),
            (&line("NODE", "a"), "OK"),
            (&line("NODE", "b"), "(error) ERR Target node is not a master"),
        ],
    );
    assert_eq!(
        *known.asked.lock(),
        ["give 5: true", "give 5: false", "keep 5", "keep 7", "give 5: false"]
    );
    known.asked.lock().clear();
    // The fourth node has no slots, and belongs to nobody.
    known.apart.store(true, SeqCst);
    tell(
        &mut harness,
        &[
            (&line("IMPORTING", "a"), "OK"),
            (&line("NODE", "d"), "OK"),
            (&line("MIGRATING", "c"), "(error) ERR Target node is not a master"),
            (&line("MIGRATING", "d"), "(error) ERR I'm not the owner of hash slot 5"),
            (&line("MIGRATING", "a"), "OK"),
        ],
    );
    assert_eq!(*known.asked.lock(), ["take 5", "give 5: true"]);
}

#[test]
fn keys_are_not_migrated_within_the_cluster() {
    let (mut harness, _) = member();
    assert_eq!(harness.text("SET k v"), "OK");
    for rest in ["k 0 1000", "k 0 1000 COPY"] {
        let told = harness.text(&format!("MIGRATE 10.0.0.1 7003 {rest}"));
        assert!(told.starts_with("(error) ERR The target is a node of this cluster"), "{told}");
    }
    assert_eq!(harness.text("MIGRATE 10.0.0.1 7003 nokey 0 1000"), "NOKEY");
    assert_eq!(harness.text("GET k"), "\"v\"");
}

#[test]
fn what_a_connection_is_promised_can_be_chosen() {
    let (mut harness, _) = member();
    for (line, told) in [
        ("CLIENT CONSISTENCY ASYNC", "OK"),
        ("CLIENT CONSISTENCY QUORUM", "OK"),
        ("CLIENT CONSISTENCY quorum reads index", "OK"),
        ("CLIENT CONSISTENCY QUORUM READS LEADER", "OK"),
        ("CLIENT CONSISTENCY SOME", "(error) ERR syntax error"),
        ("CLIENT CONSISTENCY QUORUM READS SOME", "(error) ERR syntax error"),
        (
            "CLIENT CONSISTENCY ASYNC READS INDEX",
            "(error) ERR READS promises more than ASYNC does: CLIENT CONSISTENCY QUORUM READS INDEX",
        ),
        (
            "CLIENT CONSISTENCY QUORUM READS",
            "(error) ERR unknown subcommand or wrong number of arguments for 'CONSISTENCY'. Try CLIENT HELP.",
        ),
    ] {
        assert_eq!(harness.text(line), told, "{line}");
    }
    let mut alone = Harness::new(crate::all(), Arc::new(MemoryBackend::new(Config::default())));
    let told = alone.text("CLIENT CONSISTENCY ASYNC");
    assert_eq!(told, "(error) ERR This instance has cluster support disabled");
}

#[test]
fn hot_keys_are_sought_in_slots_of_this_node() {
    let (mut harness, known) = member();
    let start = "HOTKEYS START METRICS 1 NET SLOTS";
    for (slots, told) in [
        ("0 5", "SLOTS count must be between 1 and 16384"),
        ("16385 5", "SLOTS count must be between 1 and 16384"),
        ("3 5 6", "not enough slot numbers provided"),
        ("1 16384", "Invalid or out of range slot"),
        ("1 x", "Invalid or out of range slot"),
        ("3 5 6 5", "duplicate slot number"),
        ("1 5 SLOTS 1 6", "SLOTS parameter already specified"),
        ("1 5 6", "syntax error"),
    ] {
        assert_eq!(harness.text(&format!("{start} {slots}")), format!("(error) ERR {told}"));
    }
    known.apart.store(true, SeqCst);
    let refused = harness.text(&format!("{start} 1 5"));
    assert_eq!(refused, "(error) ERR slot 5 not handled by this node");
}

#[test]
fn hot_keys_are_those_of_the_selected_slots() {
    let (mut harness, _) = member();
    let start = "HOTKEYS START METRICS 1 NET SLOTS";
    // CLUSTER KEYSLOT: foo 12182, bar 5061, hello 866.
    assert_eq!(harness.text(&format!("{start} 4 12182 12183 12181 866 SAMPLE 1")), "OK");
    for line in ["SET foo 1", "SET bar 22", "SET hello 333", "GET bar", "PING"] {
        harness.text(line);
    }
    let expected = "1)  1) \"tracking-active\"\n";
    let found = harness.text("HOTKEYS GET");
    assert!(found.starts_with(expected), "{found}");
    let word = |name: &str| {
        let mut lines = found.lines().skip_while(|line| !line.ends_with(&format!("\"{name}\"")));
        lines.nth(1).and_then(|line| line.split_once(") (integer) ")).map(|(_, number)| number)
    };
    assert_eq!(word("net-bytes-all-commands-selected-slots"), Some("28"), "{found}");
    assert_eq!(word("total-net-bytes"), Some("28"), "{found}");
    assert_eq!(word("sampled-commands-selected-slots-us"), None, "{found}");
    assert!(found.contains("\"foo\"") && found.contains("\"hello\""), "{found}");
    assert!(!found.contains("\"bar\""), "{found}");
    let slots = ["866", "12181", "12183"].map(|slot| format!("(integer) {slot}"));
    assert!(slots.iter().all(|slot| found.contains(slot)), "{found}");
    assert_eq!(harness.text("HOTKEYS STOP"), "OK");

    assert_eq!(harness.text(&format!("{start} 1 866 SAMPLE 2")), "OK");
    let found = harness.text("HOTKEYS GET");
    for name in ["sampled-commands-selected-slots-us", "net-bytes-sampled-commands-selected-slots"]
    {
        assert!(found.contains(name), "{found}");
    }
}
