//! Marks: what clients wrote never decides how the log is read, and damage is told from a torn tail.

use super::part;
use super::toy::{Image, State, Toy, options};
use crate::{LoadError, Options};
use std::fs;
use std::path::{Path, PathBuf};
use storage::Journal;
use tempfile::TempDir;

fn file(dir: &Path) -> PathBuf {
    part(dir, "1.incr.aof")
}

/// A log that this server wrote and closed, and what is in its only increment.
fn written(effects: &[&[&[u8]]]) -> (TempDir, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let (toy, aof, _) = Toy::open(dir.path()).unwrap();
    for effect in effects {
        toy.run(&aof, 0, effect);
    }
    aof.close().unwrap();
    let bytes = fs::read(file(dir.path())).unwrap();
    (dir, bytes)
}

/// Opens the log as it would be with this increment.
fn open(dir: &Path, bytes: &[u8]) -> Result<(usize, Option<u64>), LoadError> {
    fs::write(file(dir), bytes).unwrap();
    let (toy, aof, loaded) = Toy::open(dir)?;
    drop(aof);
    // Whatever was cut: what is there now loads again, to the same.
    let (again, _aof, reloaded) = Toy::open(dir).unwrap();
    assert_eq!((&*again.state.lock(), reloaded.truncated), (&*toy.state.lock(), None));
    let keys = toy.state.lock().len();
    Ok((keys, loaded.truncated.map(|cut| cut.offset)))
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    memchr::memmem::find(bytes, what).unwrap()
}

/// Where lines of marks are.
fn marks(bytes: &[u8]) -> Vec<usize> {
    memchr::memmem::find_iter(bytes, b"#varve:").collect()
}

fn line_at(bytes: &[u8], at: usize) -> &[u8] {
    let end = memchr::memchr(b'\n', &bytes[at..]).unwrap();
    &bytes[at..=at + end]
}

#[test]
fn no_value_makes_a_torn_tail_look_like_damage() {
    // A client that has seen the file copies all that is genuine in it.
    let (_dir, seen) = written(&[&[b"SET", b"a", &[b'x'; 9000]], &[b"SET", b"b", b"1"]]);
    let mut value = b"\r\n*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nDEL\r\n$1\r\na\r\n".to_vec();
    value.extend_from_slice(line_at(&seen, 0));
    for at in marks(&seen) {
        value.extend_from_slice(line_at(&seen, at));
    }
    value.extend_from_slice(
        b"#TS:1700000000\r\n#varve:0000000000000000\r\n#varve:\r\n*0\r\n\0\0\r\n",
    );
    value.extend_from_slice(b"*5\r\n$1\r\n");
    let (dir, whole) = written(&[&[b"SET", b"a", b"1"], &[b"SET", b"victim", &value]]);
    let start = find(&whole, b"*3\r\n$3\r\nSET\r\n$6\r\nvictim");
    let end = marks(&whole).last().copied().unwrap();
    for len in start + 1..end {
        let (keys, cut) = open(dir.path(), &whole[..len]).unwrap();
        assert_eq!((keys, cut), (1, Some(start as u64)), "torn at {len}");
    }
    assert_eq!(open(dir.path(), &whole).unwrap(), (2, None));
}

#[test]
fn a_copied_key_marks_nothing_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (toy, aof, _) = Toy::open(dir.path()).unwrap();
    toy.run(&aof, 0, &[b"SET", b"a", &[b'x'; 9000]]);
    aof.sync().unwrap();
    // This file's own lines, within a value of this file.
    let seen = fs::read(file(dir.path())).unwrap();
    let lines: Vec<u8> =
        [0].into_iter().chain(marks(&seen)).flat_map(|at| line_at(&seen, at).to_vec()).collect();
    assert!(lines.len() > 100, "it has marks");
    toy.run(&aof, 0, &[b"SET", b"victim", &[b"\r\n", &lines[..], b"more"].concat()]);
    aof.close().unwrap();
    drop(aof);
    let whole = fs::read(file(dir.path())).unwrap();
    let torn = &whole[..find(&whole, b"more") + 2];
    let start = find(&whole, b"*3\r\n$3\r\nSET\r\n$6\r\nvictim");
    assert_eq!(open(dir.path(), torn).unwrap(), (1, Some(start as u64)));
}

#[test]
fn a_damaged_length_is_refused_wherever_it_is() {
    let small: &[&[u8]] = &[b"SET", b"key", b"0123456789"];
    let (dir, whole) = written(&[small, &[b"SET", b"long", &[b'v'; 300]], &[b"INCR", b"n"], small]);
    for (before, after) in [
        (&b"$300\r\n"[..], &b"$900\r\n"[..]),
        (b"$10\r\n", b"$90\r\n"),
        (b"*2\r\n$4\r\nINCR", b"*9\r\n$4\r\nINCR"),
        (b"*3\r\n$3\r\nSET\r\n$4\r\nlong", b"*8\r\n$3\r\nSET\r\n$4\r\nlong"),
    ] {
        let at = find(&whole, before);
        let mut damaged = whole.clone();
        damaged[at..at + after.len()].copy_from_slice(after);
        let error = open(dir.path(), &damaged).unwrap_err();
        assert!(error.to_string().contains("Bad file format"), "{error}");
        assert_eq!(fs::read(file(dir.path())).unwrap(), damaged, "refusing changes nothing");
    }
}

/// Behind a length that became shorter, a value may stand as records of its own.
#[test]
fn a_value_that_became_records_is_refused() {
    let value = b"0123456789\r\n*2\r\n$4\r\nINCR\r\n$6\r\nforged\r\n*3\r\n$3\r\nSET\r\n$1\r\nf\r\n$3\r\nend";
    let (dir, whole) = written(&[&[b"SET", b"a", value], &[b"SET", b"b", b"1"]]);
    let length = format!("${}\r\n", value.len());
    let at = find(&whole, length.as_bytes());
    let mut damaged = whole.clone();
    damaged[at..at + length.len()].copy_from_slice(b"$10\r\n");
    let error = open(dir.path(), &damaged).unwrap_err().to_string();
    assert!(error.contains("are not what was written"), "{error}");
}

#[test]
fn every_flipped_bit_is_refused_or_told() {
    let (dir, whole) = written(&[
        &[b"SET", b"a", b"1"],
        &[b"SET", b"long", b"0123456789abcdef"],
        &[b"SET", b"b", b"2"],
    ]);
    let header = line_at(&whole, 0).len();
    let last = marks(&whole).last().copied().unwrap();
    for at in header..last {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            fs::write(file(dir.path()), &damaged).unwrap();
            let error = Toy::open(dir.path()).err();
            let error = error.unwrap_or_else(|| panic!("byte {at} bit {bit} is loaded"));
            assert!(error.offset.unwrap() >= header as u64, "byte {at} bit {bit}: {error}");
        }
    }
}

#[test]
fn a_transaction_that_lost_its_end_in_the_middle_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (toy, aof, _) = Toy::open(dir.path()).unwrap();
    let effect = || vec![b"INCR".to_vec(), b"n".to_vec()];
    aof.append_atomic(0, &[(0, effect()), (0, effect())]).unwrap();
    toy.run(&aof, 0, &[b"SET", b"a", b"1"]);
    aof.close().unwrap();
    drop(aof);
    let mut bytes = fs::read(file(dir.path())).unwrap();
    let at = find(&bytes, b"EXEC");
    bytes[at..at + 4].copy_from_slice(b"EXEX");
    let error = open(dir.path(), &bytes).unwrap_err().to_string();
    assert!(error.contains("Bad file format"), "{error}");
}

#[test]
fn zeros_at_the_end_are_cut() {
    let (dir, whole) = written(&[&[b"SET", b"a", b"1"], &[b"SET", b"key", b"a\0\0value\0\0\0"]]);
    let start = find(&whole, b"*3\r\n$3\r\nSET\r\n$3\r\nkey");
    let mark = marks(&whole).last().copied().unwrap();
    for zeros in [1, 4095, 200_000] {
        for len in (start..=mark).chain([whole.len()]) {
            let bytes = [&whole[..len], &vec![0; zeros][..]].concat();
            let (keys, cut) = open(dir.path(), &bytes).unwrap();
            let kept = if len < mark { start } else { len };
            assert_eq!((keys, cut), (1 + usize::from(len >= mark), Some(kept as u64)), "at {len}");
            if zeros > 1 && len > start + 20 {
                break;
            }
        }
    }
    assert_eq!(open(dir.path(), &[0; 70_000]).unwrap(), (0, Some(0)));
    // A hole, with the log going on behind it, is none.
    let mut hole = whole.clone();
    hole[start..start + 30].fill(0);
    assert!(open(dir.path(), &hole).is_err());
}

#[test]
fn marks_go_on_after_a_restart_and_behind_what_redis_wrote() {
    let theirs =
        b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\nr\r\n$4\r\n\r\n*1\r\n".to_vec();
    let dir = tempfile::tempdir().unwrap();
    drop(Toy::open(dir.path()).unwrap());
    fs::write(file(dir.path()), &theirs).unwrap();
    for round in 0..3u8 {
        let (toy, aof, _) = Toy::open(dir.path()).unwrap();
        toy.run(&aof, 0, &[b"SET", &[b'a' + round], b"1"]);
    }
    // Redis goes on with the same file, and so do we.
    let mut bytes = fs::read(file(dir.path())).unwrap();
    bytes.extend_from_slice(b"#TS:1700000000\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n");
    fs::write(file(dir.path()), &bytes).unwrap();
    let (toy, aof, loaded) = Toy::open(dir.path()).unwrap();
    assert_eq!(loaded.truncated, None);
    toy.run(&aof, 0, &[b"SET", b"z", b"1"]);
    drop(aof);
    let whole = fs::read(file(dir.path())).unwrap();
    assert_eq!(memchr::memmem::find_iter(&whole, b"#varve-log").count(), 1);
    assert_eq!(open(dir.path(), &whole).unwrap(), (6, None));
    for what in [&b"$1\r\na\r\n"[..], b"$1\r\nc\r\n", b"$1\r\nn\r\n", b"$1\r\nz\r\n"] {
        let mut damaged = whole.clone();
        damaged[find(&whole, what) + 4] = b'!';
        assert!(open(dir.path(), &damaged).is_err(), "{}", String::from_utf8_lossy(what));
    }
    // What Redis wrote by itself is read as Redis reads it; without the first line, everything is.
    let header = find(&whole, b"#varve-log");
    let mut edited = whole.clone();
    edited.drain(header..header + line_at(&whole, header).len());
    assert_eq!(open(dir.path(), &edited).unwrap(), (6, None));
}

#[test]
fn marks_cost_little() {
    let dir = tempfile::tempdir().unwrap();
    let (toy, aof, _) = Toy::open(dir.path()).unwrap();
    for _ in 0..10_000 {
        let position = toy.run(&aof, 0, &[b"INCR", b"n"]);
        // One write(2) each.
        aof.write_up_to(position);
    }
    aof.close().unwrap();
    let bytes = fs::read(file(dir.path())).unwrap();
    let marks: usize = marks(&bytes).iter().map(|at| line_at(&bytes, *at).len()).sum();
    assert!(marks > 0 && marks * 50 < bytes.len(), "{marks} of {}", bytes.len());
}

#[test]
fn a_panic_while_appending_leaves_no_half_record() {
    let dir = tempfile::tempdir().unwrap();
    let (toy, aof, _) = Toy::open_with(Options { ..options(dir.path()) }).unwrap();
    for db in [0, 0, 5] {
        let torn = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            aof.syncer.log.append(db, |out| {
                out.extend_from_slice(b"*3\r\n$3\r\nSE");
                panic!("half a record");
            })
        }));
        assert!(torn.is_err());
        toy.run(&aof, db, &[b"INCR", b"n"]);
    }
    aof.close().unwrap();
    drop(aof);
    let (again, _aof, loaded) = Toy::open(dir.path()).unwrap();
    assert_eq!(loaded.truncated, None);
    assert_eq!(*again.state.lock(), *toy.state.lock());
}

#[test]
fn a_store_that_keeps_its_data_gets_nothing_of_a_damaged_log() {
    let dir = tempfile::tempdir().unwrap();
    let toy = Toy::persistent(Image::default());
    let (aof, _) = toy.open_image(dir.path()).unwrap();
    toy.run(&aof, 0, &[b"SET", b"a", b"first"]);
    toy.run(&aof, 0, &[b"SET", b"b", b"second"]);
    aof.close().unwrap();
    drop(aof);
    let mut bytes = fs::read(file(dir.path())).unwrap();
    let at = find(&bytes, b"second");
    bytes[at] = b'S';
    fs::write(file(dir.path()), &bytes).unwrap();
    // As a crash leaves it: older than the log.
    let crashed = Toy::persistent(Image { state: State::new(), applied: 0, ..toy.image() });
    assert!(crashed.open_image(dir.path()).is_err());
    assert!(crashed.state.lock().is_empty());
    bytes[at] = b's';
    fs::write(file(dir.path()), &bytes).unwrap();
    let (_aof, loaded) = crashed.open_image(dir.path()).unwrap();
    assert_eq!((loaded.commands, &*crashed.state.lock()), (2, &*toy.state.lock()));
}
