//! Tests of what a server reveals about itself and what it hides, and of the subcommands of `DEBUG`
//! that need a process.

use crate::support::{Varve, folder, run};
use redis::{Connection, RedisResult, Value};
use std::fs;

const DEBUG: &[&str] = &["--enable-debug-command", "yes"];

fn ask(client: &mut Connection, line: &str) -> RedisResult<String> {
    let mut words = line.split(' ');
    let mut command = redis::cmd(words.next().expect("a word"));
    words.for_each(|word| {
        command.arg(word);
    });
    let reply: RedisResult<Value> = command.query(client);
    reply.map(|value| match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::SimpleString(text) => text,
        Value::Okay => "OK".to_owned(),
        Value::Int(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

#[test]
fn a_failed_start_keeps_passwords_to_itself() {
    let (folder, data) = folder();
    for (name, text) in [
        ("a.toml", "requirepass = \"hunter2\n"),
        ("a.yaml", "requirepass: \"hunter2\n"),
        ("a.conf", "requirepass \"hunter2\n"),
        ("b.conf", "requirepass a hunter2\n"),
        ("c.conf", "user bob on <hunter2\n"),
    ] {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        let ended = run(&[file.to_str().unwrap(), "--dir", data.to_str().unwrap(), "--port", "0"]);
        assert_eq!(ended.status.code(), Some(1), "{text}");
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
    let ended = run(&["--requirepass \"hunter2"]);
    assert!(ended.stderr.contains("unbalanced") && !ended.stderr.contains("hunter2"));
}

#[test]
fn a_running_server_logs_no_password() {
    let (_folder, data) = folder();
    let varve = Varve::start(&data, &["--masterauth", "hunter2", "--loglevel", "debug"]);
    let mut client = varve.connect();
    ask(&mut client, "CONFIG SET requirepass hunter2 tls-key-file-pass hunter2").unwrap();
    ask(&mut client, "AUTH default hunter2").unwrap();
    ask(&mut client, "ACL SETUSER bob >hunter2").unwrap();
    assert!(ask(&mut client, "AUTH bob hunter2x").is_err());
    let ended = varve.stop();
    assert!(!(ended.stdout + &ended.stderr).contains("hunter2"));
}

#[test]
fn the_allocator_tells_of_itself() {
    let (_folder, data) = folder();
    let varve = Varve::start(&data, &[]);
    let report = ask(&mut varve.connect(), "MEMORY MALLOC-STATS").unwrap();
    assert!(report.contains("jemalloc statistics"), "{report}");
    assert!(report.len() <= 1 << 20, "{}", report.len());
}

#[test]
fn reload_loads_what_its_options_say() {
    const WRONG: &str = "Error trying to load the RDB dump, check server logs.";
    for storage in ["memory", "sled", "fjall"] {
        let (_folder, data) = folder();
        let args = [DEBUG, &["--storage", storage, "--appendonly", "no"]].concat();
        let varve = Varve::start(&data, &args);
        let client = &mut varve.connect();
        let asked = ask(client, "DEBUG RELOAD NOSAVE NOFLUSH MERGE");
        assert!(asked.unwrap_err().to_string().contains(WRONG), "there is no file yet");
        ask(client, "SET a saved").unwrap();
        ask(client, "DEBUG RELOAD").unwrap();
        ask(client, "SET a changed").unwrap();
        ask(client, "SET b new").unwrap();
        let asked = ask(client, "DEBUG RELOAD NOSAVE NOFLUSH");
        assert!(asked.unwrap_err().to_string().contains(WRONG), "a is there");
        assert_eq!(ask(client, "GET a").unwrap(), "changed");
        ask(client, "DEBUG RELOAD NOSAVE NOFLUSH MERGE").unwrap();
        assert_eq!(ask(client, "GET a").unwrap(), "saved");
        assert_eq!(ask(client, "GET b").unwrap(), "new");
        ask(client, "DEBUG RELOAD NOSAVE").unwrap();
        assert_eq!(ask(client, "DBSIZE").unwrap(), "1");
        ask(client, "DEBUG POPULATE 1000 p 10").unwrap();
        ask(client, "DEBUG RELOAD NOFLUSH MERGE").unwrap();
        assert_eq!(ask(client, "DBSIZE").unwrap(), "1001");
    }
}

#[test]
fn a_crash_on_request_is_one_clear_line() {
    let (_folder, data) = folder();
    for word in ["PANIC", "SEGFAULT", "OOM", "ASSERT"] {
        let varve = Varve::start(&data, DEBUG);
        assert!(ask(&mut varve.connect(), &format!("DEBUG {word}")).is_err());
        let ended = varve.ended();
        assert!(!ended.status.success());
        let said = format!("a client asked for DEBUG {word}");
        assert!((ended.stdout + &ended.stderr).contains(&said));
    }
    let varve = Varve::start(&data, &[]);
    let refused = ask(&mut varve.connect(), "DEBUG PANIC").unwrap_err().to_string();
    assert!(refused.contains("enable-debug-command"), "{refused}");
    assert_eq!(ask(&mut varve.connect(), "PING").unwrap(), "PONG");
}
