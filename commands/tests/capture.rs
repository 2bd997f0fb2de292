//! Tests of the records of `CAPTURE`, and of its treatment of a slow reader.

use engine::gate::Gate;
use engine::testing::Harness;
use resp::{Value, encode_command};
use std::sync::Arc;
use storage::backend::EncodingLimits;
use storage_memory::{Config, MemoryBackend};

fn server() -> Harness {
    let limits = EncodingLimits::default();
    let config = Config { shards: 4, databases: 16, hash_seed: 7, limits };
    Harness::new(commands::all(), Arc::new(MemoryBackend::new(config)))
}

fn words(record: &Value) -> Vec<String> {
    let items = record.as_slice().expect("a flat array");
    let text = |item: &Value| String::from_utf8_lossy(item.as_bytes().expect("bulks")).into_owned();
    items.iter().map(text).collect()
}

fn records(server: &mut Harness, client: &str) -> Vec<String> {
    server.replies(client).iter().map(|record| words(record).join(" ")).collect()
}

#[test]
fn everything_that_is_admitted_is_recorded_once_and_in_order() {
    let mut server = server();
    server.run("SELECT 3");
    server.send("c", "CAPTURE");
    let replies = server.replies("c");
    assert_eq!(replies[0], Value::Simple(b"OK".to_vec()));
    assert_eq!(words(&replies[1]).join(" "), "open 1000000 1 3 2");
    server.advance(5);
    server.run("MULTI");
    server.run("SET k v");
    server.run("EXEC");
    server.send("b", "BLPOP list 0");
    server.run("RPUSH list x");
    server.run("AUTH default secret");
    for refused in ["NOTHING", "GET", "CONFIG GET maxmemory"] {
        server.run(refused);
    }
    server.close("b");
    let expected = [
        "request 1005000 1 3 MULTI",
        "request 1005000 1 3 SET k v",
        "request 1005000 1 3 EXEC",
        "open 1005000 3 0 2",
        "request 1005000 3 0 BLPOP list 0",
        "request 1005000 1 3 RPUSH list x",
        "request 1005000 1 3 AUTH (redacted) (redacted)",
        "close 1005000 3",
    ];
    assert_eq!(records(&mut server, "c"), expected);
    server.run_as("c", "RESET");
    server.run("PING");
    assert!(records(&mut server, "c").is_empty());
    assert_eq!(server.engine().gate(), Gate::empty(), "nothing is looked at once nobody captures");
}

#[test]
fn a_slow_reader_loses_records_and_is_told_how_many() {
    let mut server = server();
    server.send("c", "CAPTURE BUFFER 65536");
    server.replies("c");
    let mut pipeline = Vec::new();
    for n in 0..2000 {
        encode_command(&["SET", &format!("key:{n}"), &"v".repeat(100)], &mut pipeline);
    }
    // All of it runs before the reader's turn comes.
    server.send_bytes("main", &pipeline);
    let records = server.replies("c");
    let kept = records.iter().filter(|record| words(record)[0] == "request").count();
    let lost = words(records.last().expect("records"));
    assert_eq!(lost[0], "lost");
    assert_eq!(kept + lost[2].parse::<usize>().expect("a count"), 2000);
    assert!((200..1000).contains(&kept), "{kept}");
    // The reader has caught up: it is told everything again, once the server has noticed.
    server.replies("main");
    server.run("PING");
    server.replies("c");
    server.run("GET key:1");
    assert_eq!(words(&server.replies("c")[0])[4..], ["GET", "key:1"]);
}
