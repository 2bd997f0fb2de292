//! The promise that a warm batch and a drained output cost no allocator call.

use resp::{Batch, Limits, Output, Parser, Proto, Reply};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting each thread's requests.
struct Counting;

// SAFETY: every call is passed on unchanged to the system's allocator; counting touches only a
// constant-initialised thread-local without a destructor, which allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn calls(work: impl FnOnce()) -> usize {
    let before = CALLS.get();
    work();
    CALLS.get() - before
}

#[test]
fn a_warm_pipeline_allocates_nothing() {
    let mut pipeline = b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\nPING \"quoted\"\r\n".repeat(50);
    // A half request at the end, as most reads have.
    pipeline.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$100\r\nhalf");
    let (mut parser, mut batch, mut out) = (Parser::new(), Batch::new(), Output::new());
    let mut round = || {
        batch.clear();
        let progress = parser.parse(&pipeline, usize::MAX, &Limits::default(), &mut batch);
        assert_eq!((batch.len(), progress.error), (100, None));
        let mut reply = Reply::new(&mut out, Proto::Resp3);
        for request in batch.iter(&pipeline) {
            reply.array(3);
            reply.bulk(request.arg(1));
            reply.integer(1234);
            reply.double(0.5);
        }
        out.consume(out.len());
    };
    assert!(calls(&mut round) > 0, "the counter counts");
    assert_eq!(calls(&mut round), 0);
}

#[test]
fn claimed_lengths_cost_nothing() {
    let (mut parser, mut batch) = (Parser::new(), Batch::new());
    for claim in [&b"*1000000\r\n$500000000\r\nx"[..], b"*1000000\r\n", b"*2\r\n$500000000\r\n"] {
        let parse = || {
            let progress = parser.parse(claim, 1, &Limits::default(), &mut batch);
            assert_eq!((progress.consumed, progress.error), (0, None));
        };
        assert_eq!(calls(parse), 0);
    }
    assert_eq!(calls(|| assert_eq!(resp::decode(b"*4000000000\r\n$1000\r\n"), Ok(None))), 0);
}

#[test]
fn an_emptied_batch_keeps_little() {
    let huge: Vec<String> = (0..100_000).map(|i| i.to_string()).collect();
    let mut bytes = Vec::new();
    resp::encode_command(&huge, &mut bytes);
    let (mut parser, mut batch) = (Parser::new(), Batch::new());
    let progress = parser.parse(&bytes, 1, &Limits::default(), &mut batch);
    assert_eq!(progress.consumed, bytes.len());
    batch.clear();
    // The memory went back: parsing again has to ask for it again.
    assert!(calls(|| _ = parser.parse(&bytes, 1, &Limits::default(), &mut batch)) > 0);
}
