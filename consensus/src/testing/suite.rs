//! The conformance suite for log stores.

use super::Numbers;
use crate::message::{Base, Entry, EntryKind, GroupId, HardState, Membership};
use crate::raft::Recovered;
use crate::store::{LogStore, Logs, Record, StoreError};

/// Opens the store under test, and simulates crashes.
pub trait Rig {
    /// The type of the store.
    type Store: LogStore;
    /// Opens an empty store.
    fn open(&mut self) -> Self::Store;
    /// Simulates a power failure and opens the store again. `numbers` decides how much survives of
    /// what was not synced.
    fn crash(&mut self, store: Self::Store, numbers: &mut Numbers) -> Self::Store;
}

fn entry(index: u64, term: u64) -> Entry {
    let data = vec![term as u8; (index * 7 % 50) as usize].into();
    Entry { index, term, kind: EntryKind::Normal, data }
}

fn entries(from: u64, count: u64, term: u64) -> Vec<Entry> {
    (from..from + count).map(|index| entry(index, term)).collect()
}

fn base(index: u64, term: u64) -> Base {
    Base { index, term, members: Membership::of([1, 2, 3]), seq: index * 2, time: 9 }
}

fn synced<R: Rig>(rig: &mut R, mut store: R::Store) -> R::Store {
    store.sync().unwrap();
    rig.crash(store, &mut Numbers::new(1))
}

fn log(store: &impl LogStore, group: GroupId) -> Recovered {
    store.recovered().remove(&group).unwrap_or_default()
}

/// Everything that was written and synced is there after a crash.
pub fn as_written<R: Rig>(rig: &mut R) {
    let mut store = rig.open();
    assert!(store.recovered().is_empty());
    let mut change = entry(4, 1);
    change.kind = EntryKind::Change;
    store.append(7, &entries(1, 3, 1)).unwrap();
    store.append(7, &[change.clone()]).unwrap();
    let store = synced(rig, store);
    let mut expected = entries(1, 3, 1);
    expected.push(change);
    assert_eq!(log(&store, 7).entries, expected);
}

/// Groups do not see each other.
pub fn apart<R: Rig>(rig: &mut R) {
    let mut store = rig.open();
    store.append(1, &entries(1, 2, 1)).unwrap();
    store.append(2, &entries(1, 3, 5)).unwrap();
    store.set_hard_state(2, HardState { term: 5, vote: 3, commit: 2 }).unwrap();
    let store = synced(rig, store);
    assert_eq!(log(&store, 1).entries, entries(1, 2, 1));
    assert_eq!(log(&store, 2).entries, entries(1, 3, 5));
    assert_eq!(log(&store, 1).hard_state, HardState::default());
    assert_eq!(log(&store, 3), Recovered::default());
}

/// Entries of a new leader replace others, and gaps are refused.
pub fn overwritten<R: Rig>(rig: &mut R) {
    let mut store = rig.open();
    store.append(1, &entries(1, 9, 1)).unwrap();
    store.append(1, &entries(4, 2, 2)).unwrap();
    let mut store = synced(rig, store);
    let expected = [entries(1, 3, 1), entries(4, 2, 2)].concat();
    assert_eq!(log(&store, 1).entries, expected);
    assert!(store.append(1, &entries(7, 1, 2)).is_err());
}

/// A log begins behind its snapshot, and continues if it agrees with it.
pub fn bases<R: Rig>(rig: &mut R) {
    let mut store = rig.open();
    store.append(1, &entries(1, 9, 1)).unwrap();
    store.set_base(1, &base(4, 1)).unwrap();
    let mut store = synced(rig, store);
    let found = Recovered { base: base(4, 1), entries: entries(5, 5, 1), ..Recovered::default() };
    assert_eq!(log(&store, 1), found);
    store.set_base(1, &base(7, 2)).unwrap();
    let mut store = synced(rig, store);
    assert_eq!(log(&store, 1).entries, []);
    store.set_base(1, &base(20, 3)).unwrap();
    store.append(1, &entries(21, 1, 3)).unwrap();
    let mut store = synced(rig, store);
    assert_eq!(log(&store, 1).entries, entries(21, 1, 3));
    // A base that the log has passed already changes nothing.
    store.append(1, &entries(19, 3, 3)).unwrap();
    store.set_base(1, &base(5, 1)).unwrap();
    let store = synced(rig, store);
    let found = Recovered { base: base(20, 3), entries: entries(21, 1, 3), ..Recovered::default() };
    assert_eq!(log(&store, 1), found);
}

/// The latest hard state counts.
pub fn voted<R: Rig>(rig: &mut R) {
    let mut store = rig.open();
    for term in 1..4 {
        store.set_hard_state(1, HardState { term, vote: term + 1, commit: 0 }).unwrap();
    }
    let store = synced(rig, store);
    assert_eq!(log(&store, 1).hard_state, HardState { term: 3, vote: 4, commit: 0 });
}

/// A group that was removed is gone, and no crash brings it back.
pub fn removed<R: Rig>(rig: &mut R) {
    let mut store = rig.open();
    store.append(1, &entries(1, 3, 1)).unwrap();
    store.append(2, &entries(1, 1, 1)).unwrap();
    store.remove(1).unwrap();
    let store = synced(rig, store);
    assert_eq!(store.recovered().keys().copied().collect::<Vec<_>>(), [2]);
}

/// After a crash there is a prefix of what was written, which includes everything that was synced.
pub fn crashes<R: Rig>(rig: &mut R) {
    let mut numbers = Numbers::new(42);
    let mut store = rig.open();
    // Every state since the last sync, one of which must be found.
    let mut states = vec![Logs::default()];
    for _ in 0..2_000 {
        match numbers.below(20) {
            0 => {
                store = rig.crash(store, &mut numbers);
                let found = store.recovered();
                let at = states.iter().rposition(|state| state.0 == found);
                assert!(at.is_some(), "no state since the last sync: {found:?}");
                states = vec![Logs(found)];
            }
            1..=4 => {
                store.sync().unwrap();
                states.drain(..states.len() - 1);
            }
            _ => write(&mut store, &mut states, &mut numbers).unwrap(),
        }
    }
}

/// Makes one call, chosen at random among those that are valid.
fn write(
    store: &mut impl LogStore,
    states: &mut Vec<Logs>,
    numbers: &mut Numbers,
) -> Result<(), StoreError> {
    let mut state = states.last().cloned().unwrap_or_default();
    let (of, group) = (state.clone(), 1 + numbers.below(3));
    let known = state.0.get(&group).cloned().unwrap_or_default();
    let last = known.base.index + known.entries.len() as u64;
    let mut keep = |record: Record| {
        state.apply(group, record);
        states.push(state.clone());
    };
    match numbers.below(8) {
        0 if last > 0 => {
            let index = last - numbers.below(known.entries.len() as u64 + 1);
            let at = known.entries.iter().find(|entry| entry.index == index);
            let base = base(index, at.map_or(known.base.term, |entry| entry.term));
            if let Some(record) = of.base_record(group, &base) {
                keep(record);
            }
            store.set_base(group, &base)
        }
        1 => {
            let hard_state = HardState { term: numbers.below(9), vote: 1, commit: last };
            keep(Record::HardState(hard_state));
            store.set_hard_state(group, hard_state)
        }
        2 if numbers.one_in(20) => {
            keep(Record::Removed);
            store.remove(group)
        }
        _ => {
            let back = numbers.below(known.entries.len() as u64 + 1).min(2);
            let list = entries(last + 1 - back, 1 + numbers.below(4), numbers.below(9));
            list.iter().cloned().for_each(|entry| keep(Record::Entry(entry)));
            store.append(group, &list)
        }
    }
}
