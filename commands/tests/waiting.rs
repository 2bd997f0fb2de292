//! A client that waits for a key, and several threads that want to serve it at once.

use engine::testing::Harness;
use engine::{Engine, Session};
use runtime::{Connection, Now, Peer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use storage::backend::EncodingLimits;
use storage::testing::until;
use storage_memory::{Config, MemoryBackend};

/// How often the client waits.
const ROUNDS: usize = 500;

/// A session that is used by one thread.
struct Client(Session, Now);

impl Client {
    fn new(engine: &Arc<Engine>, name: &str, now: Now) -> Client {
        let (peer, waker) = (Peer::Unix(name.into()), Waker::noop().clone());
        Client(Session::new(engine.clone(), peer, waker, now), now)
    }

    fn send(&mut self, request: &str) {
        self.0.receive(request.as_bytes(), self.1);
    }

    /// The replies that are there by now.
    fn replies(&mut self) -> String {
        self.0.resume(self.1);
        let bytes = self.0.output().to_vec();
        self.0.output().consume(bytes.len());
        self.0.written();
        String::from_utf8(bytes).expect("replies are text")
    }
}

/// Ends the other thread, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_client_that_two_threads_want_to_serve_is_served_once() {
    let limits = EncodingLimits::default();
    let config = Config { shards: 4, databases: 16, hash_seed: 7, limits };
    let server = Harness::new(commands::all(), Arc::new(MemoryBackend::new(config)));
    let client = |name| Client::new(server.engine(), name, server.now());
    let (mut waiter, mut pusher, mut other) = (client("waiter"), client("pusher"), client("other"));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = Over(&over);
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                // The waiter is tried, and there is nothing for it.
                other.send("MULTI\r\nRPUSH list x\r\nRPOP list\r\nEXEC\r\n");
                other.replies();
            }
        });
        for round in 0..ROUNDS {
            waiter.send("BLPOP list 0\r\n");
            pusher.send("RPUSH list job\r\n");
            let mut replies = String::new();
            until("the waiter is served", || {
                replies += &waiter.replies();
                !replies.is_empty()
            });
            assert_eq!(replies, "*2\r\n$4\r\nlist\r\n$3\r\njob\r\n", "round {round}");
        }
    });
    pusher.replies();
    pusher.send("RPUSH list job\r\nLLEN list\r\n");
    assert_eq!(pusher.replies(), ":1\r\n:1\r\n", "nobody waits any more");
    assert_eq!(waiter.replies(), "");
}
