//! The conformance suite: what every backend promises, as tests that a backend runs in one line.
//!
//! ```text
//! storage::testing::suite!(memory, || Arc::new(MemoryBackend::new(Config::default())));
//! ```
//!
//! The second argument makes an empty backend with at least four databases. Every test gets one of
//! its own. A test speaks only through the traits; whatever it needs to know of a backend it asks
//! the backend.

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng};

// The names of the tests say what they test.
#[allow(missing_docs)]
pub mod bulk_loads;
#[allow(missing_docs)]
pub mod concurrency;
#[allow(missing_docs)]
pub mod expiry;
#[allow(missing_docs)]
pub mod hashes;
#[allow(missing_docs)]
pub mod journals;
#[allow(missing_docs)]
pub mod keys;
#[allow(missing_docs)]
pub mod lists;
#[allow(missing_docs)]
pub mod model;
#[allow(missing_docs)]
pub mod scans;
pub mod scripted;
#[allow(missing_docs)]
pub mod sets;
#[allow(missing_docs)]
pub mod snapshots;
#[allow(missing_docs)]
pub mod sorted_sets;
#[allow(missing_docs)]
pub mod streams;
#[allow(missing_docs)]
pub mod strings;

use crate::tx::{Db, Key, Kind, Tx};
use crate::{Backend, Locks, ShardSet};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub use crate::__storage_suite as suite;

/// Runs every test of the suite against one backend; see [`crate::testing`].
#[doc(hidden)]
#[macro_export]
macro_rules! __storage_suite {
    ($name:ident, $make:expr) => {
        $crate::__storage_suite! { @tests $name, $make;
            keys: absent_keys_are_absent, kinds_are_told_apart, wrong_type_changes_nothing,
                removing, renaming_replaces, renaming_across_shards_and_databases, touching,
                introspection, databases_are_separate, clearing, dropping_large_keys, swapping_databases,
                random_keys, counting, dump_and_restore, binary_keys;
            strings: setting_and_getting, appending, ranges, overwriting_ranges, large_values,
                replacing_other_types, growing_through_every_size;
            expiry: expired_keys_are_absent_and_noted, what_has_expired_is_kept_when_asked,
                expiry_is_kept_cleared_and_set,
                renaming_takes_the_expiry_along, expiring_what_is_due, expiries_are_counted,
                expired_keys_are_scanned_without_a_kind, a_random_key_is_alive,
                presence_deletes_nothing;
            lists: pushing_and_popping, indexing, inserting_and_removing, trimming,
                trimming_to_little, ranging,
                like_a_deque, empty_lists_go;
            sets: members, integers_and_text, random_members, scanning_members, empty_sets_go;
            hashes: fields, insertion_order, field_expiry, expired_fields_are_noted,
                expired_fields_are_hidden_when_asked, random_fields,
                scanning_fields, empty_hashes_go, many_fields;
            sorted_sets: ordering, ranks, ranges_by_score, ranges_by_lex, ranges_by_rank,
                popping, removing_ranges, scanning_scores, like_a_sorted_vector,
                ranks_while_it_changes, empty_ones_go;
            streams: appending_and_ranging, deleting_entries, trimming_streams,
                trimming_keeps_groups, empty_streams_stay,
                groups_and_consumers, pending_entries, dumped_streams_come_back,
                removed_streams_are_cleaned_up, like_a_sorted_map;
            scans: everything_is_met, what_stays_is_met_while_keys_come,
                what_stays_is_met_while_keys_go, counts_bound_the_work;
            model: random_operations_agree_with_a_map;
            concurrency: increments_are_not_lost, transfers_keep_the_sum,
                transactions_are_seen_whole, locking_everything_excludes_everyone,
                a_panic_releases_locks_and_tells_what_stays, the_load_of_shards_is_counted;
            snapshots: a_snapshot_holds_everything, a_snapshot_is_of_one_moment,
                sums_agree_in_a_snapshot, clearing_during_a_snapshot, one_snapshot_after_another,
                an_abandoned_snapshot_leaves_no_trace;
            bulk_loads: what_is_loaded_is_there, of_two_the_later_one_stays,
                what_is_there_is_refused_when_asked;
        }
    };
    (@tests $name:ident, $make:expr; $($module:ident: $($test:ident),+;)+) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            $(mod $module {
                #[allow(unused_imports)]
                use super::*;
                $(#[test]
                fn $test() {
                    let backend: ::std::sync::Arc<dyn $crate::Backend> = ($make)();
                    $crate::testing::$module::$test(&$crate::testing::Store::new(backend));
                })+
            })+
        }
    };
}

/// The time tests start at, Unix milliseconds.
pub const NOW: u64 = 1_700_000_000_000;

/// A backend under test, with shorthands.
#[derive(Clone)]
pub struct Store {
    /// The backend.
    pub backend: Arc<dyn Backend>,
}

impl Store {
    /// Wraps a backend.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Store { backend }
    }

    /// A key of database 0.
    pub fn key<'a>(&self, name: &'a (impl AsRef<[u8]> + ?Sized)) -> Key<'a> {
        self.key_in(0, name)
    }

    /// A key of some database.
    pub fn key_in<'a>(&self, db: Db, name: &'a (impl AsRef<[u8]> + ?Sized)) -> Key<'a> {
        let bytes = name.as_ref();
        Key { db, hash: self.backend.hash(bytes), bytes }
    }

    /// Runs `body` at [`NOW`] with the shards of `keys` locked.
    pub fn with<R>(&self, keys: &[Key<'_>], body: impl FnOnce(&mut dyn Tx) -> R) -> R {
        self.with_at(NOW, keys, body)
    }

    /// Runs `body` at some time with the shards of `keys` locked.
    pub fn with_at<R>(
        &self,
        now_ms: u64,
        keys: &[Key<'_>],
        body: impl FnOnce(&mut dyn Tx) -> R,
    ) -> R {
        let mut shards = ShardSet::new();
        keys.iter().for_each(|key| shards.add(self.backend.shard_of(key.hash)));
        self.run(shards.locks(), now_ms, body)
    }

    /// Runs `body` at [`NOW`] with every shard locked.
    pub fn with_all<R>(&self, body: impl FnOnce(&mut dyn Tx) -> R) -> R {
        self.run(Locks::All, NOW, body)
    }

    /// Runs `body` under some locks.
    pub fn run<R>(&self, locks: Locks<'_>, now_ms: u64, body: impl FnOnce(&mut dyn Tx) -> R) -> R {
        let (mut body, mut result) = (Some(body), None);
        let ran = self.backend.transact(locks, now_ms, &mut |tx| {
            let body = body.take().expect("a body runs once");
            result = Some(body(tx));
        });
        ran.expect("the transaction succeeds");
        result.expect("the body ran")
    }

    /// Sets a string of database 0.
    pub fn set(&self, name: &str, value: &[u8]) {
        let key = self.key(name);
        self.with(&[key], |tx| tx.set_string(&key, value, crate::NewExpiry::Clear)).expect("set");
    }

    /// A string of database 0 at some time.
    pub fn get_at(&self, now_ms: u64, name: &str) -> Option<Vec<u8>> {
        let key = self.key(name);
        self.with_at(now_ms, &[key], |tx| {
            let value = tx.string(&key).expect("a string");
            value.map(|value| value.as_bytes().to_vec())
        })
    }

    /// A string of database 0.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.get_at(NOW, name)
    }

    /// Two names whose keys lie in different shards, if there are several.
    pub fn names_in_two_shards(&self) -> (String, String) {
        let first = "first".to_string();
        let home = self.backend.shard_of(self.key(&first).hash);
        let second = (0..10_000)
            .map(|n| format!("second:{n}"))
            .find(|name| self.backend.shard_of(self.key(name).hash) != home);
        (first, second.unwrap_or_else(|| "second".to_string()))
    }

    /// One full scan of database 0: the names, as often as they were met. `between` runs between
    /// the steps.
    pub fn scan_names(&self, count: usize, mut between: impl FnMut()) -> Vec<Vec<u8>> {
        let (mut names, mut cursor) = (Vec::new(), 0);
        loop {
            let shard = self.backend.shard_of_cursor(cursor);
            cursor = self.run(Locks::One(shard), NOW, |tx| {
                let mut visit = |name: &[u8], kind: Option<Kind>| {
                    names.extend(kind.map(|_| name.to_vec()));
                };
                tx.scan(0, cursor, count, &mut visit).expect("scan")
            });
            if cursor == 0 {
                return names;
            }
            between();
        }
    }
}

/// The time that [`until`] waits at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds, and asks every few milliseconds: for tests of what another thread or another
/// process does in its own time.
///
/// # Panics
/// Panics if it does not hold within a minute.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_some(what, || condition().then_some(()));
}

/// Waits until there is something, as [`until`] does, and returns it.
///
/// # Panics
/// Panics if there is nothing within a minute.
#[track_caller]
pub fn until_some<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The ports that [`free_port`] gives: thousands with an even number. They lie below those that Linux gives to whoever
/// asks for any port (`ip_local_port_range`, 32768 and up), of which one found free may belong to a connection a moment
/// later.
const TEST_PORTS: std::ops::Range<u32> = 10_000..32_000;

/// A port of this machine for a server that a test starts. Nobody listens to it, nor to the one 1,000 above, which a
/// node of a cluster takes too; no other test of this process is given one of the two.
///
/// # Panics
/// Panics if there is none.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let pairs = (TEST_PORTS.end - TEST_PORTS.start) / 2;
    // Processes that run side by side begin at different places.
    let first = std::process::id().wrapping_mul(97) % pairs;
    until_some("two ports are free", || {
        let place = (first + GIVEN.fetch_add(1, Relaxed)) % pairs;
        let port = TEST_PORTS.start + place / 1_000 * 2_000 + place % 1_000;
        let free = |port: u32| TcpListener::bind(("127.0.0.1", port as u16)).is_ok();
        (free(port) && free(port + 1_000)).then_some(port as u16)
    })
}

/// Raises a flag when dropped: threads that run until it is raised then end even when the test
/// that waits for them panics.
pub(crate) struct Raise<'a>(pub &'a std::sync::atomic::AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// A deterministic source of random numbers.
pub struct Random(SplitMix64);

impl Random {
    /// The same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Random(SplitMix64::seed_from_u64(seed))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }

    /// Up to `max` random bytes.
    pub fn bytes(&mut self, max: u64) -> Vec<u8> {
        (0..self.below(max + 1)).map(|_| self.number() as u8).collect()
    }
}
