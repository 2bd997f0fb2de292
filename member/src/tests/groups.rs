//! Nodes with three groups, each of which has some of the slots.

use super::*;
use consensus::GroupId;

/// A key of each group.
const KEYS: [(GroupId, &str); 3] = [(1, "kept"), (2, "d"), (3, "a")];

impl Trio {
    pub(super) fn member(&self, id: NodeId, group: GroupId) -> Arc<Member> {
        self.nodes[&id].node.groups().member(group).unwrap().clone()
    }

    /// Lets time pass until a group is led, and returns by whom.
    pub(super) fn lead(&mut self, group: GroupId) -> NodeId {
        for _ in 0..100 {
            let ids = self.nodes.keys().copied().filter(|id| !self.away.contains(id));
            let serves = |id: &NodeId| self.member(*id, group).may_append().is_ok();
            if let Some(id) = ids.into_iter().find(serves) {
                return id;
            }
            self.pass(100);
        }
        panic!("nobody leads group {group}");
    }

    /// Has a node lead a group.
    fn give(&mut self, group: GroupId, to: NodeId) {
        for _ in 0..10 {
            let leader = self.lead(group);
            if leader == to {
                return;
            }
            let _ = self.member(leader, group).with(|group| group.transfer(to));
            (0..5).for_each(|_| self.pass(100));
        }
        panic!("node {to} does not lead group {group}");
    }

    /// Three nodes, each of which leads the group of its number.
    pub(super) fn spread() -> Trio {
        let mut trio = Trio::of(3);
        (1..=3).for_each(|id| trio.give(id, id));
        trio
    }

    fn told(&mut self, id: NodeId, client: &str) -> Vec<String> {
        self.host(id).clients.replies(client).iter().map(text).collect()
    }
}

#[test]
fn each_group_is_served_by_its_leader_and_every_node_has_all_of_them() {
    let mut trio = Trio::spread();
    for (group, key) in KEYS {
        assert_eq!(trio.ask(group, &format!("SET {key} v")), "OK");
        for other in trio.followers(group) {
            let moved = trio.ask(other, &format!("GET {key}"));
            assert!(moved.starts_with("(error) MOVED"), "{moved}");
            assert!(moved.ends_with(&format!("node:{group}")), "{moved}");
            assert_eq!(trio.ask(other, READS_INDEX), "OK");
            assert_eq!(trio.ask(other, &format!("GET {key}")), "\"v\"");
            assert_eq!(trio.ask(other, "RESET"), "RESET");
        }
    }
    let all = |id| trio.keys(id);
    assert_eq!([1, 2, 3].map(all), [1; 3].map(|_| ["a", "d", "kept"].map(String::from).to_vec()));
    assert_eq!(
        trio.ask(1, "MGET kept a"),
        "(error) CROSSSLOT Keys in request don't hash to the same slot"
    );
}

#[test]
fn what_asks_for_all_keys_gets_those_of_the_groups_that_are_led_here() {
    let mut trio = Trio::spread();
    for (group, key) in KEYS {
        assert_eq!(trio.ask(group, &format!("SET {key} v")), "OK");
    }
    for (group, key) in KEYS {
        assert_eq!(trio.ask(group, "DBSIZE"), "(integer) 1");
        assert_eq!(trio.ask(group, "KEYS *"), format!("1) \"{key}\""));
        assert_eq!(trio.ask(group, "RANDOMKEY"), format!("\"{key}\""));
        let scanned = trio.ask(group, "SCAN 0 COUNT 1000");
        assert!(scanned.contains(key) && scanned.matches('"').count() == 4, "{scanned}");
    }
    // Who leads nothing shows all that it has.
    trio.give(3, 1);
    assert_eq!(trio.ask(3, "DBSIZE"), "(integer) 3");
    assert_eq!(trio.ask(1, "DBSIZE"), "(integer) 2");
}

#[test]
fn a_flush_clears_the_groups_that_are_led_here_on_all_nodes() {
    let mut trio = Trio::spread();
    trio.give(3, 1);
    for (group, key) in [(1, "kept"), (2, "d"), (1, "a")] {
        assert_eq!(trio.ask(group, &format!("SET {key} v")), "OK");
    }
    assert_eq!(trio.ask(3, "FLUSHALL"), "(error) MOVED 0 node:1");
    assert_eq!(trio.ask(1, "FLUSHALL"), "OK");
    for id in 1..=3 {
        assert_eq!(trio.keys(id), ["d"], "node {id}");
    }
    assert_eq!(trio.ask(1, "SET kept w"), "OK");
    // It is agreed on like any other write, by each of the groups.
    trio.away = vec![2, 3];
    assert_eq!(trio.ask(1, "FLUSHDB"), "");
    trio.host(1).clients.send("other", "DBSIZE");
    trio.settle();
    assert_eq!(trio.told(1, "other"), [""; 0], "it shows what is not agreed on");
    trio.away.clear();
    trio.pass(100);
    assert_eq!(
        (trio.told(1, "client"), trio.told(1, "other")),
        (vec!["OK".into()], vec!["(integer) 0".into()])
    );
    assert_eq!(trio.keys(2), ["d"]);
}

#[test]
fn a_flush_that_comes_too_late_is_undone_with_the_group() {
    let mut trio = Trio::spread();
    trio.give(3, 1);
    for (group, key) in [(1, "kept"), (2, "d"), (1, "a")] {
        assert_eq!(trio.ask(group, &format!("SET {key} v")), "OK");
    }
    trio.away = vec![1];
    assert_eq!(trio.ask(1, "FLUSHALL"), "");
    assert_eq!(trio.keys(1), ["d"]);
    assert!([1, 3].iter().all(|group| trio.lead(*group) != 1));
    trio.away.clear();
    (0..10).for_each(|_| trio.pass(100));
    assert_eq!(trio.keys(1), ["a", "d", "kept"]);
    let told = trio.told(1, "client");
    assert!(told.len() == 1 && !told[0].contains("OK"), "{told:?}");
}

#[test]
fn what_concerns_all_keys_does_not_go_together_with_some() {
    let mut trio = Trio::spread();
    let exec = |trio: &mut Trio, lines: &[&str]| {
        assert_eq!(trio.ask(1, "MULTI"), "OK");
        lines.iter().for_each(|line| assert_eq!(trio.ask(1, line), "QUEUED", "{line}"));
        trio.ask(1, "EXEC")
    };
    let refused = exec(&mut trio, &["SET kept 1", "FLUSHALL"]);
    assert!(refused.contains("CROSSSLOT"), "{refused}");
    assert_eq!(exec(&mut trio, &["SET kept 1"]), "1) OK");
    assert_eq!(exec(&mut trio, &["FLUSHALL", "FLUSHDB"]), "1) OK\n2) OK");
    assert_eq!(trio.keys(1), [""; 0]);
    let other = "ERR Script attempted to access a non local key in a cluster node";
    for script in [
        r#"EVAL "redis.call('SET','a','v')" 1 kept"#,
        r#"EVAL "redis.call('SET','kept','v')" 0"#,
        r#"EVAL "redis.call('FLUSHALL')" 1 kept"#,
    ] {
        let refused = trio.ask(1, script);
        assert!(refused.contains(other), "{script}: {refused}");
    }
    assert_eq!(trio.ask(1, r#"EVAL "return\x20redis.call('SET',KEYS[1],'v')" 1 kept"#), "OK");
    assert_eq!(trio.ask(2, r#"EVAL "return\x207" 0"#), "(integer) 7");
    for (line, option) in [("SORT kept BY w_*", "BY"), ("SORT kept GET w_*", "GET")] {
        let refused = trio.ask(1, line);
        assert!(refused.contains(&format!("{option} option of SORT denied")), "{line}: {refused}");
    }
    // Libraries belong to the first slot.
    assert_eq!(trio.ask(2, "FUNCTION FLUSH"), "(error) MOVED 0 node:1");
    assert_eq!(trio.ask(1, "FUNCTION FLUSH"), "OK");
}

#[test]
fn only_the_leader_of_a_group_deletes_what_has_expired_in_it() {
    let mut trio = Trio::spread();
    assert_eq!(trio.ask(3, "SET a v PX 500"), "OK");
    (0..10).for_each(|_| trio.pass(100));
    let house = |trio: &Trio, id: NodeId| {
        let mono_us = trio.now.load(Ordering::SeqCst);
        let now = Now { wall_ms: START_MS + mono_us / 1_000, mono_us };
        trio.nodes[&id].node.engine().keep_house(now);
    };
    for id in [1, 2] {
        house(&trio, id);
        trio.settle();
        assert_eq!(trio.ask(id, "SCAN 0 COUNT 1000").matches('"').count(), 2);
        assert_eq!(trio.keys(id), ["a"], "node {id} leads another group");
    }
    house(&trio, 3);
    trio.settle();
    assert!((1..=3).all(|id| trio.keys(id).is_empty()));
}

#[test]
fn groups_take_their_own_snapshots_and_come_back_from_one_log() {
    let mut trio = Trio::spread();
    for at in 0..120 {
        assert_eq!(trio.ask(1, &format!("SET {{kept}}:{at} {at}")), "OK");
    }
    assert_eq!(trio.ask(2, "SET d v"), "OK");
    assert_eq!(
        trio.ask(
            1,
            r##"FUNCTION LOAD "#!lua\x20name=l\nredis.register_function('f',function()end)""##
        ),
        "\"l\""
    );
    let base = |trio: &Trio, group| trio.member(1, group).group().base().index;
    assert!(base(&trio, 1) > 50, "no snapshot was taken");
    assert!(base(&trio, 2) < 10, "one was taken of what hardly changed");
    let expected = contents_of(trio.nodes[&1].node.engine()).unwrap();
    let host = start_with(3, 3, trio.nodes[&3].disk.clone(), &trio.now);
    trio.nodes.insert(3, host);
    (0..30).for_each(|_| trio.pass(100));
    assert_eq!(contents_of(trio.nodes[&3].node.engine()).unwrap(), expected);
    assert_eq!(trio.nodes[&3].node.engine().scripting.library_texts().len(), 1);
    // What is loaded of one group leaves the others alone.
    trio.member(2, 1).with(|group| group.abandon());
    trio.settle();
    assert_eq!(contents_of(trio.nodes[&2].node.engine()).unwrap(), expected);
}

#[test]
fn while_a_group_is_loaded_the_others_are_served() {
    let mut trio = Trio::spread();
    assert_eq!(trio.ask(1, "SET kept v"), "OK");
    assert_eq!(trio.ask(2, "SET d v"), "OK");
    trio.host(2).slow = true;
    trio.member(2, 1).with(|group| group.abandon());
    trio.settle();
    assert!(trio.nodes[&2].loading.is_some());
    assert_eq!(trio.ask(2, "READONLY"), "OK");
    assert_eq!(trio.ask(2, "GET d"), "\"v\"");
    assert_eq!(trio.ask(2, "SET d w"), "OK");
    assert!(trio.ask(2, "GET kept").ends_with("node:1"), "it has not got it");
    load(trio.host(2));
    trio.settle();
    assert_eq!(trio.ask(2, "GET kept"), "\"v\"");
}

#[test]
fn who_did_not_know_how_many_groups_there_are_makes_them_when_it_hears() {
    let now = Arc::new(AtomicU64::new(1_000_000));
    let mut host = start_with(0, 4, Disk::default(), &now);
    host.clients.send("client", "GET k");
    let down = "(error) CLUSTERDOWN Hash slot not served";
    assert_eq!(host.clients.replies("client").iter().map(text).collect::<Vec<_>>(), [down]);
    assert!(!host.node.is_formed());
    host.node.form(3).unwrap();
    assert_eq!(host.node.groups().members().len(), 3);
    assert_eq!(host.node.groups().of(16_383).unwrap().group_id(), 3);
    assert!(!host.node.found(1).unwrap(), "its groups have founders");
}
