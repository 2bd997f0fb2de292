//! The output queue, against a plain vector that does the same.

use bytes::Bytes;
use proptest::prelude::*;
use resp::{Output, Proto, Reply, SHARE_MIN};
use std::io::IoSlice;

#[derive(Debug, Clone)]
enum Op {
    Extend(usize),
    Share(usize),
    Append(Vec<usize>),
    /// The rest act at a percentage of what is queued.
    Consume(usize),
    Truncate(usize),
    Insert(usize, usize),
}

fn any_op() -> impl Strategy<Value = Op> {
    let size = prop_oneof![4 => 0usize..40, 1 => SHARE_MIN - 1..SHARE_MIN + 2];
    // Tails that are all but full when the next operation comes.
    let filling = 64 * 1024 - 40usize..64 * 1024 + 2;
    prop_oneof![
        4 => size.clone().prop_map(Op::Extend),
        1 => filling.prop_map(Op::Extend),
        4 => size.clone().prop_map(Op::Share),
        1 => prop::collection::vec(size, 0..4).prop_map(Op::Append),
        3 => (0usize..=100).prop_map(Op::Consume),
        2 => (0usize..=100).prop_map(Op::Truncate),
        2 => (0usize..=100, 0usize..30).prop_map(|(at, len)| Op::Insert(at, len)),
    ]
}

/// Bytes that differ from call to call, so that misplaced ones are seen.
fn fresh(len: usize, seed: &mut u8) -> Vec<u8> {
    *seed = seed.wrapping_add(31);
    (0..len).map(|i| (i as u8).wrapping_add(*seed)).collect()
}

fn apply(op: Op, out: &mut Output, model: &mut Vec<u8>, seed: &mut u8) {
    let at = |percent: usize| model.len() * percent / 100;
    match op {
        Op::Extend(len) => {
            let bytes = fresh(len, seed);
            out.extend(&bytes);
            model.extend(bytes);
        }
        Op::Share(len) => {
            let bytes = fresh(len, seed);
            out.share(Bytes::from(bytes.clone()));
            model.extend(bytes);
        }
        Op::Append(sizes) => {
            let (mut other, mut other_model) = (Output::new(), Vec::new());
            for len in sizes {
                apply(Op::Share(len), &mut other, &mut other_model, seed);
            }
            let written = other_model.len() / 3;
            other.consume(written);
            out.append(other);
            model.extend(&other_model[written..]);
        }
        Op::Consume(percent) => {
            let n = at(percent);
            out.consume(n);
            model.drain(..n);
        }
        Op::Truncate(percent) => {
            let mark = at(percent);
            out.truncate(mark);
            model.truncate(mark);
        }
        Op::Insert(percent, len) => {
            let (mark, bytes) = (at(percent), fresh(len, seed));
            out.insert(mark, &bytes);
            model.splice(mark..mark, bytes);
        }
    }
}

fn gathered(out: &Output) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 256];
    let filled = out.slices(&mut slices);
    assert!(slices[..filled].iter().all(|s| !s.is_empty()));
    slices[..filled].iter().flat_map(|s| s.iter().copied()).collect()
}

proptest! {
    #[test]
    fn behaves_like_a_vector(ops in prop::collection::vec(any_op(), 0..40)) {
        let (mut out, mut model, mut seed) = (Output::new(), Vec::new(), 0);
        for op in ops {
            apply(op, &mut out, &mut model, &mut seed);
            prop_assert_eq!(out.len(), model.len());
            prop_assert_eq!(out.is_empty(), model.is_empty());
            prop_assert!(out.to_vec() == model);
            prop_assert!(gathered(&out) == model, "slices differ from the queue");
            prop_assert!(model.starts_with(out.front()));
            prop_assert_eq!(out.front().is_empty(), model.is_empty());
        }
        // Written in small pieces, as to a slow reader.
        let mut written = Vec::new();
        while !out.is_empty() {
            let n = out.front().len().min(1000);
            written.extend_from_slice(&out.front()[..n]);
            out.consume(n);
        }
        prop_assert!(written == model);
    }
}

#[test]
fn large_values_are_shared_and_small_ones_copied() {
    let (large, small) = (Bytes::from(vec![1; SHARE_MIN]), Bytes::from(vec![2; SHARE_MIN - 1]));
    let mut out = Output::new();
    out.share(large.clone());
    assert_eq!(out.front().as_ptr(), large.as_ptr());
    out.consume(SHARE_MIN);
    out.share(small.clone());
    assert_ne!(out.front().as_ptr(), small.as_ptr());
}

#[test]
fn a_drained_buffer_serves_the_next_output_of_the_thread() {
    let mut first = Output::new();
    first.extend(b"x");
    let buffer = first.front().as_ptr();
    first.consume(1);
    let mut second = Output::new();
    second.extend(b"y");
    assert_eq!(second.front().as_ptr(), buffer);
}

#[test]
fn what_follows_a_truncated_written_chunk_is_seen() {
    let mut out = Output::new();
    out.share(Bytes::from(vec![1; SHARE_MIN]));
    out.consume(10);
    out.truncate(0);
    out.extend(b"next");
    assert_eq!(gathered(&out), b"next");
}

#[test]
fn few_slots_are_filled_with_the_front() {
    let mut out = Output::new();
    for i in 0..4 {
        out.share(Bytes::from(vec![i; SHARE_MIN]));
    }
    let mut slices = [IoSlice::new(&[]); 2];
    assert_eq!(out.slices(&mut slices), 2);
    assert_eq!((slices[0][0], slices[1][0]), (0, 1));
}

#[test]
fn a_tail_of_which_little_is_left_is_made_smaller() {
    let mut out = Output::new();
    out.extend(&[b'x'; 200 * 1024]);
    out.consume(200 * 1024 - 10);
    assert_eq!(out.len(), 10);
    assert!(out.tail().capacity() <= 64 * 1024, "{} bytes for ten", out.tail().capacity());
    assert_eq!(out.front(), [b'x'; 10]);
    out.consume(10);
    assert!(out.is_empty());
}

#[test]
fn what_is_long_is_queued_where_it_was_written() {
    let mut out = Output::new();
    out.extend(&[0; 64 * 1024]);
    let first = out.front().as_ptr();
    for value in 1..100u8 {
        Reply::new(&mut out, Proto::Resp2).bulk(&[value; 4000]);
    }
    assert_eq!(out.front().as_ptr(), first);
    let mut slices = [IoSlice::new(&[]); 16];
    let filled = out.slices(&mut slices);
    assert!((6..10).contains(&filled), "{filled} chunks for 464 kB");
    // What comes after it has buffers of its own as well, and all is there.
    let all = gathered(&out);
    assert_eq!(all.len(), 64 * 1024 + 99 * 4009);
    assert_eq!(all[64 * 1024 + 98 * 4009..][..9], *b"$4000\r\ncc");
}
