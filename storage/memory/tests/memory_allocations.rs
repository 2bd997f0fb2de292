//! Reading a string and overwriting it in place allocate nothing, prefetch and locks included.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use storage::{Backend, Key, Locks, NewExpiry};
use storage_memory::{Config, MemoryBackend};

/// Counts what the current thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is handed on to the system's allocator; counting touches a plain cell.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(run: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    run();
    ALLOCATIONS.with(Cell::get) - before
}

const NOW_MS: u64 = 1_700_000_000_000;

struct Subject {
    backend: MemoryBackend,
    names: Vec<Vec<u8>>,
    hashes: Vec<u64>,
}

impl Subject {
    fn new() -> Self {
        let backend = MemoryBackend::new(Config { hash_seed: 3, ..Config::default() });
        let names: Vec<_> = (0..1000).map(|n| format!("key:{n:012}").into_bytes()).collect();
        let hashes = names.iter().map(|name| backend.hash(name)).collect();
        Subject { backend, names, hashes }
    }

    fn set(&self, value: &[u8], expiry: NewExpiry) {
        for (name, &hash) in self.names.iter().zip(&self.hashes) {
            let key = Key { db: 0, hash, bytes: name };
            let locks = Locks::One(self.backend.shard_of(hash));
            let set = self.backend.transact(locks, NOW_MS, &mut |tx| {
                tx.set_string(&key, value, expiry).unwrap();
            });
            set.unwrap();
        }
    }

    fn get(&self) -> usize {
        let mut bytes = 0;
        for (name, &hash) in self.names.iter().zip(&self.hashes) {
            let key = Key { db: 0, hash, bytes: name };
            let locks = Locks::One(self.backend.shard_of(hash));
            let got = self.backend.transact(locks, NOW_MS, &mut |tx| {
                bytes += tx.string(&key).unwrap().unwrap().as_bytes().len();
            });
            got.unwrap();
        }
        bytes
    }
}

#[test]
fn reading_and_overwriting_allocate_nothing() {
    let subject = Subject::new();
    assert!(allocations(|| subject.set(&[b'v'; 64], NewExpiry::Clear)) >= 1000, "the count counts");
    assert_eq!(allocations(|| assert_eq!(subject.get(), 64_000)), 0);
    assert_eq!(allocations(|| subject.set(&[b'w'; 64], NewExpiry::Clear)), 0);
    assert_eq!(allocations(|| subject.set(&[b'w'; 60], NewExpiry::Keep)), 0, "the same size class");
    assert_eq!(allocations(|| subject.backend.prefetch(0, &subject.hashes)), 0);
}

#[test]
fn overwriting_with_an_expiry_allocates_once() {
    let subject = Subject::new();
    subject.set(&[b'v'; 64], NewExpiry::At(NOW_MS + 5));
    assert_eq!(allocations(|| subject.set(&[b'w'; 64], NewExpiry::At(NOW_MS + 9))), 0);
    assert_eq!(allocations(|| subject.set(&[b'w'; 64], NewExpiry::Clear)), 0, "the room is kept");
}

#[test]
fn large_values_are_read_without_copying() {
    let subject = Subject::new();
    subject.set(&vec![b'v'; 20_000], NewExpiry::Clear);
    assert_eq!(allocations(|| assert_eq!(subject.get(), 20_000_000)), 0);
}
