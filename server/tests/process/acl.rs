//! Users in files, and what a change of them does to live connections.

use crate::support::{Varve, folder, run};
use std::fs;

/// The reply to a command: its text, or the error.
fn ask(connection: &mut redis::Connection, line: &str) -> String {
    let mut words = line.split(' ');
    let mut command = redis::cmd(words.next().unwrap_or_default());
    words.for_each(|word| {
        command.arg(word);
    });
    match command.query::<redis::Value>(connection) {
        Ok(redis::Value::Okay) => "OK".into(),
        Ok(redis::Value::SimpleString(text)) => text,
        Ok(redis::Value::BulkString(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        Ok(other) => format!("{other:?}"),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn an_aclfile_is_loaded_saved_and_loaded_again_all_or_nothing() {
    let (place, data) = folder();
    let file = place.path().join("users.acl");
    let path = file.to_str().unwrap();
    fs::write(&file, "user alice on >pw ~* &* +@all\nuser bob on nopass ~b* +@all\n\n").unwrap();
    let server = Varve::start(&data, &["--aclfile", path]);
    let mut admin = server.connect();
    let mut bob = server.connect();
    assert_eq!(ask(&mut admin, "AUTH alice pw"), "OK");
    assert_eq!(ask(&mut bob, "AUTH bob any"), "OK");
    assert!(ask(&mut bob, "SET a 1").contains("No permissions to access a key"));
    assert_eq!(ask(&mut bob, "SET b 1"), "OK");

    assert_eq!(ask(&mut admin, "ACL SETUSER carol on >x (+get ~c*)"), "OK");
    assert_eq!(ask(&mut admin, "ACL SAVE"), "OK");
    let saved = fs::read_to_string(&file).unwrap();
    let names: Vec<_> = saved.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(names, ["alice", "bob", "carol", "default"], "{saved}");
    assert!(saved.contains("(~c* resetchannels -@all +get)"), "{saved}");
    assert!(!saved.contains(">x"), "passwords are hashed: {saved}");
    assert_eq!(ask(&mut admin, "ACL LOAD"), "OK");
    assert_eq!(ask(&mut bob, "SET b 2"), "OK", "an unchanged user stays");

    fs::write(&file, "user dave on\nuser dave on\nusr x\nuser eve +nosuch\n").unwrap();
    let wrong = ask(&mut admin, "ACL LOAD");
    for part in [
        "WARNING: Duplicate user 'dave' found on line 2. ",
        &format!("{path}:3 should start with user keyword followed by the username. "),
        &format!("{path}:4: Unknown command or category name in ACL. "),
        "WARNING: ACL errors detected, no change to the previously active ACL rules was performed",
    ] {
        assert!(wrong.contains(part), "{part}: {wrong}");
    }
    assert_eq!(ask(&mut bob, "SET b 3"), "OK", "nothing was changed");

    fs::write(&file, "user alice on >pw ~* &* +@all\n").unwrap();
    assert_eq!(ask(&mut admin, "ACL LOAD"), "OK");
    assert_eq!(ask(&mut admin, "ACL WHOAMI"), "alice");
    assert!(ask(&mut bob, "SET b 4").starts_with("error"), "users that are gone are disconnected");
}

#[test]
fn an_aclfile_that_is_wrong_refuses_the_start() {
    let (place, data) = folder();
    let file = place.path().join("users.acl");
    let path = file.to_str().unwrap();
    fs::write(&file, "user x +nosuch\n").unwrap();
    let port = crate::support::free_port().to_string();
    let ended = run(&["--port", &port, "--dir", data.to_str().unwrap(), "--aclfile", path]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        ended.stderr.contains(":1: Unknown command or category name in ACL"),
        "{}",
        ended.stderr
    );
}

#[test]
fn user_lines_are_read_and_written_back() {
    let (place, data) = folder();
    let file = place.path().join("varve.conf");
    fs::write(&file, "user alice on >pw ~a* (+get ~b*) +@all\n").unwrap();
    let server = Varve::start_from(&file, &data, &[]);
    let mut client = server.connect();
    assert_eq!(ask(&mut client, "CONFIG SET requirepass secret"), "OK");
    let mut client = server.connect();
    assert!(ask(&mut client, "PING").contains("NOAUTH"));
    assert_eq!(ask(&mut client, "AUTH alice pw"), "OK");
    assert!(ask(&mut client, "GET b").contains("nil"), "the selector allows it");
    assert!(ask(&mut client, "SET b 1").contains("No permissions to access a key"));
    assert_eq!(ask(&mut client, "AUTH secret"), "OK");
    assert_eq!(ask(&mut client, "ACL DELUSER alice"), "int(1)");
    assert_eq!(ask(&mut client, "ACL SETUSER bob off -@all +ping"), "OK");
    assert_eq!(ask(&mut client, "CONFIG REWRITE"), "OK");
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains("alice"), "{text}");
    let bob = "user bob off sanitize-payload resetchannels -@all +ping";
    assert!(text.lines().any(|line| line == bob), "{text}");
}
