//! GET, overwriting SET and PING allocate nothing, all the way from the bytes to the bytes.

use engine::config::ConfigStore;
use engine::{Engine, EngineService, Environment, NoHost, Parts};
use runtime::{Now, Peer, Service};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::task::Waker;
use storage_memory::{Config, MemoryBackend};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting this thread's calls.
struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NOW: Now = Now { wall_ms: 1_700_000_000_000, mono_us: 1_000_000 };

fn service() -> EngineService {
    let backend = MemoryBackend::new(Config::default());
    let environment =
        Environment { stopwatch: || 0, seed: 1, started: NOW, host: Arc::new(NoHost) };
    let parts = Parts {
        backend: Arc::new(backend),
        journal: None,
        config: Arc::new(ConfigStore::new()),
        commands: commands::all(),
        environment,
    };
    EngineService(Engine::new(parts).expect("distinct names"))
}

/// Sixty-four of each: a pipeline as it comes off the wire.
fn pipeline() -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..64 {
        let key = format!("key:{number:012}");
        let value = "v".repeat(64);
        resp::encode_command(["SET", &key, &value], &mut bytes);
        resp::encode_command(["GET", &key], &mut bytes);
        resp::encode_command(["GET", "nosuch"], &mut bytes);
        resp::encode_command(["PING"], &mut bytes);
    }
    bytes
}

#[test]
fn the_simple_paths_allocate_nothing_once_warm() {
    let local = "127.0.0.1:6379".parse().expect("an address");
    let peer = Peer::Tcp { remote: local, local };
    let service = service();
    let Ok(mut connection) = service.connect(peer, Waker::noop().clone(), NOW) else {
        panic!("the connection was refused");
    };
    let bytes = pipeline();
    let mut turn = || {
        connection.anticipate(&bytes);
        connection.receive(&bytes, NOW);
        connection.before_write(NOW);
        let written = connection.output().len();
        connection.output().consume(written);
        written
    };
    let first = turn();
    turn();
    let before = ALLOCATIONS.with(Cell::get);
    let written = turn();
    let allocations = ALLOCATIONS.with(Cell::get) - before;
    assert_eq!(written, first, "the answers are the same each time");
    assert_eq!(allocations, 0, "allocations for 256 commands");
}
