//! The suite of ordered engines ([`OrderedKv`]): what every one promises, as tests that an engine runs in one line.
//!
//! ```text
//! storage_ordered::testing::engines!(fjall, |dir| FjallKv::open(dir, 8 << 20, &["a", "b"]).unwrap());
//! ```
//!
//! The second argument opens an engine in a directory, with at least two spaces; what an earlier one
//! has flushed there must be found again. An engine that keeps nothing says so: `engines!(volatile …)`.

use crate::kv::{Batch, KEY_BYTES_MAX, OrderedKv, Read, Space};
use std::path::Path;

pub use crate::__engine_suite as engines;

/// Runs every test of the suite against one engine; see [`crate::testing::engines`].
#[doc(hidden)]
#[macro_export]
macro_rules! __engine_suite {
    (volatile $name:ident, $open:expr) => {
        $crate::__engine_suite! { @tests $name, $open;
            the_last_word_on_a_key_counts, scans_are_in_the_order_of_bytes, scans_end_where_told,
            spaces_know_nothing_of_each_other, sizes_are_the_callers_affair, snapshots_do_not_change,
            threads_write_side_by_side
        }
    };
    ($name:ident, $open:expr) => {
        $crate::__engine_suite! { volatile $name, $open }
        #[test]
        fn what_is_flushed_is_found_again() {
            let dir = tempfile::tempdir().unwrap();
            $crate::testing::engines::what_is_flushed_is_found_again(dir.path(), &$open);
        }
    };
    (@tests $name:ident, $open:expr; $($test:ident),+) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            $(#[test]
            fn $test() {
                let dir = tempfile::tempdir().unwrap();
                $crate::testing::engines::$test(&($open)(dir.path()));
            })+
        }
    };
}

const A: Space = Space(0);
const B: Space = Space(1);

fn write(kv: &dyn OrderedKv, space: Space, changes: &[(&[u8], Option<&[u8]>)]) {
    let mut batch = Batch::default();
    for (key, value) in changes {
        match value {
            Some(value) => batch.put(space, key.to_vec(), value.to_vec()),
            None => batch.delete(space, key.to_vec()),
        }
    }
    kv.write(batch).unwrap();
}

fn get(kv: &dyn Read, space: Space, key: &[u8]) -> Option<Vec<u8>> {
    kv.get(space, key).unwrap()
}

/// The keys that a scan visits.
fn scan(kv: &dyn Read, space: Space, lo: &[u8], hi: &[u8], reverse: bool) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let mut visit = |key: &[u8], _: &[u8]| {
        keys.push(key.to_vec());
        true
    };
    kv.scan(space, lo, hi, reverse, &mut visit).unwrap();
    keys
}

pub fn the_last_word_on_a_key_counts(kv: &dyn OrderedKv) {
    assert_eq!(get(kv, A, b"k"), None);
    write(kv, A, &[(b"k", Some(b"1")), (b"gone", Some(b"x")), (b"k", Some(b"2")), (b"gone", None)]);
    assert_eq!(get(kv, A, b"k").as_deref(), Some(&b"2"[..]));
    assert_eq!(get(kv, A, b"gone"), None);
    write(kv, A, &[(b"k", Some(b"")), (b"never", None)]);
    assert_eq!(get(kv, A, b"k").as_deref(), Some(&b""[..]), "an empty value is a value");
    write(kv, A, &[(b"k", None)]);
    assert_eq!(get(kv, A, b"k"), None);
    assert!(scan(kv, A, b"", b"", false).is_empty());
    kv.write(Batch::default()).unwrap();
}

/// Keys whose order as bytes differs from that as text, as signed bytes, and by length.
const TRICKY: [&[u8]; 8] = [b"", b"\0", b"\0\0", b"\x7f", b"\x80", b"\xff", b"\xff\0", b"\xff\xff"];

pub fn scans_are_in_the_order_of_bytes(kv: &dyn OrderedKv) {
    let keys = TRICKY.map(|key| [b"k", key].concat());
    let changes: Vec<_> = keys.iter().rev().map(|key| (key.as_slice(), Some(&b"v"[..]))).collect();
    write(kv, A, &changes);
    assert_eq!(scan(kv, A, b"", b"", false), keys);
    let mut backward = keys.to_vec();
    backward.reverse();
    assert_eq!(scan(kv, A, b"", b"", true), backward);
    write(kv, A, &[(&keys[3], None), (b"k\x7f\x01", Some(b"v"))]);
    assert_eq!(scan(kv, A, &keys[2], &keys[5], false), [&keys[2][..], b"k\x7f\x01", &keys[4]]);
}

pub fn scans_end_where_told(kv: &dyn OrderedKv) {
    let keys: Vec<_> = (10..20).map(|n: u8| vec![n]).collect();
    write(kv, A, &keys.iter().map(|key| (key.as_slice(), Some(&b"v"[..]))).collect::<Vec<_>>());
    for (lo, hi, expected) in [
        (&[12][..], &[15][..], &keys[2..5]),
        (&[0], &[12], &keys[..2]),
        (&[18], &[], &keys[8..]),
        (&[12, 0], &[13, 0], &keys[3..4]),
        (&[15], &[15], &[]),
        (&[16], &[15], &[]),
        (&[30], &[], &[]),
    ] {
        assert_eq!(scan(kv, A, lo, hi, false), expected, "{lo:?} to {hi:?}");
        let mut backward = expected.to_vec();
        backward.reverse();
        assert_eq!(scan(kv, A, lo, hi, true), backward, "{lo:?} to {hi:?}, backward");
    }
    let mut seen = 0;
    let mut visit = |_: &[u8], _: &[u8]| {
        seen += 1;
        seen < 3
    };
    kv.scan(A, &[], &[], false, &mut visit).unwrap();
    assert_eq!(seen, 3, "who visits says when it is enough");
}

pub fn spaces_know_nothing_of_each_other(kv: &dyn OrderedKv) {
    let mut batch = Batch::default();
    batch.put(A, b"k".to_vec(), b"a".to_vec());
    batch.put(B, b"k".to_vec(), b"b".to_vec());
    batch.put(B, b"l".to_vec(), b"b".to_vec());
    kv.write(batch).unwrap();
    write(kv, A, &[(b"l", None)]);
    assert_eq!(get(kv, A, b"k").as_deref(), Some(&b"a"[..]));
    assert_eq!(get(kv, B, b"k").as_deref(), Some(&b"b"[..]));
    assert_eq!(scan(kv, A, b"", b"", false), [b"k"]);
    assert_eq!(scan(kv, B, b"", b"", false), [b"k", b"l"]);
}

pub fn sizes_are_the_callers_affair(kv: &dyn OrderedKv) {
    let (long, large) = (vec![b'k'; KEY_BYTES_MAX], vec![b'v'; 3 << 20]);
    write(kv, A, &[(&long, Some(b"v")), (b"large", Some(&large))]);
    assert_eq!(get(kv, A, &long).as_deref(), Some(&b"v"[..]));
    assert!(get(kv, A, b"large").as_deref() == Some(&large[..]), "3 MiB come back as they went");
    assert!(kv.chunk_bytes() > 0);
}

pub fn snapshots_do_not_change(kv: &dyn OrderedKv) {
    write(kv, A, &[(b"k", Some(b"before")), (b"gone", Some(b"before"))]);
    // An engine without old versions has none; there is nothing to hold it to then.
    let Some(frozen) = kv.snapshot() else { return };
    write(kv, A, &[(b"k", Some(b"after")), (b"gone", None), (b"new", Some(b"after"))]);
    let seen =
        std::thread::spawn(move || (get(&*frozen, A, b"k"), scan(&*frozen, A, b"", b"", false)));
    let (value, keys) = seen.join().unwrap();
    assert_eq!(value.as_deref(), Some(&b"before"[..]));
    assert_eq!(keys, [&b"gone"[..], b"k"]);
    assert_eq!(get(kv, A, b"k").as_deref(), Some(&b"after"[..]));
}

pub fn threads_write_side_by_side(kv: &dyn OrderedKv) {
    const EACH: u8 = 100;
    let work = |thread: u8| {
        for n in 0..EACH {
            write(kv, A, &[(&[thread, n], Some(&[n])), (&[thread], Some(&[n]))]);
            assert_eq!(get(kv, A, &[thread]), Some(vec![n]), "what was written is read at once");
        }
    };
    std::thread::scope(|scope| {
        (0..4).for_each(|thread| drop(scope.spawn(move || work(thread))));
    });
    assert_eq!(scan(kv, A, b"", b"", false).len(), 4 * (usize::from(EACH) + 1));
}

pub fn what_is_flushed_is_found_again<K: OrderedKv>(dir: &Path, open: &dyn Fn(&Path) -> K) {
    let kv = open(dir);
    write(&kv, A, &[(b"k", Some(b"1")), (b"gone", Some(b"1"))]);
    write(&kv, B, &[(b"k", Some(b"2"))]);
    write(&kv, A, &[(b"gone", None)]);
    kv.flush().unwrap();
    drop(kv);
    let kv = open(dir);
    assert_eq!(scan(&kv, A, b"", b"", false), [b"k"]);
    assert_eq!(get(&kv, B, b"k").as_deref(), Some(&b"2"[..]));
    kv.flush().unwrap();
}
