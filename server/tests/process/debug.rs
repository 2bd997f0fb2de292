//! The subcommands of `DEBUG` that affect the process: its allocator, its files, its restart.

use crate::replication::{master, replica_of, wait_until_up};
use crate::support::{Varve, folder};
use redis::{Commands, Connection, RedisResult, Value, cmd};
use std::fs;
use storage::testing::{until, until_some};

fn debug<T: redis::FromRedisValue>(client: &mut Connection, args: &[&str]) -> RedisResult<T> {
    cmd("DEBUG").arg(args).query(client)
}

/// A connection to a process that is beginning anew.
fn again(varve: &Varve) -> Connection {
    until_some("it answers again", || {
        let client = redis::Client::open(format!("redis://{}/", varve.address())).unwrap();
        let mut connection = client.get_connection().ok()?;
        let pong: String = cmd("PING").query(&mut connection).ok()?;
        assert_eq!(pong, "PONG");
        Some(connection)
    })
}

fn run_id(client: &mut Connection) -> String {
    let text: String = cmd("INFO").arg("server").query(client).unwrap();
    text.lines().find(|line| line.starts_with("run_id:")).expect("a run has an id").to_owned()
}

/// No golden script asks for it: Redis would try ten million patterns, and be busy for what comes next.
#[test]
fn made_up_patterns_are_tried() {
    let (_folder, data) = folder();
    let varve = Varve::start(&data, &["--enable-debug-command", "yes", "--appendonly", "no"]);
    let tried: String = debug(&mut varve.connect(), &["STRINGMATCH-TEST"]).unwrap();
    assert_eq!(tried, "Apparently Redis did not crash: test passed");
}

/// No golden script asks for it: Redis does it, and waits for a disk that may be busy.
#[test]
fn loading_inside_a_transaction_would_wait_for_itself() {
    let (_folder, data) = folder();
    let varve = Varve::start(&data, &["--enable-debug-command", "yes", "--appendonly", "no"]);
    let mut client = varve.connect();
    let () = cmd("MULTI").query(&mut client).unwrap();
    let () = cmd("DEBUG").arg("RELOAD").query(&mut client).unwrap();
    let refused = cmd("EXEC").query::<Value>(&mut client).unwrap_err().to_string();
    assert!(refused.contains("loading is not possible inside a transaction"), "{refused}");
}

#[test]
fn the_allocator_is_asked_and_set_as_far_as_that_is_safe() {
    let (_folder, data) = folder();
    let varve = Varve::start(&data, &["--enable-debug-command", "yes", "--appendonly", "no"]);
    let mut client = varve.connect();
    let page: i64 = debug(&mut client, &["MALLCTL", "arenas.page"]).unwrap();
    assert!(page >= 4096);
    let before: i64 = debug(&mut client, &["MALLCTL", "arenas.dirty_decay_ms", "1234"]).unwrap();
    let now: i64 = debug(&mut client, &["MALLCTL", "arenas.dirty_decay_ms"]).unwrap();
    assert!(before != 1234 && now == 1234, "{before}, {now}");
    let version: String = debug(&mut client, &["MALLCTL-STR", "version"]).unwrap();
    assert!(version.starts_with("5."), "{version}");
    let done: String = debug(&mut client, &["MALLCTL-STR", "arena.0.purge", "VOID"]).unwrap();
    assert_eq!(done, "OK");
    for (args, refusal) in [
        (&["MALLCTL", "no.such"][..], "No such file or directory"),
        (&["MALLCTL", "arena.0.extent_hooks", "12345"], "Operation not permitted"),
        // A number read as a text would be a pointer to nowhere.
        (&["MALLCTL-STR", "arenas.page"], "Invalid argument"),
        (&["MALLCTL-STR", "opt.dss", "x"], "Operation not permitted"),
    ] {
        let error = debug::<Value>(&mut client, args).unwrap_err().to_string();
        assert!(error.contains(refusal), "{args:?}: {error}");
    }
}

#[test]
fn a_snapshot_with_a_wrong_checksum_loads_when_it_is_told_to() {
    let (_folder, data) = folder();
    let varve = Varve::start(&data, &["--enable-debug-command", "yes", "--appendonly", "no"]);
    let mut client = varve.connect();
    let () = client.set("key", "value").unwrap();
    let () = cmd("SAVE").query(&mut client).unwrap();
    let file = data.join("dump.rdb");
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    let refused = debug::<Value>(&mut client, &["RELOAD", "NOSAVE"]).unwrap_err().to_string();
    assert!(refused.contains("Error trying to load the RDB dump"), "{refused}");
    let () = debug(&mut client, &["SET-SKIP-CHECKSUM-VALIDATION", "1"]).unwrap();
    let () = debug(&mut client, &["RELOAD", "NOSAVE"]).unwrap();
    assert_eq!(client.get::<_, String>("key").unwrap(), "value");
}

#[test]
fn every_directive_is_written_when_that_is_forced() {
    let (folder, data) = folder();
    let file = folder.path().join("varve.conf");
    fs::write(&file, "# mine\nappendonly no\nenable-debug-command yes\n").unwrap();
    let varve = Varve::start_from(&file, &data, &[]);
    let mut client = varve.connect();
    let () = cmd("CONFIG").arg("REWRITE").query(&mut client).unwrap();
    let written = fs::read_to_string(&file).unwrap();
    assert!(!written.contains("maxmemory-samples") && written.contains("# mine"), "{written}");
    let () = debug(&mut client, &["CONFIG-REWRITE-FORCE-ALL"]).unwrap();
    let written = fs::read_to_string(&file).unwrap();
    for line in ["# mine", "maxmemory-samples 5", "appendfsync everysec", "slowlog-max-len 128"] {
        assert!(written.lines().any(|there| there == line), "no {line}: {written}");
    }
    // It is a file that a server starts with.
    drop(varve);
    Varve::start_from(&file, &data, &[]);
}

#[test]
fn it_begins_anew_when_it_is_told_to() {
    let (_folder, data) = folder();
    let options =
        ["--enable-debug-command", "yes", "--appendonly", "no", "--save", "3600", "1000000"];
    let varve = Varve::start(&data, &options);
    let mut client = varve.connect();
    let first = run_id(&mut client);
    let () = client.set("key", "value").unwrap();
    debug::<Value>(&mut client, &["RESTART"]).unwrap_err();
    let mut client = again(&varve);
    let second = run_id(&mut client);
    assert_ne!(first, second);
    assert_eq!(client.get::<_, String>("key").unwrap(), "value", "it was saved");
    let () = client.set("key", "lost").unwrap();
    debug::<Value>(&mut client, &["CRASH-AND-RECOVER", "50"]).unwrap_err();
    let mut client = again(&varve);
    assert_ne!(run_id(&mut client), second);
    assert_eq!(client.get::<_, String>("key").unwrap(), "value", "a crash saves nothing");
}

#[test]
fn a_command_for_replicas_alone_makes_them_differ() {
    let ((_one, first), (_two, second)) = (folder(), folder());
    let varve = master(&first, &["--appendonly", "no"]);
    let replica = replica_of(&second, varve.port, &["--appendonly", "no"]);
    let (mut client, mut follower) = (varve.connect(), replica.connect());
    wait_until_up(&mut follower);
    let () = client.set("both", 1).unwrap();
    let () = debug(&mut client, &["REPLICATE", "SET", "there", "x"]).unwrap();
    until("the replica has it", || follower.exists("there").unwrap());
    assert!(!client.exists::<_, bool>("there").unwrap());
    assert!(follower.exists::<_, bool>("both").unwrap());
}
