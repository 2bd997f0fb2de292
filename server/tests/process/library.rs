//! Varve as a library.

use crate::support::connect;
use redis::Commands;
use server::{Handle, Server, ServerBuilder};
use tempfile::TempDir;

#[path = "../../examples/custom_command.rs"]
#[allow(dead_code, reason = "its main is cargo's to call")]
mod custom_command;

/// A server in this process, on a port of the system's choice.
fn start(change: impl FnOnce(ServerBuilder) -> ServerBuilder) -> (TempDir, Handle) {
    let dir = tempfile::tempdir().unwrap();
    let builder = Server::builder()
        .set("dir", [dir.path().join("data").display()])
        .listen(([127, 0, 0, 1], 0).into());
    let handle = change(builder).build().unwrap().start().unwrap();
    (dir, handle)
}

#[test]
fn the_example_adds_a_command() {
    let (_dir, handle) = start(|builder| builder.commands(custom_command::COMMANDS));
    let mut client = connect(handle.addresses()[0]);
    let mut setmax = |number: i64| -> i64 {
        redis::cmd("SETMAX").arg("record").arg(number).query(&mut client).unwrap()
    };
    assert_eq!([setmax(3), setmax(7), setmax(5)], [3, 7, 7]);
    let error = redis::cmd("SETMAX").arg("record").exec(&mut client).unwrap_err().to_string();
    assert!(error.contains("wrong number of arguments for 'setmax' command"), "{error}");
    handle.shutdown().unwrap();
}

#[test]
fn a_folder_can_be_served_again_after_the_end() {
    let (dir, handle) = start(|builder| builder);
    let () = connect(handle.addresses()[0]).set("key", "value").unwrap();
    let again = || {
        Server::builder()
            .set("dir", [dir.path().join("data").display()])
            .listen(([127, 0, 0, 1], 0).into())
            .build()
    };
    let error = again().err().expect("the folder is in use").to_string();
    assert!(error.contains("is in use by process"), "{error}");
    handle.shutdown().unwrap();
    let handle = again().unwrap().start().unwrap();
    let value: String = connect(handle.addresses()[0]).get("key").unwrap();
    assert_eq!(value, "value");
}

#[test]
fn wrong_settings_are_errors() {
    let error = Server::builder().set("prot", [1]).build().err().expect("no such directive");
    assert_eq!(error.to_string(), "'prot': unknown directive");
    let rows = custom_command::COMMANDS;
    let dir = tempfile::tempdir().unwrap();
    let twice = Server::builder()
        .set("dir", [dir.path().display()])
        .listen(([127, 0, 0, 1], 0).into())
        .commands(rows)
        .commands(rows);
    let error = twice.build().err().expect("a name is taken").to_string();
    assert_eq!(error, "command 'setmax' is defined twice");
}
