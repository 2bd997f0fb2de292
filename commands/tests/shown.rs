//! Which arguments others than their sender may see.

use engine::command::{CommandTable, arguments};
use engine::text::args::OwnedRequest;

fn shown(line: &str) -> String {
    let table = CommandTable::new(commands::all()).expect("no name twice");
    let request = OwnedRequest::new(line.split(' ').map(str::as_bytes));
    let entry = table.resolve(request.view()).expect("a command");
    let args: Vec<_> = table.shown(entry, request.view()).map(String::from_utf8_lossy).collect();
    args.join(" ").replace("(redacted)", "#")
}

#[test]
fn secrets_are_hidden_wherever_they_stand() {
    for (sent, seen) in [
        ("SET k AUTH", "SET k AUTH"),
        ("auth s", "auth #"),
        ("AUTH u s", "AUTH # #"),
        ("AUTH a b c d", "AUTH # # # #"),
        ("HELLO 3", "HELLO 3"),
        ("HELLO 3 AUTH u s SETNAME n", "HELLO 3 AUTH # # SETNAME n"),
        ("HELLO 3 SETNAME auth auth u s", "HELLO 3 SETNAME auth auth # #"),
        ("HELLO 3 AUTH auth s", "HELLO 3 AUTH # #"),
        ("HELLO 3 AUTH s", "HELLO 3 AUTH #"),
        ("HELLO AUTH u s", "HELLO AUTH # #"),
        ("HELLO 3 AUHT u s", "HELLO 3 # # #"),
        ("ACL SETUSER u >s +@all", "ACL SETUSER # # #"),
        ("ACL GETUSER u", "ACL GETUSER #"),
        ("ACL DELUSER u v", "ACL DELUSER # #"),
        ("ACL WHOAMI", "ACL WHOAMI"),
        ("ACL DRYRUN u AUTH s", "ACL DRYRUN u AUTH #"),
        ("ACL DRYRUN u CONFIG SET requirepass s", "ACL DRYRUN u CONFIG SET requirepass #"),
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 1"),
        ("config set maxmemory 1 RequirePass s", "config set maxmemory 1 RequirePass #"),
        (
            "CONFIG SET masterauth s dir x masteruser u",
            "CONFIG SET masterauth # dir x masteruser #",
        ),
        ("CONFIG SET tls-key-file-pass s x", "CONFIG SET tls-key-file-pass # x"),
        ("CONFIG SET x tls-client-key-file-pass s", "CONFIG SET x tls-client-key-file-pass #"),
        ("CONFIG GET requirepass dir", "CONFIG GET requirepass dir"),
        ("MIGRATE h 1 k 0 1 COPY AUTH s KEYS a", "MIGRATE h 1 k 0 1 COPY AUTH # KEYS a"),
        ("MIGRATE h 1 k 0 1 AUTH2 KEYS s REPLACE", "MIGRATE h 1 k 0 1 AUTH2 # # REPLACE"),
        ("MIGRATE h 1 k 0 1 KEYS auth a", "MIGRATE h 1 k 0 1 KEYS auth a"),
        ("MIGRATE h 1 auth 0 1", "MIGRATE h 1 auth 0 1"),
        ("MIGRATE h 1 k 0 AUTH s", "MIGRATE h 1 k 0 AUTH #"),
        (
            "COMMAND GETKEYS COMMAND GETKEYSANDFLAGS MIGRATE h 1 k 0 1 AUTH s",
            "COMMAND GETKEYS COMMAND GETKEYSANDFLAGS MIGRATE h 1 k 0 1 AUTH #",
        ),
        ("COMMAND GETKEYS NOTHING AUTH s", "COMMAND GETKEYS NOTHING AUTH s"),
    ] {
        assert_eq!(shown(sent), seen);
    }
}

#[test]
fn commands_within_commands_have_no_depth() {
    let line = "COMMAND GETKEYS ".repeat(300_000) + "AUTH s";
    assert!(shown(&line).ends_with("AUTH #"));
}

#[test]
fn rows_that_take_a_password_say_so() {
    let table = CommandTable::new(commands::all()).expect("no name twice");
    for entry in table.entries() {
        let declared = !entry.spec.secrets.is_empty();
        let syntax = arguments(entry.spec).expect("valid");
        let named = format!("{syntax:?}").contains("password");
        assert!(declared || !named, "{} takes a password", entry.full_name);
    }
}
