//! Measures the cost of parsing: nanoseconds per GET and per SET request in a 64-deep pipeline, and what
//! writing a bulk reply costs. `cargo run --release -p resp --example parse_bench`

use resp::{Batch, Limits, Output, Parser, Proto, Reply};
use std::hint::black_box;
use std::time::Instant;

const DEPTH: usize = 64;
const ROUNDS: usize = 100_000;
const TRIES: usize = 5;

/// The fastest of several tries: interference only ever adds.
fn measure(name: &str, mut round: impl FnMut()) {
    let fastest = (0..TRIES)
        .map(|_| {
            let start = Instant::now();
            (0..ROUNDS).for_each(|_| round());
            start.elapsed()
        })
        .min()
        .unwrap_or_default();
    println!("{name:<24} {:>6.1} ns", fastest.as_nanos() as f64 / (ROUNDS * DEPTH) as f64);
}

fn parse(name: &str, pipeline: &[u8]) {
    let (mut parser, mut batch, limits) = (Parser::new(), Batch::new(), Limits::default());
    measure(name, || {
        batch.clear();
        let progress = parser.parse(black_box(pipeline), usize::MAX, &limits, &mut batch);
        assert_eq!((progress.consumed, batch.len()), (pipeline.len(), DEPTH));
        black_box(&batch);
    });
}

fn main() {
    let value = "v".repeat(64);
    let get: String =
        (0..DEPTH).map(|i| format!("*2\r\n$3\r\nGET\r\n$16\r\nkey:{i:012}\r\n")).collect();
    let set: String = (0..DEPTH)
        .map(|i| format!("*3\r\n$3\r\nSET\r\n$16\r\nkey:{i:012}\r\n$64\r\n{value}\r\n"))
        .collect();
    let mixed: String = (0..DEPTH)
        .map(|i| {
            format!("*3\r\n$3\r\nSET\r\n$4\r\n{i:04}\r\n${}\r\n{}\r\n", i * 37, "x".repeat(i * 37))
        })
        .collect();
    let inline = "PING\r\n".repeat(DEPTH);
    parse("parse GET", get.as_bytes());
    parse("parse SET", set.as_bytes());
    parse("parse SET, mixed sizes", mixed.as_bytes());
    parse("parse inline PING", inline.as_bytes());

    let mut out = Output::new();
    measure("write bulk of 64", || {
        let mut reply = Reply::new(&mut out, Proto::Resp2);
        (0..DEPTH).for_each(|_| reply.bulk(black_box(value.as_bytes())));
        out.consume(black_box(out.len()));
    });
    measure("write integer", || {
        let mut reply = Reply::new(&mut out, Proto::Resp2);
        (0..DEPTH).for_each(|i| reply.integer(black_box(i as i64 * 1000)));
        out.consume(black_box(out.len()));
    });
}
