//! kill -9, and bytes that anything may have happened to.

use super::part;
use super::round_trip::decided;
use super::toy::{Toy, options};
use crate::Options;
use proptest::prelude::*;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, thread};
use storage::{Durability, Journal};

/// Names the directory the child works in.
const CHILD_DIR: &str = "VARVE_TEST_AOF_CHILD";

/// Counts up, says so once it is durable, rewrites now and then; until it is killed. Not a test by
/// itself: [`nothing_acknowledged_is_lost_by_kill_9`] runs it in a process of its own.
#[test]
fn child() {
    let Some(dir) = env::var_os(CHILD_DIR) else { return };
    let options = Options { durability: Durability::Always, ..Options::new(Path::new(&dir)) };
    let (toy, aof, _) = Toy::open_with(options).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                toy.rewrite(&aof).unwrap();
                thread::sleep(Duration::from_millis(3));
            }
        });
        let mut out = std::io::stderr();
        loop {
            let position = toy.run(&aof, 0, &[b"INCR", b"n"]);
            aof.write_up_to(position);
            assert_eq!(decided(&aof, position), storage::Fate::Kept);
            let _ = writeln!(out, "{}", toy.get(0, "n").unwrap());
        }
    });
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 0..6 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "tests::crash::child", "--nocapture", "--test-threads=1"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let reader = thread::spawn(move || {
            lines.map_while(Result::ok).filter_map(|line| line.parse::<u64>().ok()).last()
        });
        thread::sleep(Duration::from_millis(150 + 37 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        last = reader.join().unwrap().unwrap_or(last);
        let (toy, ..) = Toy::open(dir.path()).unwrap();
        let loaded = toy.get(0, "n").map_or(0, |n| n.parse::<u64>().unwrap());
        assert!(loaded == last || loaded == last + 1, "acknowledged {last}, loaded {loaded}");
        // On a busy machine a child may be killed before it has said anything.
        last = loaded;
    }
    assert!(last > 0, "no child got anywhere");
}

/// A log of a few commands, then changed in a few places.
fn mangled() -> impl Strategy<Value = Vec<u8>> {
    let command = prop_oneof![
        Just("*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n"),
        Just("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\n\r\n*1\r\n$4\r\nEX\r\n"),
        Just("*1\r\n$5\r\nMULTI\r\n"),
        Just("*1\r\n$4\r\nEXEC\r\n"),
        Just("*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"),
        Just("#TS:1700000000\r\n"),
        Just("*0\r\n"),
    ];
    let change = (any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(b'*'), Just(b'\r')]);
    let log = prop::collection::vec(command, 0..12);
    (log, prop::collection::vec(change, 0..3), any::<prop::sample::Index>()).prop_map(
        |(log, changes, end)| {
            let mut bytes = log.concat().into_bytes();
            for (at, byte) in changes.into_iter().filter(|_| !log.is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(end.index(bytes.len() + 40));
            bytes
        },
    )
}

proptest! {
    /// For any bytes, opening the log either fails with an offset within the file, or gives a state
    /// that does not change when the log is opened again.
    #[test]
    fn any_bytes_are_refused_or_settle(bytes in mangled()) {
        let dir = tempfile::tempdir().unwrap();
        drop(Toy::open(dir.path()).unwrap());
        let path = part(dir.path(), "1.incr.aof");
        fs::write(&path, &bytes).unwrap();
        match Toy::open_with(options(dir.path())) {
            Err(error) => {
                prop_assert!(error.offset.unwrap() <= bytes.len() as u64);
                prop_assert_eq!(fs::read(&path).unwrap(), bytes, "refusing changes nothing");
            }
            Ok((toy, aof, loaded)) => {
                drop(aof);
                let cut = loaded.truncated.map_or(0, |cut| cut.bytes);
                let kept = fs::read(&path).unwrap();
                prop_assert_eq!(kept.len() as u64 + cut, bytes.len() as u64);
                let (again, _aof, loaded) = Toy::open(dir.path()).unwrap();
                prop_assert_eq!(loaded.truncated, None);
                prop_assert_eq!(&*again.state.lock(), &*toy.state.lock());
            }
        }
    }
}
