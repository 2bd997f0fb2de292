//! No secret that a command takes is shown to others than its sender, wherever requests are shown.

use engine::testing::{Harness, text};
use std::collections::BTreeSet;
use std::sync::Arc;
use storage::backend::EncodingLimits;
use storage_memory::{Config, MemoryBackend};

/// The secret that must not appear anywhere.
const SECRET: &str = "hunter2";

/// Requests with a secret of every command that takes some, those that fail as well.
const REQUESTS: &[&str] = &[
    "AUTH hunter2",
    "AUTH nobody hunter2",
    "AUTH hunter2 x hunter2",
    "HELLO 3 AUTH nobody hunter2",
    "HELLO 3 AUTH default hunter2 SETNAME me",
    "HELLO 3 SETNAME me AUTH hunter2",
    "HELLO AUTH default hunter2",
    "CONFIG SET masterauth hunter2",
    "CONFIG SET MASTERUSER hunter2 dir /nowhere",
    "CONFIG SET maxmemory 0 tls-key-file-pass hunter2 tls-client-key-file-pass hunter2",
    "CONFIG SET maxmemory requirepass hunter2",
    "ACL SETUSER hunter2",
    "ACL SETUSER someone on >hunter2 +@all ~*",
    "ACL SETUSER someone <hunter2 #hunter2",
    "ACL SETUSR someone >hunter2",
    "ACL GETUSER hunter2",
    "ACL DELUSER hunter2",
    "ACL DRYRUN default CONFIG SET requirepass hunter2",
    "MIGRATE 127.0.0.1 1 nothing 0 20 AUTH hunter2",
    "MIGRATE 127.0.0.1 1 nothing 0 20 COPY AUTH2 hunter2 hunter2 REPLACE",
    "MIGRATE 127.0.0.1 1 nothing 0 AUTH hunter2",
    "COMMAND GETKEYS MIGRATE h 1 k 0 1 AUTH hunter2",
    "COMMAND GETKEYSANDFLAGS MIGRATE h 1 k 0 1 AUTH hunter2",
];

fn server() -> Harness {
    let limits = EncodingLimits::default();
    let config = Config { shards: 4, databases: 16, hash_seed: 7, limits };
    let mut server = Harness::new(commands::all(), Arc::new(MemoryBackend::new(config)));
    for line in [
        "CONFIG SET slowlog-log-slower-than 0",
        "CONFIG SET slowlog-max-len 10000",
        "CONFIG SET latency-monitor-threshold 1",
        "SLOWLOG RESET",
    ] {
        assert_eq!(server.text(line), "OK");
    }
    server.run_as("monitor", "MONITOR");
    server.send("capture", "CAPTURE");
    server.replies("capture");
    server
}

/// Everything that others can see of what was asked.
fn outlets(server: &mut Harness) -> Vec<(&'static str, String)> {
    let mut seen: Vec<_> = ["monitor", "capture"]
        .map(|client| {
            let lines: Vec<_> = server.replies(client).iter().map(text).collect();
            (client, lines.join("\n"))
        })
        .into();
    for line in [
        "SLOWLOG GET -1",
        "CLIENT LIST",
        "LATENCY LATEST",
        "LATENCY DOCTOR",
        "LATENCY HISTOGRAM",
        "INFO everything",
        "COMMAND LIST",
        "FUNCTION STATS",
    ] {
        seen.push((line, text(&server.run_as("observer", line))));
    }
    seen
}

fn check(server: &mut Harness, what: &str) {
    for (outlet, shown) in outlets(server) {
        assert!(!shown.contains(SECRET), "{outlet} shows the secret of {what}: {shown}");
    }
}

#[test]
fn no_outlet_shows_a_secret() {
    for request in REQUESTS {
        let mut server = server();
        server.send("client", request);
        server.replies("client");
        check(&mut server, request);
        for line in ["MULTI", request, "EXEC"] {
            server.send("other", line);
        }
        check(&mut server, &format!("{request} in a transaction"));
        let words: Vec<_> = request.split(' ').map(|word| format!("'{word}'")).collect();
        // The text of a script is shown, so the secret comes as an argument and is glued together.
        let script = format!("return redis.pcall({})", words.join(", "));
        let script = script.replace(SECRET, "' .. 'hunter' .. 2 .. '");
        server.run_args(&["EVAL", &script, "0"]);
        check(&mut server, &format!("{request} in a script"));
    }
}

#[test]
fn what_is_not_secret_is_shown() {
    let mut server = server();
    for request in ["AUTH nobody hunter2", "CONFIG SET masterauth hunter2", "SET key value"] {
        server.send("client", request);
    }
    let seen = outlets(&mut server);
    let shown = |outlet| &seen.iter().find(|(name, _)| *name == outlet).expect("an outlet").1;
    for outlet in ["monitor", "capture", "SLOWLOG GET -1"] {
        let shown = shown(outlet);
        assert!(shown.contains("AUTH") && shown.contains("(redacted)"), "{outlet}: {shown}");
        assert!(shown.contains("key") && shown.contains("value"), "{outlet}: {shown}");
    }
    assert!(shown("SLOWLOG GET -1").contains("masterauth"), "so what was set can be told");
}

#[test]
fn every_command_with_a_secret_is_tried() {
    let server = server();
    let tried: BTreeSet<_> = REQUESTS
        .iter()
        .filter_map(|request| {
            let words = request.split(' ').map(str::as_bytes);
            let request = engine::text::args::OwnedRequest::new(words);
            server.engine().commands.resolve(request.view()).map(|entry| entry.id)
        })
        .collect();
    for entry in server.engine().commands.entries() {
        let tried = entry.spec.secrets.is_empty() || tried.contains(&entry.id);
        assert!(tried, "{} has secrets, and is not tried", entry.full_name);
    }
}
