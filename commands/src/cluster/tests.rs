//! Replies about a cluster of which everything is known.

use engine::cluster::{Cluster, NodeView, Role, Route, Topology};
use engine::session::SessionState;
use engine::testing::Harness;
use parking_lot::Mutex;
use std::sync::Arc;
use storage_memory::{Config, MemoryBackend};

/// Serves everything, and notes what is asked of it.
#[derive(Default)]
struct Known(Mutex<Vec<String>>);

fn node(id: char, port: u16, role: Role) -> NodeView {
    NodeView {
        id: id.to_string().repeat(40),
        host: "10.0.0.1".into(),
        port,
        bus_port: port + 1_000,
        role,
        is_up: true,
        times: (5, 6),
        ..NodeView::default()
    }
}

impl Cluster for Known {
    fn route(&self, _: u16, _: &SessionState) -> Route {
        Route::Serve { stream: 0, fence: 1 }
    }

    fn is_current(&self, _: u16, _: u64) -> bool {
        true
    }

    fn topology(&self) -> Topology {
        let leader = NodeView { is_me: true, ..node('a', 7_000, Role::Leads) };
        let lost = NodeView { has_failed: true, is_up: false, ..node('c', 7_002, Role::Follows) };
        let nodes = vec![leader, node('b', 7_001, Role::Follows), lost];
        let slots = vec![(0, 16_383)];
        let shard = "5".repeat(40);
        Topology { nodes, slots, shard, is_ok: true, voters: 3, epoch: 4, ..Topology::default() }
    }

    fn meet(&self, ip: &str, port: u16, bus_port: u16) -> Result<(), Box<str>> {
        self.0.lock().push(format!("meet {ip} {port} {bus_port}"));
        Ok(())
    }

    fn forget(&self, id: &str) -> Result<(), Box<str>> {
        Err(format!("ERR Unknown node {id}").into())
    }

    fn add_slots(&self, slots: &[u16]) -> Result<(), Box<str>> {
        self.0.lock().push(format!("add {slots:?}"));
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
    let asked = known.0.lock().clone();
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
