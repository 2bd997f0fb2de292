//! The log in front of a persistent store: exactly what the image lacks is replayed.

use super::toy::{Image, Toy};
use super::{copy, names, part};
use std::fs;

#[test]
fn only_what_the_image_lacks_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let toy = Toy::persistent(Image::default());
    let (aof, loaded) = toy.open_image(dir.path()).unwrap();
    assert!(loaded.fresh);
    let mut images = vec![toy.image()];
    for i in 0..30 {
        toy.run(&aof, 0, &[b"INCR", b"n"]);
        if i % 10 == 4 {
            toy.rewrite(&aof).unwrap();
            images.clear(); // the checkpoint is durable: no older image can come back
        }
        images.push(toy.image());
        aof.sync().unwrap();
        for image in &images {
            let crashed = Toy::persistent(image.clone());
            let copy = copy(dir.path());
            crashed.open_image(copy.path()).unwrap();
            assert_eq!(crashed.get(0, "n"), toy.get(0, "n"), "after {i}");
        }
    }
    assert_eq!(names(dir.path()).len(), 2, "no base: {:?}", names(dir.path()));
}

/// After power loss the image may know more than the log. Records appended then must not look as
/// if the image had them.
#[test]
fn an_image_ahead_of_the_log_hides_nothing_later() {
    let dir = tempfile::tempdir().unwrap();
    let toy = Toy::persistent(Image::default());
    let (aof, _) = toy.open_image(dir.path()).unwrap();
    for _ in 0..10 {
        toy.run(&aof, 0, &[b"INCR", b"n"]);
    }
    let image = toy.image();
    drop(aof);
    let path = part(dir.path(), "1.incr.aof");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();

    let second = Toy::persistent(image.clone());
    let (aof, _) = second.open_image(dir.path()).unwrap();
    assert_eq!(second.get(0, "n").as_deref(), Some("10"));
    second.run(&aof, 0, &[b"INCR", b"n"]);
    drop(aof);
    // The image loses the last one, the log has it.
    let third = Toy::persistent(image);
    let _aof = third.open_image(dir.path()).unwrap();
    assert_eq!(third.get(0, "n").as_deref(), Some("11"));
}

#[test]
fn a_log_that_was_removed_is_begun_behind_what_the_image_has_seen() {
    let dir = tempfile::tempdir().unwrap();
    let toy = Toy::persistent(Image::default());
    let (aof, _) = toy.open_image(dir.path()).unwrap();
    toy.run(&aof, 0, &[b"INCR", b"n"]);
    drop(aof);
    fs::remove_dir_all(dir.path().join("appendonlydir")).unwrap();
    let image = toy.image();
    let second = Toy::persistent(image.clone());
    let (aof, loaded) = second.open_image(dir.path()).unwrap();
    assert!(loaded.fresh);
    second.run(&aof, 0, &[b"INCR", b"n"]);
    drop(aof);
    let mut old = image;
    old.mark = second.image().mark;
    let third = Toy::persistent(old);
    let _aof = third.open_image(dir.path()).unwrap();
    assert_eq!(third.get(0, "n").as_deref(), Some("2"));
}

/// A log of a store in memory: its base sets `a` to 1, and its increment adds 1.
fn base_and_increment() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (memory, aof, _) = Toy::open(dir.path()).unwrap();
    memory.run(&aof, 0, &[b"SET", b"a", b"1"]);
    memory.rewrite(&aof).unwrap();
    memory.run(&aof, 0, &[b"INCR", b"a"]);
    drop(aof);
    dir
}

#[test]
fn a_log_with_a_base_moves_into_the_store() {
    let dir = base_and_increment();
    // A crash while the base was being loaded: it is loaded again.
    let half = Image { mark: Some(b"loading".to_vec()), ..Image::default() };
    let toy = Toy::persistent(half);
    toy.state.lock().insert((0, b"a".to_vec()), b"1".to_vec());
    let (aof, _) = toy.open_image(dir.path()).unwrap();
    assert_eq!(toy.get(0, "a").as_deref(), Some("2"));
    // A crash right behind that: neither base nor increments are applied twice.
    let again = Toy::persistent(toy.image());
    let (_aof, loaded) = again.open_image(copy(dir.path()).path()).unwrap();
    assert_eq!((again.get(0, "a").as_deref(), loaded.entries), (Some("2"), 0));
    toy.rewrite(&aof).unwrap();
    assert_eq!(names(dir.path()).len(), 2);
}

#[test]
fn a_base_is_stored_before_it_counts_as_loaded() {
    let dir = base_and_increment();
    let names = names(dir.path());
    let increment = names.iter().find(|name| name.ends_with(".incr.aof")).unwrap();
    let increment = dir.path().join("appendonlydir").join(increment);
    let whole = fs::read(&increment).unwrap();
    // Behind the base something is damaged: the start is refused, and is tried again once it is mended.
    fs::write(&increment, [b"damaged\r\n".as_slice(), &whole].concat()).unwrap();
    let toy = Toy::persistent(Image::default());
    assert!(toy.open_image(dir.path()).is_err());
    fs::write(&increment, whole).unwrap();
    let again = Toy::persistent(toy.image());
    again.open_image(dir.path()).unwrap();
    assert_eq!(again.get(0, "a").as_deref(), Some("2"));
}

#[test]
fn stores_and_logs_that_do_not_belong_together_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let toy = Toy::persistent(Image::default());
    let (aof, _) = toy.open_image(dir.path()).unwrap();
    toy.run(&aof, 0, &[b"INCR", b"n"]);
    toy.rewrite(&aof).unwrap();
    drop(aof);
    let error = Toy::open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("only the tail of a toy store"), "{error}");
    let empty = Toy::persistent(Image::default());
    let error = empty.open_image(dir.path()).err().unwrap().to_string();
    assert!(error.contains("that store is empty"), "{error}");
    let old = Toy::persistent(Image { mark: Some(b"from 1".to_vec()), ..toy.image() });
    let error = old.open_image(dir.path()).err().unwrap().to_string();
    assert!(error.contains("needs increments from 1 on, but the first is 2"), "{error}");

    let other = tempfile::tempdir().unwrap();
    let (memory, aof, _) = Toy::open(other.path()).unwrap();
    memory.run(&aof, 0, &[b"INCR", b"n"]);
    drop(aof);
    let strange = Toy::persistent(Image { mark: None, ..toy.image() });
    let error = strange.open_image(other.path()).err().unwrap().to_string();
    assert!(error.contains("do not belong together"), "{error}");
}
