//! Tests of plans: what a capture becomes before it is replayed.

use super::*;
use crate::format::Writer;
use std::borrow::Cow;

fn plan(method: &str, records: &[(u64, Record<'_>)]) -> Plan {
    let header = Header { method: method.into(), ..Header::default() };
    let mut writer = Writer::new(Vec::new(), &header).unwrap();
    for (at, record) in records {
        writer.record(*at, record).unwrap();
    }
    Plan::read(&writer.finish().unwrap()[..], None).unwrap()
}

fn ask(at: u64, connection: u64, db: u32, line: &str) -> (u64, Record<'_>) {
    let args = line.split(' ').map(|word| Arg::Bytes(Cow::Borrowed(word.as_bytes()))).collect();
    (at, Record::Request { connection, db, args })
}

/// The steps as `connection kind words`.
fn shown(plan: &Plan) -> Vec<String> {
    let line = |step: &Step| {
        let text = String::from_utf8_lossy(plan.bytes(step)).into_owned();
        let words = text.split("\r\n").filter(|part| !part.starts_with(['*', '$']));
        let words: Vec<&str> = words.filter(|part| !part.is_empty()).collect();
        format!("{} {:?} {}", step.connection, step.kind, words.join(" ")).trim().to_string()
    };
    plan.steps.iter().map(line).collect()
}

#[test]
fn connections_are_brought_where_they_were() {
    let plan = plan(
        "CAPTURE",
        &[
            (0, Record::Open { connection: 70, db: 3, resp: 3 }),
            ask(5, 70, 3, "GET k"),
            ask(6, 70, 3, "SELECT 0"),
            ask(7, 70, 0, "GET k"),
            ask(8, 71, 0, "HELLO 3 AUTH (redacted) (redacted)"),
            (9, Record::Close { connection: 70 }),
        ],
    );
    let expected = [
        "0 Open",
        "0 Unmeasured HELLO 3",
        "0 Unmeasured SELECT 3",
        "0 Measured GET k",
        "0 Measured SELECT 0",
        "0 Measured GET k",
        "1 Open",
        "1 Measured HELLO 3",
        "0 Close",
    ];
    assert_eq!(shown(&plan), expected);
    assert_eq!((plan.connections, plan.requests, plan.length_us), (2, 4, 9));
    assert_eq!(plan.concurrency, 2);
}

#[test]
fn what_would_break_a_replay_is_left_out_and_said() {
    let plan = plan(
        "MONITOR",
        &[
            ask(0, 1, 0, "EXEC"),
            ask(1, 1, 0, "AUTH (redacted)"),
            ask(2, 1, 0, "CONFIG SET maxmemory 1"),
            ask(3, 1, 0, "FROB k"),
            ask(4, 1, 0, "CLIENT REPLY OFF"),
            ask(5, 1, 0, "MULTI"),
            ask(6, 1, 0, "BLPOP a 0"),
            ask(7, 1, 0, "EXEC"),
            ask(8, 1, 0, "BLPOP a 0"),
            ask(9, 2, 0, "SUBSCRIBE news"),
            ask(10, 2, 0, "PING"),
        ],
    );
    let expected = [
        "0 Open",
        "1 Open",
        "0 Measured MULTI",
        "0 Measured BLPOP a 0",
        "0 Measured EXEC",
        "0 Blocking BLPOP a 0",
        "1 Listen SUBSCRIBE news",
        "1 Listen PING",
    ];
    assert_eq!(shown(&plan), expected);
    let remarks = plan.remarks().join("\n");
    assert!(remarks.contains("1 auth, 1 client|reply, 1 config|set, 1 exec, 1 frob"), "{remarks}");
}

#[test]
fn keys_that_are_read_first_are_created() {
    let filler = Record::Request {
        connection: 1,
        db: 0,
        args: vec![
            Arg::Bytes(Cow::Borrowed(b"SET")),
            Arg::Bytes(Cow::Borrowed(b"new")),
            Arg::Filler(30),
        ],
    };
    let plan = plan(
        "CAPTURE",
        &[
            (0, filler),
            ask(1, 1, 0, "GET new"),
            ask(2, 1, 0, "GET old"),
            ask(3, 1, 0, "GET old"),
            ask(4, 1, 2, "HMGET h a b"),
            ask(5, 1, 0, "DEL gone"),
            ask(6, 1, 0, "GET gone"),
            ask(7, 1, 0, "ZSCORE z m"),
        ],
    );
    assert_eq!((plan.preload.keys, plan.preload.value_size, plan.keys), (3, 30, 5));
    let text = String::from_utf8_lossy(&plan.preload.wire[&0]).into_owned();
    assert!(text.starts_with("*3\r\n$3\r\nSET\r\n$3\r\nold\r\n$30\r\n"), "{text}");
    assert!(text.ends_with("*4\r\n$4\r\nZADD\r\n$1\r\nz\r\n$1\r\n0\r\n$1\r\nm\r\n"), "{text}");
    assert_eq!(plan.preload.requests[&2], 1);
    let step = plan.steps.iter().find(|step| step.kind == Kind::Measured).unwrap();
    let bytes = plan.bytes(step);
    assert_eq!(bytes.len(), "*3\r\n$3\r\nSET\r\n$3\r\nnew\r\n$30\r\n".len() + 32);
}
