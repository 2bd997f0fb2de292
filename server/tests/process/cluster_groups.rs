//! Three servers with three groups, each of which has a third of the slots.

use crate::cluster::{TestNode, ask, three_of};
use redis::{FromRedisValue, RedisResult};
use storage::testing::{until, until_some};

/// Leaders are spread after five of these.
const ELECTION_MS: u32 = 1_000;

/// A key of each group.
const KEYS: [&str; 3] = ["kept", "c", "a"];

fn three() -> [TestNode; 3] {
    // Only who founds the cluster says how many groups there are.
    three_of(ELECTION_MS, &["--cluster-groups", "3"])
}

/// The nodes that say of themselves that they lead slots.
fn leaders(nodes: &[TestNode]) -> Vec<usize> {
    let leads = |node: &TestNode| {
        let lines: RedisResult<String> = node.ask(&["CLUSTER", "NODES"]);
        let mine = |line: &str| {
            line.contains("myself,master") && line.contains('-') && { line.split(' ').count() > 8 }
        };
        lines.is_ok_and(|lines| lines.lines().any(mine))
    };
    (0..nodes.len()).filter(|at| nodes[*at].is_running() && leads(&nodes[*at])).collect()
}

/// Which node executes a command, and its reply.
fn run<T: FromRedisValue>(nodes: &[TestNode], words: &[&str]) -> (usize, T) {
    let running = || (0..nodes.len()).filter(|at| nodes[*at].is_running());
    until_some("some node executes it", || {
        running().find_map(|at| nodes[at].ask(words).ok().map(|reply| (at, reply)))
    })
}

#[test]
fn leaders_are_spread_and_a_killed_node_takes_only_its_groups_with_it() {
    let mut nodes = three();
    until("each leads a group", || leaders(&nodes) == [0, 1, 2]);
    let owners = KEYS.map(|key| run::<()>(&nodes, &["SET", key, "1"]).0);
    let size = |node: &TestNode| node.ask::<u64>(&["DBSIZE"]).unwrap_or(0);
    until("each shows its own", || nodes.iter().map(size).sum::<u64>() == 3);
    let [first, second, _] = owners;
    nodes[first].kill();
    if second != first {
        // Nobody has to be elected for it.
        until("it goes on leading", || nodes[second].ask::<()>(&["SET", KEYS[1], "2"]).is_ok());
    }
    let (next, got) = run::<String>(&nodes, &["GET", KEYS[0]]);
    assert!(next != first && got == "1", "{next} says {got}");
    for key in KEYS {
        run::<()>(&nodes, &["SET", key, "3"]);
    }
    nodes[first].restart();
    until("each leads a group again", || leaders(&nodes) == [0, 1, 2]);
    nodes.iter_mut().for_each(TestNode::kill);
    nodes.iter_mut().for_each(TestNode::restart);
    for key in KEYS {
        assert_eq!(run::<String>(&nodes, &["GET", key]).1, "3");
    }
}

#[test]
fn who_ends_hands_over_every_group_that_it_leads() {
    let mut nodes = three();
    until("each leads a group", || leaders(&nodes) == [0, 1, 2]);
    KEYS.iter().for_each(|key| run::<()>(&nodes, &["SET", key, "1"]).1);
    let refused = crate::cluster::error(nodes[1].ask(&["CLUSTER", "FAILOVER"]));
    assert!(refused.contains("to a replica"), "{refused}");
    let ended = nodes[0].stop();
    let said = [ended.stdout, ended.stderr].concat();
    assert!(ended.status.success() && said.contains("the leadership was handed over"), "{said}");
    for key in KEYS {
        assert_eq!(run::<String>(&nodes, &["GET", key]).1, "1");
    }
    // Each node flushes what it leads; a group may move meanwhile.
    until("all keys are gone", || {
        nodes[1..].iter().for_each(|node| drop(node.ask::<()>(&["FLUSHALL"])));
        KEYS.iter().all(|key| !run::<bool>(&nodes, &["EXISTS", key]).1)
    });
}

#[test]
fn who_watches_a_key_at_a_follower_is_told_that_it_was_flushed() {
    let nodes = three();
    until("each leads a group", || leaders(&nodes) == [0, 1, 2]);
    let (owner, ()) = run::<()>(&nodes, &["SET", KEYS[0], "1"]);
    let follower = &nodes[(owner + 1) % nodes.len()];
    let mut watcher = follower.running().connect();
    let mut say = |words: &[&str]| ask::<redis::Value>(&mut watcher, words);
    say(&["READONLY"]).unwrap();
    until("it has the key", || say(&["EXISTS", KEYS[0]]) == Ok(redis::Value::Int(1)));
    say(&["WATCH", KEYS[0]]).unwrap();
    let _: () = nodes[owner].ask(&["FLUSHALL"]).unwrap();
    let mut reader = follower.running().connect();
    let _: () = ask(&mut reader, &["READONLY"]).unwrap();
    until("it is gone there, too", || ask(&mut reader, &["EXISTS", KEYS[0]]) == Ok(0));
    say(&["MULTI"]).unwrap();
    say(&["GET", KEYS[0]]).unwrap();
    assert_eq!(say(&["EXEC"]).unwrap(), redis::Value::Nil);
}
