//! The request parser: no panic, and the same requests however the bytes are cut.
//!
//! Input: one byte for the limits, one for the chunk size, then what the peer sends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resp::{Batch, Limits, Parser, ProtocolError};

type Outcome = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>, usize);

fn feed(bytes: &[u8], chunk: usize, max_requests: usize, limits: &Limits) -> Outcome {
    let (mut parser, mut batch) = (Parser::new(), Batch::new());
    let (mut requests, mut buffer) = (Vec::new(), Vec::new());
    for part in bytes.chunks(chunk) {
        buffer.extend_from_slice(part);
        loop {
            batch.clear();
            let progress = parser.parse(&buffer, max_requests, limits, &mut batch);
            for request in batch.iter(&buffer) {
                requests.push(request.iter().map(<[u8]>::to_vec).collect());
            }
            buffer.drain(..progress.consumed);
            if progress.error.is_some() {
                return (requests, progress.error, 0);
            }
            if !progress.more {
                break;
            }
        }
    }
    (requests, None, buffer.len())
}

fuzz_target!(|data: &[u8]| {
    let [settings, chunk, bytes @ ..] = data else { return };
    let limits = Limits {
        // Small, so that the bounds are met.
        inline_len_max: 64,
        bulk_len_max: if settings & 2 == 0 { 1000 } else { usize::MAX },
        unauthenticated: settings & 1 == 1,
        ..Limits::default()
    };
    let whole = feed(bytes, bytes.len().max(1), usize::MAX, &limits);
    let cut = feed(bytes, usize::from(*chunk).max(1), 3, &limits);
    assert_eq!(whole, cut);
});
