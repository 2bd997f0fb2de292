//! Torn tails, flipped bytes, missing files, damaged manifests.

use super::toy::{Toy, options};
use super::{copy, part};
use crate::{LoadError, Options};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A log whose only increment holds `text`.
fn log_of(text: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    drop(Toy::open(dir.path()).unwrap());
    fs::write(part(dir.path(), "1.incr.aof"), text).unwrap();
    dir
}

fn refused(dir: &Path) -> LoadError {
    Toy::open(dir).err().expect("damage is refused")
}

fn set(key: &str, value: &str) -> String {
    format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len())
}

#[test]
fn a_tail_torn_at_any_byte_is_cut() {
    let (first, last) = (set("a", "1"), set("key", "twelve bytes"));
    let whole = format!("{first}{last}");
    for len in first.len()..=whole.len() {
        let dir = log_of(&whole.as_bytes()[..len]);
        let (toy, aof, loaded) = Toy::open(dir.path()).unwrap();
        let torn = if len == whole.len() { 0 } else { len - first.len() };
        let cut = loaded.truncated.map(|cut| (cut.offset, cut.bytes));
        assert_eq!(cut, (torn > 0).then_some((first.len() as u64, torn as u64)), "at {len}");
        assert_eq!(toy.state.lock().len(), 1 + usize::from(torn == 0 && len > first.len()));
        // What is appended next follows whole records.
        toy.run(&aof, 0, &[b"INCR", b"a"]);
        drop(aof);
        let again = Toy::open(dir.path()).unwrap();
        assert_eq!((again.0.get(0, "a").as_deref(), again.2.truncated), (Some("2"), None));
    }
}

#[test]
fn a_transaction_without_its_end_is_cut_at_any_byte() {
    let first = set("a", "1");
    let group =
        format!("*1\r\n$5\r\nMULTI\r\n{}{}*1\r\n$4\r\nEXEC\r\n", set("b", "1"), set("c", "1"));
    let whole = format!("{first}{group}");
    for len in first.len() + 1..whole.len() {
        let dir = log_of(&whole.as_bytes()[..len]);
        let (toy, _aof, loaded) = Toy::open(dir.path()).unwrap();
        let cut = loaded.truncated.unwrap();
        assert_eq!((cut.offset, cut.bytes), (first.len() as u64, (len - first.len()) as u64));
        assert_eq!(toy.state.lock().len(), 1);
        assert_eq!(fs::read(part(dir.path(), "1.incr.aof")).unwrap(), first.as_bytes());
    }
    let toy = Toy::open(log_of(whole.as_bytes()).path()).unwrap().0;
    assert_eq!(toy.state.lock().len(), 3);
}

#[test]
fn a_torn_tail_is_refused_when_it_is_not_to_be_cut() {
    let first = set("a", "1");
    let dir = log_of(format!("{first}*3\r\n$3\r\nSE").as_bytes());
    let refusing = || Options { load_truncated: false, ..options(dir.path()) };
    let error = Toy::open_with(refusing()).err().unwrap();
    assert_eq!(error.offset, Some(first.len() as u64));
    assert!(error.to_string().contains("appendonly.aof.1.incr.aof, offset 27"), "{error}");
    assert!(error.to_string().contains("Unexpected end of file"), "{error}");
    assert!(Toy::open(dir.path()).is_ok(), "nothing was changed by refusing");
}

#[test]
fn garbage_behind_the_last_record_is_refused() {
    for garbage in [
        "\0\0\0\0PING",
        "PING\r\n",
        "*0\r\n",
        "*-1\r\n",
        "\r\n",
        "$3\r\nfoo\r\n",
        "*x\r\n",
        "*1\r\nGARBAGE",
        "*1\r\n$1\r\nxyz",
        "*2\r\n$-1",
        "PI",
    ] {
        let first = set("a", "1");
        let error = refused(log_of(format!("{first}{garbage}").as_bytes()).path());
        assert_eq!(error.offset, Some(first.len() as u64), "{garbage:?}");
    }
}

#[test]
fn commands_that_cannot_be_are_refused_where_they_are() {
    let first = set("a", "1");
    for wrong in [
        "*1\r\n$4\r\nNOPE\r\n",
        "*1\r\n$4\r\nEXEC\r\n",
        "*2\r\n$6\r\nSELECT\r\n$1\r\nx\r\n",
        "*1\r\n$5\r\nMULTI\r\n*1\r\n$5\r\nMULTI\r\n",
    ] {
        let error = refused(log_of(format!("{first}{wrong}").as_bytes()).path());
        assert!(error.offset >= Some(first.len() as u64), "{wrong:?}: {error}");
    }
    let error = refused(log_of(format!("{first}*1\r\n$4\r\nNOPE\r\n").as_bytes()).path());
    assert!(error.to_string().ends_with("offset 27: unknown command 'NOPE'"), "{error}");
}

#[test]
fn a_torn_increment_that_is_not_the_last_is_refused() {
    let dir = log_of(format!("{}*3\r\n", set("a", "1")).as_bytes());
    let manifest = part(dir.path(), "manifest");
    let mut text = fs::read_to_string(&manifest).unwrap();
    text.push_str("file appendonly.aof.2.incr.aof seq 2 type i\n");
    fs::write(&manifest, text).unwrap();
    fs::write(part(dir.path(), "2.incr.aof"), "").unwrap();
    // An empty one behind it was only made ready for a rewrite.
    drop(Toy::open(copy(dir.path()).path()).unwrap());
    fs::write(part(dir.path(), "2.incr.aof"), set("b", "1")).unwrap();
    let error = refused(dir.path());
    assert!(error.to_string().contains("1.incr.aof, offset 27: the file ends in the middle"));
}

#[test]
fn missing_and_damaged_parts_are_refused() {
    let dir = log_of(set("a", "1").as_bytes());
    let open = |damage: &dyn Fn(&Path)| {
        let copy = copy(dir.path());
        damage(copy.path());
        refused(copy.path()).to_string()
    };
    let remove = |name: &str| {
        let name = name.to_owned();
        open(&move |dir: &Path| fs::remove_file(part(dir, &name)).unwrap())
    };
    assert!(remove("1.incr.aof").contains("1.incr.aof: No such file"));
    assert!(remove("1.base.rdb").contains("1.base.rdb: No such file"));
    assert!(remove("manifest").contains("is missing"), "{}", remove("manifest"));
    let cut = |name: &str, len: usize| {
        let name = name.to_owned();
        open(&move |dir: &Path| {
            let path = part(dir, &name);
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() - len]).unwrap();
        })
    };
    assert!(cut("manifest", 1).contains("manifest: line 2"), "{}", cut("manifest", 1));
    assert!(cut("1.base.rdb", 3).contains("1.base.rdb, offset "), "{}", cut("1.base.rdb", 3));
}

#[test]
fn a_flipped_byte_in_the_base_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (toy, aof, _) = Toy::open(dir.path()).unwrap();
    toy.run(&aof, 0, &[b"SET", b"key", b"value"]);
    toy.rewrite(&aof).unwrap();
    drop(aof);
    let path = part(dir.path(), "2.base.rdb");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        let error = refused(dir.path());
        assert!(error.path.ends_with("appendonly.aof.2.base.rdb"), "byte {at}: {error}");
        assert!(error.offset.is_some());
    }
}
