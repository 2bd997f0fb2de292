//! The request parser, from outside: requests, errors, and that chunking changes nothing.

use proptest::prelude::*;
use resp::{Batch, Limits, Parser, ProtocolError};

type Requests = Vec<Vec<Vec<u8>>>;

/// Feeds `bytes` the way a connection does, `chunk` at a time; returns the requests, the error,
/// and how many bytes stayed unconsumed.
fn feed(
    bytes: &[u8],
    chunks: impl Iterator<Item = usize>,
    max_requests: usize,
    limits: &Limits,
) -> (Requests, Option<ProtocolError>, usize) {
    let (mut parser, mut batch) = (Parser::new(), Batch::new());
    let (mut requests, mut buffer) = (Vec::new(), Vec::new());
    let mut rest = bytes;
    for chunk in chunks.chain(std::iter::once(bytes.len())) {
        let (now, later) = rest.split_at(chunk.min(rest.len()));
        buffer.extend_from_slice(now);
        rest = later;
        loop {
            batch.clear();
            let progress = parser.parse(&buffer, max_requests, limits, &mut batch);
            assert!(batch.len() <= max_requests);
            assert!(progress.consumed <= buffer.len());
            for request in batch.iter(&buffer) {
                assert!(!request.is_empty());
                requests.push(request.iter().map(<[u8]>::to_vec).collect());
            }
            buffer.drain(..progress.consumed);
            if progress.error.is_some() {
                return (requests, progress.error, buffer.len());
            }
            if !progress.more {
                break;
            }
            assert!(!batch.is_empty(), "`more` without progress would spin");
        }
    }
    (requests, None, buffer.len())
}

fn whole(bytes: &[u8]) -> (Requests, Option<ProtocolError>, usize) {
    feed(bytes, std::iter::empty(), usize::MAX, &Limits::default())
}

fn bytewise(bytes: &[u8]) -> (Requests, Option<ProtocolError>, usize) {
    feed(bytes, std::iter::repeat_n(1, bytes.len()), usize::MAX, &Limits::default())
}

fn encode(request: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", request.len()).into_bytes();
    for arg in request {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn words(request: &[&str]) -> Vec<Vec<u8>> {
    request.iter().map(|w| w.as_bytes().to_vec()).collect()
}

#[test]
fn a_pipeline_is_parsed_whole() {
    let bytes = b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\nECHO hi\r\n*3\r\n$3\r\nSET";
    let (requests, error, rest) = whole(bytes);
    assert_eq!(requests, [words(&["PING"]), words(&["GET", ""]), words(&["ECHO", "hi"])]);
    assert_eq!((error, rest), (None, 11));
    assert_eq!(bytewise(bytes), (requests, None, 11));
}

#[test]
fn what_is_empty_is_skipped_silently() {
    let bytes = b"*0\r\n\r\n*-1\r\n\n   \r\n*-0007\r\n";
    assert_eq!(whole(&bytes[..17]), (vec![], None, 0));
    assert_eq!(bytewise(&bytes[..17]), (vec![], None, 0));
    // A leading zero makes it no number, negative or not.
    assert_eq!(whole(bytes).1, Some(ProtocolError::InvalidMultibulkLength));
    let (requests, ..) = whole(b"*0\r\n*-5\r\n*1\r\n$1\r\nx\r\n");
    assert_eq!(requests, [words(&["x"])]);
}

#[test]
fn max_requests_is_kept_and_resumed() {
    let bytes = b"*1\r\n$1\r\na\r\n".repeat(10);
    let (mut parser, mut batch) = (Parser::new(), Batch::new());
    let progress = parser.parse(&bytes, 4, &Limits::default(), &mut batch);
    assert_eq!((batch.len(), progress.consumed, progress.more), (4, 44, true));
    assert_eq!(batch.request(3).end(), 44);
    let progress = parser.parse(&bytes[44..], 6, &Limits::default(), &mut batch);
    assert_eq!((batch.len(), progress.consumed, progress.more), (10, 66, false));
}

#[test]
fn the_hint_says_what_a_bulk_misses() {
    let (mut parser, mut batch) = (Parser::new(), Batch::new());
    let bytes = b"*2\r\n$3\r\nGET\r\n$1000\r\nabc";
    let progress = parser.parse(bytes, usize::MAX, &Limits::default(), &mut batch);
    assert_eq!((progress.hint, progress.consumed, batch.len()), (999, 0, 0));
}

#[test]
fn many_arguments_arriving_byte_by_byte_are_not_scanned_again() {
    // Quadratic work would be 10^10 steps here.
    let request: Vec<Vec<u8>> = (0..20_000).map(|i| i.to_string().into_bytes()).collect();
    let (requests, error, rest) = {
        let bytes = encode(&request);
        let (mut parser, mut batch) = (Parser::new(), Batch::new());
        for end in 0..bytes.len() {
            let progress = parser.parse(&bytes[..end], 1, &Limits::default(), &mut batch);
            assert_eq!((progress.consumed, progress.error), (0, None));
        }
        let progress = parser.parse(&bytes, 1, &Limits::default(), &mut batch);
        let found: Requests =
            batch.iter(&bytes).map(|r| r.iter().map(<[u8]>::to_vec).collect()).collect();
        (found, progress.error, bytes.len() - progress.consumed)
    };
    assert_eq!((requests, error, rest), (vec![request], None, 0));
}

#[test]
fn a_claimed_count_reserves_nothing() {
    let (mut parser, mut batch) = (Parser::new(), Batch::new());
    let bytes = b"*2147483647\r\n$500000000\r\nx";
    let progress = parser.parse(bytes, 1, &Limits::default(), &mut batch);
    assert_eq!((progress.consumed, progress.error), (0, None));
    assert!(format!("{parser:?}").contains("many: None"));
}

#[test]
fn an_idle_parser_is_small() {
    assert!(size_of::<Parser>() <= 24);
}

#[test]
fn counts_of_many_digits_survive_a_half_arrived_header() {
    let request: Vec<Vec<u8>> = (0..120).map(|i| vec![b'a'; i]).collect();
    let (requests, error, rest) = bytewise(&encode(&request));
    assert_eq!((requests, error, rest), (vec![request], None, 0));
}

/// Every error, with the text Redis 7.2 sends for these bytes.
#[test]
fn protocol_errors_have_redis_texts() {
    let long = "1".repeat(70_000);
    let cases: Vec<(String, &str)> = vec![
        (format!("GET {long}"), "too big inline request"),
        (format!("GET {long}\r\n"), "too big inline request"),
        (format!("*{long}"), "too big mbulk count string"),
        (format!("*{long}\r\n"), "too big mbulk count string"),
        (format!("*1\r\n${long}"), "too big bulk count string"),
        (format!("*1\r\n${long}\r\n"), "too big bulk count string"),
        ("*abc\r\n".into(), "invalid multibulk length"),
        ("*\r\n".into(), "invalid multibulk length"),
        ("*+1\r\n".into(), "invalid multibulk length"),
        ("*01\r\n".into(), "invalid multibulk length"),
        ("*2147483648\r\n".into(), "invalid multibulk length"),
        ("*9999999999999999999999\r\n".into(), "invalid multibulk length"),
        ("*4294967297\r\n".into(), "invalid multibulk length"),
        ("*1\r\n:1\r\n".into(), "expected '$', got ':'"),
        ("*1\r\n\r\n".into(), "expected '$', got '\r'"),
        ("*1\r\n$-1\r\n".into(), "invalid bulk length"),
        ("*1\r\n$\r\n".into(), "invalid bulk length"),
        ("*1\r\n$+3\r\n".into(), "invalid bulk length"),
        ("*1\r\n$03\r\n".into(), "invalid bulk length"),
        ("*1\r\n$00\r\n".into(), "invalid bulk length"),
        ("*1\r\n$3 \r\n".into(), "invalid bulk length"),
        ("*1\r\n$536870913\r\n".into(), "invalid bulk length"),
        ("*1\r\n$4294967299\r\nabc\r\n".into(), "invalid bulk length"),
        ("SET \"a\r\n".into(), "unbalanced quotes in request"),
        ("SET 'a\r\n".into(), "unbalanced quotes in request"),
        ("SET \"a\"b\r\n".into(), "unbalanced quotes in request"),
    ];
    for (bytes, text) in cases {
        // Complete requests in front of the damage are still there.
        let bytes = format!("*1\r\n$4\r\nPING\r\n{bytes}");
        let shown = &bytes[..bytes.len().min(40)];
        let (requests, error, _) = whole(bytes.as_bytes());
        assert_eq!(requests, [words(&["PING"])], "{shown:?}");
        let error = error.unwrap_or_else(|| panic!("{shown:?} was accepted"));
        assert_eq!(error.to_string(), format!("Protocol error: {text}"), "{shown:?}");
        let sizes = std::iter::repeat_n(7, bytes.len() / 7);
        let chunked = feed(bytes.as_bytes(), sizes, usize::MAX, &Limits::default());
        assert_eq!(chunked.1, Some(error), "{shown:?} in chunks");
    }
}

/// As Redis: what should be line ends is skipped unseen.
#[test]
fn line_ends_are_taken_on_trust() {
    let bytes = b"*2\rX$4\rYECHOZZ$2\r\nhi\n\r";
    assert_eq!(whole(bytes), (vec![words(&["ECHO", "hi"])], None, 0));
    assert_eq!(bytewise(bytes), whole(bytes));
}

#[test]
fn incomplete_headers_are_no_errors_yet() {
    for bytes in ["*", "*1", "*1\r", "*x", "*1\r\n", "*1\r\n:", "*1\r\n$x", "*1\r\n$3\r", "GET 'x"]
    {
        assert_eq!(whole(bytes.as_bytes()), (vec![], None, bytes.len()), "{bytes:?}");
    }
}

#[test]
fn unauthenticated_peers_may_send_little() {
    let limits = Limits { unauthenticated: true, ..Limits::default() };
    let error = |bytes: &str| {
        feed(bytes.as_bytes(), std::iter::empty(), 1, &limits).1.map(|e| e.to_string())
    };
    let text = |s: &str| Some(format!("Protocol error: {s}"));
    assert_eq!(error("*11\r\n"), text("unauthenticated multibulk length"));
    assert_eq!(error("*1\r\n$16385\r\n"), text("unauthenticated bulk length"));
    assert_eq!(error("*2147483648\r\n"), text("invalid multibulk length"));
    assert_eq!(error("*1\r\n$536870913\r\n"), text("invalid bulk length"));
    assert_eq!(error("*10\r\n$16384\r\n"), None);
}

#[test]
fn limits_are_inclusive() {
    let limits = Limits { bulk_len_max: 3, args_max: 2, inline_len_max: 8, ..Limits::default() };
    let run = |bytes: &str| feed(bytes.as_bytes(), std::iter::empty(), usize::MAX, &limits);
    assert_eq!(run("*2\r\n$3\r\nGET\r\n$3\r\nabc\r\n").0, [words(&["GET", "abc"])]);
    assert_eq!(run("*1\r\n$4\r\n").1, Some(ProtocolError::InvalidBulkLength));
    assert_eq!(run("*3\r\n").1, Some(ProtocolError::InvalidMultibulkLength));
    assert_eq!(run("12345678\n").0, [words(&["12345678"])]);
    assert_eq!(run("123456789\n").1, Some(ProtocolError::InlineTooBig));
}

#[test]
fn inline_words_are_unquoted() {
    let line = b"set  k1 \"a b\\x41\\n\\q\" 'it\\'s' x\"y\"\t''\n";
    let (requests, error, rest) = whole(line);
    assert_eq!(requests, [words(&["set", "k1", "a bA\nq", "it's", "xy", ""])]);
    assert_eq!((error, rest), (None, 0));
}

fn any_request() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let arg = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..12),
        1 => prop::collection::vec(any::<u8>(), 90..1200),
    ];
    prop_oneof![
        6 => prop::collection::vec(arg.clone(), 1..6),
        1 => prop::collection::vec(arg, 1..60),
    ]
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_requests(
        pipeline in prop::collection::vec(any_request(), 0..12),
        chunks in prop::collection::vec(1usize..200, 0..60),
        max_requests in 1usize..6,
    ) {
        let bytes: Vec<u8> = pipeline.iter().flat_map(|r| encode(r)).collect();
        let (requests, error, rest) =
            feed(&bytes, chunks.into_iter(), max_requests, &Limits::default());
        prop_assert_eq!((requests, error, rest), (pipeline.clone(), None, 0));
        prop_assert_eq!(bytewise(&bytes), (pipeline, None, 0));
    }

    #[test]
    fn arbitrary_bytes_are_read_the_same_in_any_chunking(
        bytes in "([*$][0-9-]{0,3}(\r\n|\r|\n)?|[a-c\"'\\\\ ]{0,4}|\r\n){0,40}",
        chunks in prop::collection::vec(1usize..20, 0..60),
    ) {
        let limits = Limits { inline_len_max: 64, ..Limits::default() };
        let once = feed(bytes.as_bytes(), std::iter::empty(), usize::MAX, &limits);
        let chunked = feed(bytes.as_bytes(), chunks.into_iter(), 2, &limits);
        prop_assert_eq!(once.0, chunked.0);
        prop_assert_eq!(once.1, chunked.1);
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = whole(&bytes);
        let _ = bytewise(&bytes);
    }
}
