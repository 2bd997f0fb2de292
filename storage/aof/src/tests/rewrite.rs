//! Rewriting: while others write, with crashes in between, and when it is due.

use super::toy::{State, Toy};
use super::{copy, names, part};
use crate::{Moment, Observer};
use parking_lot::Mutex;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use storage::{Durability, Journal};

#[test]
fn a_rewrite_leaves_one_base_and_one_increment() {
    let dir = tempfile::tempdir().unwrap();
    let (toy, aof, _) = Toy::open(dir.path()).unwrap();
    for _ in 0..1000 {
        toy.run(&aof, 2, &[b"INCR", b"n"]);
    }
    *toy.functions.lock() = vec![b"#!lua name=x\n".to_vec()];
    aof.sync().unwrap();
    let before = aof.size();
    toy.rewrite(&aof).unwrap();
    toy.run(&aof, 2, &[b"INCR", b"n"]);
    assert!(aof.size() < before);
    drop(aof);
    let files = ["2.base.rdb", "2.incr.aof", "manifest"].map(|n| format!("appendonly.aof.{n}"));
    assert_eq!(names(dir.path()), files);
    let manifest = fs::read_to_string(part(dir.path(), "manifest")).unwrap();
    assert_eq!(
        manifest,
        "file appendonly.aof.2.base.rdb seq 2 type b\n\
         file appendonly.aof.2.incr.aof seq 2 type i\n"
    );
    let (again, _aof, loaded) = Toy::open(dir.path()).unwrap();
    assert_eq!(again.get(2, "n").as_deref(), Some("1001"));
    assert_eq!((loaded.entries, loaded.commands), (1, 1));
    assert_eq!(*again.functions.lock(), *toy.functions.lock());
}

/// Keeps every moment.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Moment>>>);

impl Observer for Kept {
    fn is_on(&self) -> bool {
        true
    }

    fn took(&self, what: Moment, _: Duration) {
        self.0.lock().push(what);
    }
}

#[test]
fn what_may_take_long_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (toy, aof, _) = Toy::open(dir.path()).unwrap();
    let kept = Kept::default();
    aof.observe(Box::new(kept.clone()));
    let write = Moment::Write { syncing: false };
    let position = toy.run(&aof, 0, &[b"INCR", b"n"]);
    aof.write_up_to(position);
    assert_eq!(std::mem::take(&mut *kept.0.lock()), [write]);
    aof.sync().unwrap();
    assert!(!kept.0.lock().contains(&Moment::Sync), "nobody waits for it");
    aof.set_durability(Durability::Always);
    aof.sync().unwrap();
    assert!(kept.0.lock().contains(&Moment::Sync));
    kept.0.lock().clear();
    toy.rewrite(&aof).unwrap();
    let told = kept.0.lock().clone();
    assert!(told.contains(&Moment::Rename) && told.contains(&Moment::Stat), "{told:?}");
}

/// Writers count up without pause; copies taken at any moment must each load to a state in which
/// every counter lies between what was written before the copy and what was after it.
#[test]
fn a_crash_at_any_moment_of_a_rewrite_loads() {
    let dir = tempfile::tempdir().unwrap();
    let (toy, aof, _) = Toy::open(dir.path()).unwrap();
    let done = AtomicBool::new(false);
    let copies = thread::scope(|scope| {
        for writer in 0..3 {
            let (toy, aof, done) = (&toy, &aof, &done);
            scope.spawn(move || {
                let key = format!("writer{writer}");
                while !done.load(Ordering::Relaxed) {
                    let position = toy.run(aof, writer, &[b"INCR", key.as_bytes()]);
                    aof.write_up_to(position);
                }
            });
        }
        let copier = scope.spawn(|| {
            let mut copies = Vec::new();
            while !done.load(Ordering::Relaxed) && copies.len() < 50 {
                let before = toy.state.lock().clone();
                copies.push((before, copy_atomically(dir.path())));
            }
            copies
        });
        for _ in 0..10 {
            toy.rewrite(&aof).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        copier.join().unwrap()
    });
    drop(aof);
    let (again, ..) = Toy::open(dir.path()).unwrap();
    assert_eq!(*again.state.lock(), *toy.state.lock());
    let last = toy.state.lock().clone();
    let mut checked = 0;
    for (before, copy) in copies {
        let Some(copy) = copy else { continue };
        let (crashed, ..) = Toy::open(copy.path()).unwrap();
        assert_between(&before, &crashed.state.lock(), &last);
        checked += 1;
    }
    assert!(checked > 0, "no copy was taken while nothing was renamed or deleted");
}

/// A copy that is one moment's as far as names go: `None` when files came or went meanwhile.
fn copy_atomically(dir: &std::path::Path) -> Option<tempfile::TempDir> {
    let manifest = || fs::read(part(dir, "manifest")).ok();
    let before = (names(dir), manifest()?);
    let copy = copy(dir);
    (before == (names(dir), manifest()?)).then_some(copy)
}

fn assert_between(low: &State, state: &State, high: &State) {
    let number = |state: &State, key: &(u32, Vec<u8>)| {
        state.get(key).map_or(0, |value| resp::parse_i64(value).unwrap())
    };
    for key in high.keys() {
        // A writer logs within the lock but writes after it: one command may be missing.
        assert!(number(low, key) - 1 <= number(state, key), "{key:?}");
        assert!(number(state, key) <= number(high, key), "{key:?}");
    }
}

#[test]
fn leftovers_of_a_crash_are_removed_or_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let (toy, aof, _) = Toy::open(dir.path()).unwrap();
    toy.run(&aof, 0, &[b"INCR", b"n"]);
    drop(aof);
    fs::write(part(dir.path(), "2.base.rdb"), "half").unwrap();
    fs::write(part(dir.path(), "2.incr.aof"), "*1\r\n$4\r\nOOPS\r\n").unwrap();
    fs::write(dir.path().join("appendonlydir/temp-appendonly.aof.base.rdb"), "half").unwrap();
    let (toy, aof, _) = Toy::open(dir.path()).unwrap();
    assert!(!names(dir.path()).iter().any(|name| name.starts_with("temp-")));
    toy.rewrite(&aof).unwrap();
    toy.run(&aof, 0, &[b"INCR", b"n"]);
    drop(aof);
    assert_eq!(Toy::open(dir.path()).unwrap().0.get(0, "n").as_deref(), Some("2"));
}

#[test]
fn history_left_by_a_crash_is_deleted_and_its_numbers_are_not_reused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Toy::open(dir.path()).unwrap());
    let mut text = fs::read_to_string(part(dir.path(), "manifest")).unwrap();
    text.push_str("file appendonly.aof.7.incr.aof seq 7 type h\n");
    fs::write(part(dir.path(), "manifest"), text).unwrap();
    fs::write(part(dir.path(), "7.incr.aof"), "*1\r\n$4\r\nOOPS\r\n").unwrap();
    let (toy, aof, _) = Toy::open(dir.path()).unwrap();
    assert_eq!(names(dir.path()).len(), 3);
    toy.rewrite(&aof).unwrap();
    assert!(part(dir.path(), "8.incr.aof").exists());
}

#[test]
fn a_rewrite_is_due_by_growth() {
    let dir = tempfile::tempdir().unwrap();
    let (toy, aof, _) = Toy::open(dir.path()).unwrap();
    let size = aof.size();
    assert!(!aof.should_rewrite(100, 0));
    let value = vec![b'x'; size as usize];
    let position = toy.run(&aof, 0, &[b"SET", b"key", &value]);
    aof.write_up_to(position);
    assert!(aof.should_rewrite(100, 0));
    assert!(!aof.should_rewrite(0, 0), "0 turns it off");
    assert!(!aof.should_rewrite(100, 1 << 20), "too small to bother");
    toy.rewrite(&aof).unwrap();
    assert!(!aof.should_rewrite(100, 0));
    let stats = aof.stats();
    assert!(stats.contains(&("aof_rewrites", "1".into())));
    assert!(stats.contains(&("aof_last_bgrewrite_status", "ok".into())));
}
