//! Published messages in a cluster: they reach subscribers at all nodes, and those of shard channels learn
//! that another node leads.

use crate::cluster::{CALM_MS, TestNode, error, leader, three};
use crate::support::Varve;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;
use storage::testing::until;

/// Longer than any message takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client that reads whatever it is sent, line by line.
struct Listener(BufReader<TcpStream>);

impl Listener {
    fn new(varve: &Varve) -> Listener {
        let stream = TcpStream::connect(varve.address()).expect("it accepts connections");
        stream.set_read_timeout(Some(PATIENCE)).expect("a valid timeout");
        Listener(BufReader::new(stream))
    }

    fn send(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).expect("it reads");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("it is told in time");
        line.trim_end().to_owned()
    }

    /// The words of the next array, a number too.
    fn next(&mut self) -> Vec<String> {
        let head = self.line();
        let count = head.strip_prefix('*').unwrap_or_else(|| panic!("an array, not {head}"));
        let word = |_| match self.line() {
            number if number.starts_with(':') => number[1..].to_owned(),
            _ => self.line(),
        };
        (0..count.parse::<usize>().expect("a number")).map(word).collect()
    }

    fn subscribe(&mut self, line: &str) {
        self.send(line);
        let (word, name) = line.split_once(' ').expect("a name");
        assert_eq!(self.next()[..2], [word.to_lowercase(), name.to_owned()]);
    }
}

/// Three nodes, each of which has a connection to each other.
fn connected() -> [TestNode; 3] {
    let nodes = three(CALM_MS);
    until("each has a connection to each", || {
        nodes.iter().all(|node| {
            let shown: String = node.ask(&["CLUSTER", "NODES"]).unwrap_or_default();
            shown.lines().filter(|line| line.contains(" connected")).count() == 3
        })
    });
    nodes
}

#[test]
fn messages_reach_subscribers_at_all_nodes() {
    let nodes = connected();
    let mut listeners = nodes.each_ref().map(|node| Listener::new(node.running()));
    for listener in &mut listeners {
        listener.subscribe("SUBSCRIBE news");
        listener.subscribe("PSUBSCRIBE n*");
        listener.subscribe("SSUBSCRIBE shard");
    }
    for (number, node) in nodes.iter().enumerate() {
        let said = number.to_string();
        let here: u64 = node.ask(&["PUBLISH", "news", &said]).unwrap();
        assert_eq!(here, 2, "as in Redis, those at other nodes are not counted");
        for listener in &mut listeners {
            assert_eq!(listener.next(), ["message", "news", &said]);
            assert_eq!(listener.next(), ["pmessage", "n*", "news", &said]);
        }
        let here: u64 = node.ask(&["SPUBLISH", "shard", &said]).unwrap();
        assert_eq!(here, 1);
        for listener in &mut listeners {
            assert_eq!(listener.next(), ["smessage", "shard", &said]);
        }
        let known: Vec<String> = node.ask(&["PUBSUB", "SHARDCHANNELS"]).unwrap();
        assert_eq!(known, ["shard"]);
        let known: (String, u64) = node.ask(&["PUBSUB", "SHARDNUMSUB", "shard"]).unwrap();
        assert_eq!(known, ("shard".to_owned(), 1));
    }
    let crossed = error(nodes[0].ask(&["SSUBSCRIBE", "a", "b"]));
    assert!(crossed.contains("CROSSSLOT"), "{crossed}");
    let apart = TestNode::new(CALM_MS);
    let refused = error(apart.ask(&["SPUBLISH", "shard", "x"]));
    assert!(refused.contains("CLUSTERDOWN"), "{refused}");
}

#[test]
fn who_subscribed_to_shard_channels_is_told_when_another_node_leads() {
    let nodes = connected();
    let mut listeners = nodes.each_ref().map(|node| Listener::new(node.running()));
    for listener in &mut listeners {
        listener.subscribe("SUBSCRIBE news");
        listener.subscribe("SSUBSCRIBE shard");
    }
    let next = (leader(&nodes) + 1) % 3;
    until("it is told", || nodes[next].ask::<()>(&["CLUSTER", "FAILOVER"]).is_ok());
    for listener in &mut listeners {
        assert_eq!(listener.next(), ["sunsubscribe", "shard", "0"]);
    }
    until("it leads", || nodes[next].leads());
    listeners[next].subscribe("SSUBSCRIBE shard");
    let _: u64 = nodes[next].ask(&["SPUBLISH", "shard", "again"]).unwrap();
    assert_eq!(listeners[next].next(), ["smessage", "shard", "again"]);
    let _: u64 = nodes[next].ask(&["PUBLISH", "news", "still"]).unwrap();
    for listener in &mut listeners {
        assert_eq!(listener.next(), ["message", "news", "still"], "others have stayed");
    }
}
