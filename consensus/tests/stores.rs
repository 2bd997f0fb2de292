//! Runs the suite on both log stores, and tests what is particular to segments.

use consensus::testing::{Disk, Numbers, Rig};
use consensus::{Base, Entry, EntryKind, Files, LogStore, Membership, MemoryStore};
use consensus::{FileError, SegmentStore, Snapshots, StoreError};

struct Memory;

impl Rig for Memory {
    type Store = MemoryStore;

    fn open(&mut self) -> MemoryStore {
        MemoryStore::default()
    }

    fn crash(&mut self, mut store: MemoryStore, numbers: &mut Numbers) -> MemoryStore {
        store.crash(numbers.below(store.unsynced() as u64 + 1) as usize);
        store
    }
}

/// Stores whose segments have this size in bytes.
struct Segments(usize, Disk);

impl Segments {
    fn of(bytes: usize) -> Segments {
        Segments(bytes, Disk::default())
    }
}

impl Rig for Segments {
    type Store = SegmentStore<Disk>;

    fn open(&mut self) -> SegmentStore<Disk> {
        SegmentStore::open(self.1.clone(), self.0).unwrap()
    }

    fn crash(&mut self, store: Self::Store, numbers: &mut Numbers) -> Self::Store {
        drop(store);
        self.1.crash(|length| (numbers.below(length as u64 + 1) as usize, numbers.one_in(2)));
        self.open()
    }
}

consensus::log_store_suite!(memory, Memory);
consensus::log_store_suite!(one_segment, Segments::of(1 << 20));
consensus::log_store_suite!(many_segments, Segments::of(300));

fn entries(from: u64, count: u64) -> Vec<Entry> {
    let data = |index: u64| vec![index as u8; 40].into();
    let entry = |index| Entry { index, term: 1, kind: EntryKind::Normal, data: data(index) };
    (from..from + count).map(entry).collect()
}

fn base(index: u64) -> Base {
    Base { index, term: 1, members: Membership::of([1, 2, 3]), seq: 0, time: 0 }
}

#[test]
fn after_a_failed_sync_nothing_goes_until_it_is_opened_again() {
    let disk = Disk::default();
    let mut store = SegmentStore::open(disk.clone(), 1 << 20).unwrap();
    store.append(1, &entries(1, 2)).unwrap();
    store.sync().unwrap();
    disk.fail_syncs(true);
    store.append(1, &entries(3, 2)).unwrap();
    assert!(store.sync().is_err());
    disk.fail_syncs(false);
    assert!(store.sync().is_err(), "what a second sync says is not true");
    assert!(store.append(1, &entries(5, 1)).is_err());
    disk.crash(|_| (0, false));
    let store = SegmentStore::open(disk, 1 << 20).unwrap();
    assert_eq!(store.recovered()[&1].entries, entries(1, 2));
}

#[test]
fn a_full_disk_is_refused_and_loses_nothing_that_was_synced() {
    let disk = Disk::default();
    let mut store = SegmentStore::open(disk.clone(), 1 << 20).unwrap();
    store.append(1, &entries(1, 2)).unwrap();
    store.sync().unwrap();
    disk.set_free(Some(100));
    let full = StoreError::Files(FileError::Full);
    assert_eq!(store.append(1, &entries(3, 9)), Err(full.clone()));
    assert_eq!(store.sync(), Err(full));
    disk.set_free(None);
    let store = SegmentStore::open(disk, 1 << 20).unwrap();
    let found = &store.recovered()[&1].entries;
    assert!(found.starts_with(&entries(1, 2)) && found.len() < 11, "{found:?}");
}

#[test]
fn damage_in_what_was_synced_is_refused_and_a_torn_tail_is_cut() {
    let disk = Disk::default();
    let mut store = SegmentStore::open(disk.clone(), 1 << 20).unwrap();
    for index in 1..=3 {
        store.append(1, &entries(index, 1)).unwrap();
        store.sync().unwrap();
    }
    drop(store);
    let name = disk.list().unwrap()[0].clone();
    let length = disk.read(&name).unwrap().len();
    disk.rot(&name, length - 5);
    let mut store = SegmentStore::open(disk.clone(), 1 << 20).unwrap();
    assert_eq!(store.recovered()[&1].entries, entries(1, 2), "nothing says that it was synced");
    store.append(1, &entries(3, 1)).unwrap();
    store.sync().unwrap();
    drop(store);
    disk.rot(&name, 20);
    let opened = SegmentStore::open(disk, 1 << 20);
    assert!(matches!(opened, Err(StoreError::Damaged(_))), "{opened:?}");
}

#[test]
fn segments_go_when_no_group_needs_them_and_quiet_groups_do_not_keep_them() {
    let disk = Disk::default();
    let mut store = SegmentStore::open(disk.clone(), 1_000).unwrap();
    store.append(2, &entries(1, 3)).unwrap();
    for index in 1..=1_000 {
        store.append(1, &entries(index, 1)).unwrap();
        store.sync().unwrap();
        if index % 10 == 0 {
            store.set_base(1, &base(index)).unwrap();
        }
    }
    assert!(store.segments() <= 10, "{} segments", store.segments());
    drop(store);
    let store = SegmentStore::open(disk, 1_000).unwrap();
    assert_eq!(store.recovered()[&1].base, base(1_000));
    assert_eq!(store.recovered()[&2].entries, entries(1, 3));
}

#[test]
fn a_snapshot_comes_back_whole_or_not_at_all() {
    let mut disk = Disk::default();
    let mut snapshots = Snapshots(&mut disk);
    snapshots.keep(1, &base(5), b"state at five").unwrap();
    snapshots.keep(1, &base(9), b"state at nine").unwrap();
    snapshots.keep(2, &base(3), b"another group").unwrap();
    assert_eq!(snapshots.load(1, &base(5)).unwrap(), b"state at five");
    snapshots.remove_before(1, &base(9)).unwrap();
    assert!(snapshots.load(1, &base(5)).is_err());
    assert_eq!(snapshots.load(1, &base(9)).unwrap(), b"state at nine");
    assert_eq!(snapshots.load(2, &base(3)).unwrap(), b"another group");
    let other = Base { members: Membership::of([4]), ..base(9) };
    assert!(snapshots.load(1, &other).is_err(), "the members are others");
    let name = disk.list().unwrap()[0].clone();
    disk.rot(&name, 50);
    assert!(Snapshots(&mut disk).load(1, &base(9)).is_err());
}

#[test]
fn of_a_snapshot_that_did_not_fit_nothing_stays() {
    let mut disk = Disk::default();
    disk.set_free(Some(50));
    assert_eq!(Snapshots(&mut disk).keep(7, &base(5), &[1; 100]), Err(FileError::Full));
    assert_eq!(disk.list().unwrap(), Vec::<String>::new());
    disk.set_free(None);
    Snapshots(&mut disk).keep(7, &base(5), &[1; 100]).unwrap();
    assert_eq!(Snapshots(&mut disk).load(7, &base(5)).unwrap(), [1; 100]);
}

#[test]
fn a_snapshot_that_is_received_counts_once_it_is_adopted() {
    let mut disk = Disk::default();
    let receive = |disk: &mut Disk, number, sent: &[u8]| {
        let mut snapshots = Snapshots(disk);
        let mut writer = snapshots.receive(number, &base(5), 100)?;
        sent.chunks(30).try_for_each(|piece| writer.write(piece))?;
        writer.finish()
    };
    disk.set_free(Some(99));
    assert_eq!(receive(&mut disk, 1, &[3; 100]), Err(FileError::Full));
    disk.set_free(Some(110));
    assert_eq!(receive(&mut disk, 1, &[3; 100]), Err(FileError::Full), "it fits but for its head");
    disk.set_free(None);
    for length in [99, 101] {
        let wrong = receive(&mut disk, 2, &vec![3; length]);
        assert!(matches!(wrong, Err(FileError::Failed(_))), "{length}: {wrong:?}");
    }
    assert_eq!(disk.list().unwrap(), Vec::<String>::new(), "nothing of all that stays");
    let name = receive(&mut disk, 3, &[3; 100]).unwrap();
    receive(&mut disk, 4, &[4; 100]).unwrap();
    assert!(Snapshots(&mut disk).open(7, &base(5)).is_err());
    Snapshots(&mut disk).keep(7, &base(5), &[5; 100]).unwrap();
    Snapshots(&mut disk).adopt(7, &base(5), &name).unwrap();
    assert_eq!(disk.list().unwrap().len(), 2);
    disk.crash(|_| (0, false));
    Snapshots(&mut disk).sweep().unwrap();
    assert_eq!(disk.list().unwrap().len(), 1);
    assert_eq!(Snapshots(&mut disk).load(7, &base(5)).unwrap(), [3; 100]);
    let mut read = Vec::new();
    let mut reader = Snapshots(&mut disk).open(7, &base(5)).unwrap();
    std::io::Read::read_to_end(&mut reader, &mut read).unwrap();
    assert_eq!(read, [3; 100]);
    disk.rot(&disk.list().unwrap()[0], 60);
    let mut reader = Snapshots(&mut disk).open(7, &base(5)).unwrap();
    assert!(std::io::Read::read_to_end(&mut reader, &mut read).is_err());
}

#[test]
fn a_snapshot_is_read_in_pieces_and_is_not_whole_if_it_is_damaged() {
    let (mut disk, data) = (Disk::default(), [3; 100]);
    Snapshots(&mut disk).keep(7, &base(5), &data).unwrap();
    let read = |disk: &mut Disk| {
        let mut reader = Snapshots(disk).open(7, &base(5)).unwrap();
        assert_eq!(reader.length(), 100);
        let mut pieces = Vec::new();
        loop {
            match reader.piece(40) {
                Ok(Some(piece)) => pieces.push(piece.len()),
                Ok(None) => return (pieces, true),
                Err(_) => return (pieces, false),
            }
        }
    };
    assert_eq!(read(&mut disk), (vec![40, 40, 20], true));
    let other = Base { members: Membership::of([1]), ..base(5) };
    assert!(Snapshots(&mut disk).open(7, &other).is_err(), "it names other members");
    disk.rot(&disk.list().unwrap()[0], 60);
    assert_eq!(read(&mut disk), (vec![40, 40], false), "the last piece is not given out");
}
