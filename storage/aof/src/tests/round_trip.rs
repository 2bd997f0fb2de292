//! Tests that appended records are loaded again, of the sync policies, and of the statistics.

use super::toy::{Replayer, Toy};
use super::{names, part};
use crate::{Aof, Options};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};
use std::thread;
use std::time::Duration;
use storage::testing::until;
use storage::{Durability, Fate, Journal, Position};

#[test]
fn what_is_appended_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let (toy, aof, loaded) = Toy::open(dir.path()).unwrap();
    assert!(loaded.fresh);
    toy.run(&aof, 0, &[b"SET", b"a", b"1"]);
    toy.run(&aof, 3, &[b"SET", b"b", b"\r\n*1\r\n"]);
    let atomic =
        [(3, vec![b"INCR".to_vec(), b"n".to_vec()]), (0, vec![b"INCR".to_vec(), b"a".to_vec()])];
    aof.append_atomic(0, &atomic).unwrap();
    let end = aof.append_encoded(0, 0, b"*2\r\n$4\r\nINCR\r\n$1\r\na\r\n").unwrap();
    aof.write_up_to(end);
    drop(aof);

    let (again, aof, loaded) = Toy::open(dir.path()).unwrap();
    assert_eq!((loaded.fresh, loaded.commands, loaded.truncated), (false, 5, None));
    assert_eq!(again.get(0, "a").as_deref(), Some("3"));
    assert_eq!(again.get(3, "b").as_deref(), Some("\r\n*1\r\n"));
    assert_eq!(again.get(3, "n").as_deref(), Some("1"));
    let next = again.run(&aof, 0, &[b"INCR", b"a"]);
    assert!(next > end, "positions grow across restarts");
    drop(aof);
    assert_eq!(Toy::open(dir.path()).unwrap().0.get(0, "a").as_deref(), Some("4"));
    let files = ["1.base.rdb", "1.incr.aof", "manifest"].map(|n| format!("appendonly.aof.{n}"));
    assert_eq!(names(dir.path()), files);
}

#[test]
fn written_is_in_the_file_before_it_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let (toy, aof, _) = Toy::open(dir.path()).unwrap();
    aof.set_durability(Durability::Never);
    let position = toy.run(&aof, 0, &[b"SET", b"key", b"value"]);
    aof.write_up_to(position);
    let text = fs::read(part(dir.path(), "1.incr.aof")).unwrap();
    assert!(text.ends_with(b"$3\r\nkey\r\n$5\r\nvalue\r\n"));
    assert_eq!(aof.backlog_bytes(), 0);
    assert_eq!(aof.poll(position, Waker::noop()), Fate::Kept);
}

#[test]
fn the_thread_writes_what_nobody_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let (toy, aof, _) = Toy::open(dir.path()).unwrap();
    toy.run(&aof, 0, &[b"SET", b"key", b"value"]);
    until("it is written", || aof.backlog_bytes() == 0);
    let text = fs::read(part(dir.path(), "1.incr.aof")).unwrap();
    assert!(memchr::memmem::find(&text, b"$5\r\nvalue\r\n").is_some());
}

/// Unparks a thread.
struct Unpark(thread::Thread, AtomicU64);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.unpark();
    }
}

/// Waits as a session would.
pub fn decided(aof: &Aof, position: Position) -> Fate {
    let unpark = Arc::new(Unpark(thread::current(), AtomicU64::new(0)));
    let waker = Waker::from(unpark.clone());
    let mut polls = 0;
    loop {
        match aof.poll(position, &waker) {
            Fate::Pending => polls += 1,
            fate => return fate,
        }
        while unpark.1.load(Ordering::SeqCst) < polls {
            thread::park_timeout(Duration::from_secs(10));
        }
    }
}

#[test]
fn always_waits_for_the_sync_and_wakes_everyone() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { durability: Durability::Always, ..Options::new(dir.path()) };
    let (toy, aof, _) = Toy::open_with(options).unwrap();
    thread::scope(|scope| {
        for writer in 0..8 {
            let (toy, aof) = (&toy, &aof);
            scope.spawn(move || {
                for _ in 0..50 {
                    let key = format!("writer{writer}");
                    let position = toy.run(aof, 0, &[b"INCR", key.as_bytes()]);
                    assert_eq!(decided(aof, position), Fate::Kept);
                }
            });
        }
    });
    let again = Toy::open(copy_of(&dir).path()).unwrap().0;
    assert_eq!(*again.state.lock(), *toy.state.lock());
    assert_eq!(again.get(0, "writer7").as_deref(), Some("50"));
}

fn copy_of(dir: &tempfile::TempDir) -> tempfile::TempDir {
    super::copy(dir.path())
}

#[test]
fn positions_appended_under_always_stay_strict() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { durability: Durability::Always, ..Options::new(dir.path()) };
    let (toy, aof, _) = Toy::open_with(options).unwrap();
    let strict = toy.run(&aof, 0, &[b"INCR", b"n"]);
    aof.set_durability(Durability::Never);
    assert_eq!(aof.durability(), Durability::Never);
    let lax = toy.run(&aof, 0, &[b"INCR", b"n"]);
    assert_eq!(aof.poll(lax, Waker::noop()), Fate::Kept, "written is enough");
    assert_eq!(decided(&aof, strict), Fate::Kept);
}

#[test]
fn closed_is_an_error_and_not_a_wait() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { durability: Durability::Always, ..Options::new(dir.path()) };
    let (toy, aof, _) = Toy::open_with(options).unwrap();
    let position = toy.run(&aof, 0, &[b"INCR", b"n"]);
    aof.close().unwrap();
    assert_eq!(aof.poll(position, Waker::noop()), Fate::Kept);
    let late = toy.run(&aof, 0, &[b"INCR", b"n"]);
    assert_eq!(aof.poll(late, Waker::noop()), Fate::Unknown);
}

#[test]
fn comments_are_skipped_wherever_they_are() {
    let dir = tempfile::tempdir().unwrap();
    drop(Toy::open(dir.path()).unwrap());
    let incr = "*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n";
    let text = format!("#TS:1700000000\r\n{incr}#TS:1700000001\r\n#\"\r\n{incr}{incr}#end\r\n");
    fs::write(part(dir.path(), "1.incr.aof"), text).unwrap();
    let (toy, _aof, loaded) = Toy::open(dir.path()).unwrap();
    assert_eq!((toy.get(0, "n").as_deref(), loaded.truncated), (Some("3"), None));
}

#[test]
fn records_larger_than_a_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let (toy, aof, _) = Toy::open(dir.path()).unwrap();
    for i in 0..5usize {
        let value = vec![b'0' + i as u8; 1_500_000 * i];
        toy.run(&aof, 0, &[b"SET", format!("key{i}").as_bytes(), &value]);
    }
    drop(aof);
    assert_eq!(*Toy::open(dir.path()).unwrap().0.state.lock(), *toy.state.lock());
}

#[test]
fn a_backlog_beyond_the_bound_writes_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (toy, aof, _) = Toy::open(dir.path()).unwrap();
    let value = vec![b'x'; 33 << 20];
    toy.run(&aof, 0, &[b"SET", b"a", &value]);
    toy.run(&aof, 0, &[b"SET", b"b", &value]);
    assert!(aof.backlog_bytes() < 34 << 20, "{}", aof.backlog_bytes());
}

#[test]
fn statistics_have_the_names_of_redis() {
    let dir = tempfile::tempdir().unwrap();
    let (toy, aof, _) = Toy::open(dir.path()).unwrap();
    let position = toy.run(&aof, 0, &[b"SET", b"a", b"1"]);
    let stat = |name: &str| aof.stats().into_iter().find(|(n, _)| *n == name).unwrap().1;
    assert_eq!(stat("aof_enabled"), "1");
    let before: u64 = stat("aof_current_size").parse().unwrap();
    aof.write_up_to(position);
    let text = fs::read(part(dir.path(), "1.incr.aof")).unwrap();
    assert_eq!(stat("aof_current_size"), (before + text.len() as u64).to_string());
    assert_eq!(stat("aof_base_size"), before.to_string());
    assert_eq!(stat("aof_last_write_status"), "ok");
}

#[test]
fn replay_is_told_the_position_it_was_appended_at() {
    struct Positions(Vec<Position>);
    impl crate::Replay for Positions {
        fn entry(&mut self, _: storage::rdb::KeyValue) -> Result<(), String> {
            Err("no entries".into())
        }
        fn function(&mut self, _: &[u8]) -> Result<(), String> {
            Err("no functions".into())
        }
        fn commands(
            &mut self,
            at: Position,
            _: u64,
            _: &[crate::Command<'_>],
        ) -> Result<(), crate::Refused> {
            self.0.push(at);
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let (toy, aof, _) = Toy::open(dir.path()).unwrap();
    let mut appended = vec![toy.run(&aof, 0, &[b"INCR", b"n"]), toy.run(&aof, 5, &[b"INCR", b"n"])];
    let effect = || vec![b"INCR".to_vec(), b"n".to_vec()];
    appended.push(aof.append_atomic(0, &[(0, effect()), (1, effect())]).unwrap());
    toy.rewrite(&aof).unwrap();
    drop(aof);
    let (aof, _) = Aof::open(Options::new(dir.path()), &mut Replayer(toy.clone())).unwrap();
    appended.push(toy.run(&aof, 5, &[b"INCR", b"n"]));
    drop(aof);
    let mut positions = Positions(Vec::new());
    let outcome = Aof::open(Options::new(dir.path()), &mut positions);
    assert!(outcome.err().unwrap().to_string().contains("no entries"));
    fs::write(
        dir.path().join("appendonlydir/appendonly.aof.manifest"),
        "file appendonly.aof.2.incr.aof seq 2 type i\n",
    )
    .unwrap();
    Aof::open(Options::new(dir.path()), &mut positions).unwrap();
    assert_eq!(positions.0, appended[3..]);
    assert!(appended.windows(2).all(|pair| pair[0] < pair[1]));
}
