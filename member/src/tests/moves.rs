//! Units of slots that move between groups.

use super::*;
use crate::units::Due;
use consensus::GroupId;

/// A key of the unit that moves, which the second group has first.
const KEY: &str = "d";

/// The unit of [`KEY`], of which there are four.
const UNIT: u16 = 2;

impl Trio {
    /// Asks the leader of a group to take the unit.
    fn ask_for(&mut self, to: GroupId) {
        let leader = self.lead(to);
        assert!(self.host(leader).node.move_unit(UNIT, to));
    }

    /// Moves the unit to a group, which node `to` leads.
    fn bring(&mut self, to: GroupId) {
        self.ask_for(to);
        self.settle();
        self.pass(100);
        for id in self.nodes.keys() {
            assert_eq!(self.owner(*id), (to, false), "node {id}");
        }
    }

    /// The group that has the unit, as a node knows it, and whether it is being moved.
    fn owner(&self, id: NodeId) -> (GroupId, bool) {
        let groups = self.nodes[&id].node.groups();
        let slot = engine::commit::slot(KEY.as_bytes());
        (groups.of(slot).unwrap().group_id(), groups.moves(slot))
    }

    fn has(&self, id: NodeId, group: GroupId) -> Vec<std::ops::Range<u16>> {
        self.nodes[&id].node.groups().slots(group)
    }
}

#[test]
fn a_unit_moves_with_its_keys_and_clients_are_told() {
    let mut trio = Trio::spread();
    assert_eq!(trio.ask(2, "RPUSH d 1 2 3"), "(integer) 3");
    assert_eq!(trio.ask(2, "PEXPIRE d 100000"), "(integer) 1");
    trio.bring(3);
    assert_eq!(trio.ask(2, "LRANGE d 0 -1"), "(error) MOVED 11298 node:3");
    assert_eq!(trio.ask(3, "RPUSH d 4"), "(integer) 4");
    assert_eq!(trio.ask(3, "TTL d"), "(integer) 100");
    assert_eq!((trio.has(1, 2).len(), trio.has(1, 3)[0].clone()), (0, 8_192..16_384));
    for id in [1, 2] {
        assert_eq!(trio.ask(id, READS_INDEX), "OK");
        assert_eq!(trio.ask(id, "LLEN d"), "(integer) 4");
        assert_eq!(trio.ask(id, "RESET"), "RESET");
    }
    trio.bring(1);
    assert_eq!(trio.ask(1, "LLEN d"), "(integer) 4");
    assert_eq!(trio.ask(3, "LLEN d"), "(error) MOVED 11298 node:1");
    assert_eq!(trio.ask(1, "DBSIZE"), "(integer) 1");
    trio.bring(2);
    assert_eq!(trio.ask(2, "RPUSH d 5"), "(integer) 5");
    let expected = contents_of(trio.nodes[&2].node.engine()).unwrap();
    for id in [1, 3] {
        assert_eq!(contents_of(trio.nodes[&id].node.engine()).unwrap(), expected, "node {id}");
    }
}

#[test]
fn who_was_away_or_starts_again_finds_the_unit_where_it_is() {
    let mut trio = Trio::spread();
    for at in 0..60 {
        assert_eq!(trio.ask(2, &format!("RPUSH d {at}")), format!("(integer) {}", at + 1));
    }
    trio.bring(3);
    assert_eq!(trio.ask(3, "RPUSH d last"), "(integer) 61");
    let expected = contents_of(trio.nodes[&3].node.engine()).unwrap();
    for id in 1..=3 {
        let host = start_with(3, id, trio.nodes[&id].disk.clone(), &trio.now);
        trio.nodes.insert(id, host);
        (0..40).for_each(|_| trio.pass(100));
        let engine = trio.nodes[&id].node.engine();
        assert_eq!(contents_of(engine).unwrap(), expected, "node {id}");
    }
    // A node that is away for so long that it gets snapshots.
    trio.away = vec![1];
    let (two, three) = (trio.lead(2), trio.lead(3));
    for at in 0..120 {
        assert_eq!(trio.ask(three, &format!("SET {{a}}:{at} {at}")), "OK");
    }
    trio.ask_for(2);
    (0..5).for_each(|_| trio.pass(100));
    for at in 0..120 {
        assert_eq!(trio.ask(two, &format!("SET {{d}}:{at} {at}")), "OK");
    }
    trio.away.clear();
    (0..40).for_each(|_| trio.pass(100));
    let expected = contents_of(trio.nodes[&two].node.engine()).unwrap();
    assert_eq!(expected.len(), 241);
    assert_eq!(contents_of(trio.nodes[&1].node.engine()).unwrap(), expected);
}

#[test]
fn a_unit_that_is_taken_back_stays_and_may_be_asked_for_again() {
    let mut trio = Trio::spread();
    let large = "v".repeat(RECORD_MAX / 4);
    assert_eq!(trio.ask(2, &format!("SET d {large}")), "OK");
    trio.ask_for(3);
    trio.settle();
    assert_eq!(trio.nodes.values().map(|host| host.node.groups().moving()).sum::<usize>(), 3);
    // It waits, because it is too large; another one does not wait for it, and another group may have it.
    let moved = engine::commit::slot(b"c");
    let unit = trio.nodes[&1].node.groups().unit(moved).unwrap();
    assert!(trio.host(3).node.move_unit(unit, 3));
    trio.settle();
    assert_eq!(trio.nodes[&1].node.groups().of(moved).unwrap().group_id(), 3);
    trio.host(3).node.keep_unit(UNIT);
    trio.settle();
    for id in 1..=3 {
        assert_eq!((trio.owner(id), trio.nodes[&id].node.groups().moving()), ((2, false), 0));
    }
    assert_eq!(trio.ask(2, "SET d v"), "OK");
    trio.pass(100);
    assert_eq!(trio.owner(2), (2, false), "it is wanted no longer");
    trio.bring(3);
    // What was given away arrives all the same, and what has arrived stays.
    trio.ask_for(1);
    let given = Due::Release { by: 3, unit: UNIT, epoch: 2, to: 1 };
    assert!(trio.host(3).node.advance(given).unwrap());
    assert!(trio.host(1).node.keep_unit(UNIT));
    trio.settle();
    trio.pass(100);
    assert!(trio.host(1).node.keep_unit(UNIT));
    trio.settle();
    assert_eq!([1, 2, 3].map(|id| trio.owner(id)), [(1, false); 3]);
}

#[test]
fn a_unit_that_is_asked_for_right_after_it_was_taken_back_is_wanted() {
    let mut trio = Trio::spread();
    let large = "v".repeat(RECORD_MAX / 4);
    assert_eq!(trio.ask(2, &format!("SET d {large}")), "OK");
    trio.ask_for(3);
    trio.settle();
    assert!(trio.host(3).node.keep_unit(UNIT) && trio.host(3).node.move_unit(UNIT, 3));
    trio.settle();
    assert_eq!([1, 2, 3].map(|id| trio.nodes[&id].node.groups().moving()), [1; 3]);
    // Asked for and taken back before either is agreed on.
    assert!(trio.host(3).node.keep_unit(UNIT) && trio.host(3).node.move_unit(UNIT, 3));
    assert!(trio.host(3).node.keep_unit(UNIT));
    trio.settle();
    assert_eq!([1, 2, 3].map(|id| trio.nodes[&id].node.groups().moving()), [0; 3]);
}

/// The first step after the unit was asked for.
const RELEASE: Due = Due::Release { by: 2, unit: UNIT, epoch: 1, to: 3 };

#[test]
fn a_unit_that_was_given_away_and_not_agreed_on_stays() {
    let mut trio = Trio::spread();
    assert_eq!(trio.ask(2, "SET d v"), "OK");
    trio.away = vec![2];
    assert!(trio.host(2).node.advance(RELEASE).unwrap());
    let told = trio.ask(2, "GET d");
    assert!(told.contains("TRYAGAIN"), "{told}");
    let leader = trio.lead(2);
    assert_eq!(trio.ask(leader, "GET d"), "\"v\"");
    assert_eq!(trio.ask(leader, "SET d w"), "OK");
    trio.away.clear();
    (0..20).for_each(|_| trio.pass(100));
    let expected = contents_of(trio.nodes[&leader].node.engine()).unwrap();
    for id in 1..=3 {
        assert_eq!(trio.owner(id), (2, false), "node {id}");
        assert_eq!(contents_of(trio.nodes[&id].node.engine()).unwrap(), expected, "node {id}");
    }
}

#[test]
fn nobody_serves_a_unit_between_the_groups_and_it_arrives_once_there_is_a_leader() {
    let mut trio = Trio::spread();
    assert_eq!(trio.ask(2, "SET d v"), "OK");
    trio.away = vec![3];
    assert!(trio.host(2).node.advance(RELEASE).unwrap());
    trio.settle();
    for line in ["GET d", "SET d w", "FLUSHALL"] {
        let told = trio.ask(2, line);
        assert!(told.contains("TRYAGAIN"), "{line}: {told}");
    }
    assert_eq!(trio.owner(2), (2, true));
    // It is there, for who counts.
    assert_eq!(trio.ask(2, "DBSIZE"), "(integer) 1");
    let leader = trio.lead(3);
    trio.settle();
    assert_eq!(trio.ask(leader, "GET d"), "\"v\"");
    assert_eq!(trio.ask(leader, "SET d w"), "OK");
    trio.away.clear();
    (0..20).for_each(|_| trio.pass(100));
    let expected = contents_of(trio.nodes[&leader].node.engine()).unwrap();
    for id in 1..=3 {
        assert_eq!(trio.owner(id), (3, false), "node {id}");
        assert_eq!(contents_of(trio.nodes[&id].node.engine()).unwrap(), expected, "node {id}");
    }
}

#[test]
fn a_flush_clears_what_a_group_has_now_also_when_it_is_replayed() {
    let mut trio = Trio::spread();
    assert_eq!(trio.ask(2, "SET d v"), "OK");
    trio.bring(3);
    assert_eq!(trio.ask(2, "FLUSHALL"), "OK");
    assert_eq!(trio.ask(3, "EXISTS d"), "(integer) 1");
    assert_eq!(trio.ask(3, "FLUSHALL"), "OK");
    assert_eq!(trio.ask(3, "SET d w"), "OK");
    trio.bring(2);
    for id in 1..=3 {
        assert_eq!(trio.keys(id), ["d"], "node {id}");
        let host = start_with(3, id, trio.nodes[&id].disk.clone(), &trio.now);
        trio.nodes.insert(id, host);
        (0..40).for_each(|_| trio.pass(100));
        assert_eq!(trio.keys(id), ["d"], "node {id}");
    }
    let leader = trio.lead(2);
    assert_eq!(trio.ask(leader, "GET d"), "\"w\"");
}

#[test]
fn a_unit_that_is_too_large_stays_and_is_served_until_it_is_not() {
    let mut trio = Trio::spread();
    let large = "v".repeat(RECORD_MAX / 4);
    let slot = engine::commit::slot(KEY.as_bytes());
    assert_eq!(trio.ask(2, &format!("SET d {large}")), "OK");
    for id in 1..=3 {
        let node = &trio.nodes[&id].node;
        let (bytes, most) = node.groups().too_large(slot, node.engine()).unwrap();
        assert!(bytes > most && most == RECORD_MAX as u64 / 4, "node {id}: {bytes} of {most}");
    }
    trio.ask_for(3);
    trio.settle();
    trio.pass(100);
    assert_eq!(trio.owner(2), (2, true));
    assert_eq!((trio.ask(2, "SET {d}:2 v"), trio.ask(2, "STRLEN d")), {
        ("OK".into(), format!("(integer) {}", large.len()))
    });
    assert_eq!([1, 2, 3].map(|id| trio.nodes[&id].node.too_large()), [vec![], vec![UNIT], vec![]]);
    assert_eq!(trio.nodes[&1].node.groups().moving(), 1);
    assert_eq!(trio.ask(2, "DEL d"), "(integer) 1");
    trio.pass(100);
    trio.pass(100);
    for id in 1..=3 {
        assert_eq!(trio.owner(id), (3, false), "node {id}");
        assert_eq!(
            (trio.keys(id), trio.nodes[&id].node.too_large()),
            (vec!["{d}:2".into()], vec![])
        );
    }
}

#[test]
fn units_move_one_after_another_and_all_arrive() {
    let mut trio = Trio::spread();
    for key in ["a", "b", "c", "d"] {
        let slot = engine::commit::slot(key.as_bytes());
        let owner = trio.nodes[&1].node.groups().of(slot).unwrap().group_id();
        assert_eq!(trio.ask(owner, &format!("SET {key} {key}")), "OK");
    }
    for unit in 0..4 {
        let _ = trio.host(2).node.move_unit(unit, 2);
    }
    trio.settle();
    (0..5).for_each(|_| trio.pass(100));
    for id in 1..=3 {
        let all = trio.has(id, 2);
        assert!(all.len() == 1 && all[0] == (0..16_384), "node {id}: {all:?}");
        assert_eq!(trio.nodes[&id].node.groups().moving(), 0);
    }
    for key in ["a", "b", "c", "d"] {
        assert_eq!(trio.ask(2, &format!("GET {key}")), format!("\"{key}\""));
    }
}

#[test]
fn a_unit_moves_while_a_snapshot_of_its_group_is_being_written() {
    let mut trio = Trio::spread();
    assert_eq!(trio.ask(2, "SET d v"), "OK");
    let of = |id| trio.nodes[&id].node.engine().backend.clone();
    let backends = [1, 2, 3].map(of);
    let snapshots = backends.map(|backend| backend.snapshot(&mut || ()).unwrap());
    trio.bring(3);
    assert_eq!(trio.ask(3, "GET d"), "\"v\"");
    drop(snapshots);
}

#[test]
fn who_holds_shards_learns_what_moves_while_data_are_loaded_and_somebody_waits_for_that() {
    let trio = Trio::spread();
    let groups = trio.nodes[&2].node.groups();
    let units = groups.all_units().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let is_told = units.while_it_has(2, UNIT, || {
            scope.spawn(|| units.loaded(2));
            while !units.is_changing() {
                std::thread::yield_now();
            }
            let slot = engine::commit::slot(KEY.as_bytes());
            scope.spawn(move || tell.send((groups.moves(slot), groups.moving())));
            told.recv_timeout(std::time::Duration::from_secs(20)).is_ok()
        });
        assert_eq!(is_told, Some(true), "it would wait for ever");
    });
}

#[test]
fn libraries_move_with_the_first_unit() {
    let mut trio = Trio::spread();
    let load = r##"FUNCTION LOAD "#!lua\x20name=l\nredis.register_function('f',function()end)""##;
    assert_eq!(trio.ask(1, load), "\"l\"");
    assert!(trio.host(3).node.move_unit(0, 3));
    trio.settle();
    trio.pass(100);
    assert_eq!(trio.ask(1, "FUNCTION FLUSH"), "(error) MOVED 0 node:3");
    let again = load.replace("LOAD", "LOAD REPLACE").replace("'f'", "'g'");
    assert_eq!(trio.ask(3, &again), "\"l\"");
    for id in 1..=3 {
        let host = start_with(3, id, trio.nodes[&id].disk.clone(), &trio.now);
        trio.nodes.insert(id, host);
        (0..40).for_each(|_| trio.pass(100));
        let texts = trio.nodes[&id].node.engine().scripting.library_texts();
        assert!(texts.len() == 1 && texts[0].windows(3).any(|word| word == b"'g'"), "node {id}");
    }
}
