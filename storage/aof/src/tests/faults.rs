//! Disks that fail: full, short writes, failing syncs.

use super::part;
use super::round_trip::decided;
use super::toy::Toy;
use crate::Options;
use crate::file::{Disk, Files, LogFile};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::Waker;
use storage::testing::until;
use storage::{Durability, Fate, Journal};

/// The faults to inject.
#[derive(Default)]
struct Faults {
    /// Bytes until the disk is full; negative: never.
    room: AtomicI64,
    /// Whether truncating fails, too.
    stuck: AtomicBool,
    sync_fails: AtomicBool,
}

struct FaultyDisk(Arc<Faults>);

struct FaultyFile(Arc<dyn LogFile>, Arc<Faults>);

impl Files for FaultyDisk {
    fn append_to(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(FaultyFile(Disk.append_to(path)?, self.0.clone())))
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl LogFile for FaultyFile {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.1.room.load(Ordering::SeqCst);
        if room == 0 {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        // Never more than 7 bytes at once when space is short: short writes, too.
        let len = if room < 0 { bytes.len() } else { bytes.len().min(7).min(room as usize) };
        let written = self.0.write(&bytes[..len])?;
        if room > 0 {
            self.1.room.fetch_sub(written as i64, Ordering::SeqCst);
        }
        Ok(written)
    }

    fn sync(&self) -> io::Result<()> {
        match self.1.sync_fails.load(Ordering::SeqCst) {
            true => Err(io::Error::from_raw_os_error(libc::EIO)),
            false => Ok(()),
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        match self.1.stuck.load(Ordering::SeqCst) {
            true => Err(io::Error::from_raw_os_error(libc::EIO)),
            false => self.0.truncate(len),
        }
    }
}

fn faulty(dir: &Path, durability: Durability) -> (Options, Arc<Faults>) {
    let faults = Arc::new(Faults { room: AtomicI64::new(-1), ..Faults::default() });
    let files = Arc::new(FaultyDisk(faults.clone()));
    (Options { files, durability, ..Options::new(dir) }, faults)
}

#[test]
fn a_full_disk_is_told_and_recovered_from() {
    for stuck in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (options, faults) = faulty(dir.path(), Durability::EverySecond);
        let (toy, aof, _) = Toy::open_with(options).unwrap();
        let first = toy.run(&aof, 0, &[b"SET", b"a", b"1"]);
        aof.write_up_to(first);
        let good = fs::read(part(dir.path(), "1.incr.aof")).unwrap();

        faults.stuck.store(stuck, Ordering::SeqCst);
        faults.room.store(20, Ordering::SeqCst);
        let second = toy.run(&aof, 0, &[b"SET", b"b", b"does not fit"]);
        aof.write_up_to(second);
        let failure = aof.failure().unwrap();
        assert!(failure.contains("No space left on device"), "{failure}");
        assert_eq!(aof.poll(second, Waker::noop()), Fate::Unknown);
        assert_eq!(aof.poll(first, Waker::noop()), Fate::Kept);
        let now = fs::read(part(dir.path(), "1.incr.aof")).unwrap();
        assert_eq!(now.len(), good.len() + if stuck { 20 } else { 0 }, "cut back if possible");
        assert!(aof.stats().contains(&("aof_last_write_status", "err".into())));

        let third = toy.run(&aof, 0, &[b"INCR", b"a"]);
        faults.room.store(-1, Ordering::SeqCst);
        until("recovery", || aof.failure().is_none());
        assert_eq!(aof.poll(third, Waker::noop()), Fate::Kept);
        drop(aof);
        let (again, _aof, loaded) = Toy::open(dir.path()).unwrap();
        assert_eq!(*again.state.lock(), *toy.state.lock());
        assert_eq!(loaded.truncated, None);
    }
}

#[test]
fn a_failed_sync_is_for_good_until_a_rewrite() {
    let dir = tempfile::tempdir().unwrap();
    let (options, faults) = faulty(dir.path(), Durability::Always);
    let (toy, aof, _) = Toy::open_with(options).unwrap();
    let good = toy.run(&aof, 0, &[b"INCR", b"n"]);
    assert_eq!(decided(&aof, good), Fate::Kept);

    faults.sync_fails.store(true, Ordering::SeqCst);
    let lost = toy.run(&aof, 0, &[b"INCR", b"n"]);
    assert_eq!(decided(&aof, lost), Fate::Unknown);
    let failure = aof.failure().unwrap();
    assert!(failure.contains("Input/output error"), "{failure}");
    faults.sync_fails.store(false, Ordering::SeqCst);
    let later = toy.run(&aof, 0, &[b"INCR", b"n"]);
    assert_eq!(decided(&aof, later), Fate::Unknown, "a later success means nothing");
    assert!(aof.sync().is_err());
    assert!(aof.failure().unwrap().contains("BGREWRITEAOF"));
    assert_eq!(aof.poll(good, Waker::noop()), Fate::Kept);
    assert!(aof.is_broken());

    toy.rewrite(&aof).unwrap();
    assert!(aof.failure().is_none() && !aof.is_broken());
    assert_eq!(decided(&aof, later), Fate::Kept);
    let after = toy.run(&aof, 0, &[b"INCR", b"n"]);
    assert_eq!(decided(&aof, after), Fate::Kept);
    drop(aof);
    assert_eq!(Toy::open(dir.path()).unwrap().0.get(0, "n").as_deref(), Some("4"));
}

#[test]
fn a_rewrite_that_fails_changes_nothing_and_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let (options, faults) = faulty(dir.path(), Durability::EverySecond);
    let (toy, aof, _) = Toy::open_with(options).unwrap();
    for step in 0..100 {
        toy.run(&aof, 0, &[b"INCR", b"n"]);
        aof.sync().unwrap();
        faults.room.store(step * step * 8, Ordering::SeqCst);
        let outcome = toy.rewrite(&aof);
        let full = faults.room.swap(-1, Ordering::SeqCst) == 0;
        assert!(outcome.is_ok() || full, "step {step}: {outcome:?}");
        toy.run(&aof, 0, &[b"INCR", b"n"]);
        aof.sync().unwrap();
        let copy = super::copy(dir.path());
        let (again, ..) = Toy::open(copy.path()).unwrap();
        assert_eq!(*again.state.lock(), *toy.state.lock(), "step {step}");
        if outcome.is_ok() {
            assert!(step > 3, "some rewrites must have failed");
            return;
        }
        assert!(!aof.should_rewrite(1, 0), "not again at once");
    }
    panic!("no rewrite succeeded");
}

#[test]
fn a_rewrite_makes_room_for_what_the_old_file_could_not_take() {
    let dir = tempfile::tempdir().unwrap();
    let (options, faults) = faulty(dir.path(), Durability::EverySecond);
    let (toy, aof, _) = Toy::open_with(options).unwrap();
    faults.room.store(3, Ordering::SeqCst);
    let position = toy.run(&aof, 0, &[b"INCR", b"n"]);
    aof.write_up_to(position);
    assert!(aof.failure().is_some());
    faults.room.store(-1, Ordering::SeqCst);
    toy.rewrite(&aof).unwrap();
    assert_eq!(aof.failure(), None);
    assert_eq!(aof.backlog_bytes(), 0);
    drop(aof);
    assert_eq!(Toy::open(dir.path()).unwrap().0.get(0, "n").as_deref(), Some("1"));
}
