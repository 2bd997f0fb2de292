//! Replays against a server that answers as it is told.

use super::*;
use crate::format::{Arg, Header, Record, Writer};
use std::borrow::Cow;
use std::net::TcpListener;

fn ask(at: u64, connection: u64, line: &str) -> (u64, Record<'_>) {
    let args = line.split(' ').map(|word| Arg::Bytes(Cow::Borrowed(word.as_bytes()))).collect();
    (at, Record::Request { connection, db: 0, args })
}

fn plan(records: &[(u64, Record<'_>)]) -> Plan {
    let header = Header { method: "CAPTURE".into(), ..Header::default() };
    let mut writer = Writer::new(Vec::new(), &header).unwrap();
    for (at, record) in records {
        writer.record(*at, record).unwrap();
    }
    Plan::read(&writer.finish().unwrap()[..], None).unwrap()
}

/// A server that sleeps before the answer to `GET slow`, never answers BLPOP, sends two messages
/// to whoever subscribes, and says OK to all else. It ends with the test.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    addr
}

fn serve(mut stream: TcpStream) {
    let mut buffer = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(read) = stream.read(&mut chunk) {
        if read == 0 {
            return;
        }
        buffer.extend_from_slice(&chunk[..read]);
        while let Some(length) = resp::skip_reply(&buffer) {
            let request: Vec<u8> = buffer.drain(..length).collect();
            let text = String::from_utf8_lossy(&request).into_owned();
            let answer: &[u8] = if text.contains("BLPOP") {
                continue;
            } else if text.contains("SUBSCRIBE") {
                b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"
            } else if text.contains("slow") {
                std::thread::sleep(Duration::from_millis(300));
                b"$-1\r\n"
            } else if text.contains("bad") {
                b"-ERR bad\r\n"
            } else {
                b"+OK\r\n"
            };
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    }
}

fn replay(plan: &Plan, speed: Speed) -> Report {
    let options = Options { speed, cores: Vec::new(), patience: Duration::from_secs(5) };
    run(plan, server(), &options, &mut |_| {}).unwrap()
}

#[test]
fn a_stall_is_charged_to_everything_it_delayed() {
    let mut records = vec![ask(0, 1, "GET slow")];
    records.extend((1..=20).map(|n| ask(n * 10_000, 1, "GET k")));
    let plan = plan(&records);
    let report = replay(&plan, Speed::Times(1.0));
    assert_eq!((report.sent, report.replies, report.nulls, report.unanswered), (21, 21, 1, 0));
    // The last was due at 200 ms, and the server slept until 300: it waited for 100 ms.
    let delayed = report.latencies.count_between(90_000, 1_000_000);
    assert!(delayed >= 20, "{delayed} of 21 were delayed");
    assert!(report.latencies.max() >= 295_000);
    // Twice as fast: the server sleeps as long, and more wait for longer.
    let fast = replay(&plan, Speed::Times(2.0));
    assert!(fast.latencies.min() >= 190_000, "{}", fast.latencies.min());
}

#[test]
fn closed_loop_waits_for_answers_instead() {
    let mut records = vec![ask(0, 1, "GET slow")];
    records.extend((1..=20).map(|n| ask(n * 10_000_000, 1, "GET k")));
    let report = replay(&plan(&records), Speed::Max);
    assert_eq!((report.replies, report.unanswered), (21, 0));
    assert!(report.elapsed < Duration::from_secs(5));
    assert_eq!(report.latencies.count_between(200_000, 1_000_000), 1);
}

#[test]
fn a_blocking_command_that_never_returns_does_not_hang_the_replay() {
    let records = [
        ask(0, 1, "BLPOP list 0"),
        ask(0, 2, "GET k"),
        ask(50_000, 1, "GET after"),
        ask(60_000, 1, "BLPOP list 0"),
    ];
    let started = Instant::now();
    let report = replay(&plan(&records), Speed::Times(1.0));
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!((report.abandoned, report.unanswered), (1, 0));
    assert_eq!((report.sent, report.replies), (4, 2));
    // What waited behind it is not charged for the wait.
    assert!(report.latencies.max() < 150_000, "{}", report.latencies.max());
}

#[test]
fn messages_are_not_answers_and_errors_are_counted() {
    let records = [
        ask(0, 1, "SUBSCRIBE c"),
        ask(0, 2, "GET bad"),
        ask(1000, 2, "GET k"),
        ask(200_000, 2, "GET k"),
    ];
    let report = replay(&plan(&records), Speed::Times(1.0));
    assert_eq!((report.replies, report.errors, report.messages), (3, 1, 2));
    assert_eq!(report.first_error.as_deref(), Some("ERR bad"));
}

#[test]
fn a_server_that_cannot_keep_up_is_given_up() {
    let records: Vec<_> = (0..20).map(|n| ask(n, 1, "GET slow")).collect();
    let options = Options {
        speed: Speed::Times(1.0),
        cores: Vec::new(),
        patience: Duration::from_millis(700),
    };
    let report = run(&plan(&records), server(), &options, &mut |_| {}).unwrap();
    assert!((15..20).contains(&report.unanswered), "{}", report.unanswered);
}

#[test]
fn speeds_are_read() {
    assert_eq!("2x".parse(), Ok(Speed::Times(2.0)));
    assert_eq!("0.5".parse(), Ok(Speed::Times(0.5)));
    assert_eq!("MAX".parse(), Ok(Speed::Max));
    assert!("0".parse::<Speed>().is_err() && "fast".parse::<Speed>().is_err());
}
