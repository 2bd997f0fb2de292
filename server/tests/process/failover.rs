//! Roles that change while something is wrong: a replica that hangs, a master that is gone.

use crate::replication::{ask, info, master, replica_of, wait_until_up};
use crate::support::{Varve, folder};
use redis::{Commands, Connection};
use storage::testing::until;

/// A master and its replica, which hangs from now on and lacks a write.
fn hanging(above: &Varve, below: &Varve) -> Connection {
    let mut source = above.connect();
    wait_until_up(&mut below.connect());
    // It may be in step before its master has heard so.
    until("its master counts on it", || info(&mut source, "slave0").contains("state=online"));
    below.freeze();
    let () = source.set("late", "1").unwrap();
    source
}

/// Tests the refusals of `FAILOVER` before it begins.
fn check_refusals(source: &mut Connection) {
    for (words, text) in [
        (&["FAILOVER", "TO", "127.0.0.1", "1"][..], "is not a replica"),
        (&["FAILOVER", "FORCE"], "requires both a timeout and target"),
        (&["FAILOVER", "TIMEOUT", "0"], "timeout must be greater than 0"),
        (&["FAILOVER", "ABORT"], "No failover in progress"),
    ] {
        let refused = ask::<()>(source, words).unwrap_err().to_string();
        assert!(refused.contains(text), "{words:?}: {refused}");
    }
}

#[test]
fn a_handover_that_nobody_can_take_is_given_up_or_undone() {
    let ((_one, here), (_other, there)) = (folder(), folder());
    let above = master(&here, &[]);
    let below = replica_of(&there, above.port, &[]);
    let mut source = hanging(&above, &below);
    let port = below.port.to_string();
    check_refusals(&mut source);

    // The time is over: it stays what it is.
    let _: () = ask(&mut source, &["FAILOVER", "TIMEOUT", "100"]).unwrap();
    assert_eq!(info(&mut source, "master_failover_state"), "waiting-for-sync");
    let () = source.set("held", "1").unwrap();
    assert_eq!(info(&mut source, "master_failover_state"), "no-failover");
    assert_eq!(info(&mut source, "role"), "master");

    // Nobody waits for ever.
    let to = ["FAILOVER", "TO", "127.0.0.1", &port, "TIMEOUT", "1000000"];
    let _: () = ask(&mut source, &to).unwrap();
    let again = ask::<()>(&mut source, &to).unwrap_err().to_string();
    assert!(again.contains("already in progress"), "{again}");
    let refused = ask::<()>(&mut source, &["REPLICAOF", "NO", "ONE"]).unwrap_err().to_string();
    assert!(refused.contains("not allowed while failing over"), "{refused}");
    let mut waiting = above.connect();
    let held = std::thread::spawn(move || waiting.set::<_, _, ()>("held", "2"));
    until("a write is held back", || {
        let list: String = ask(&mut source, &["CLIENT", "LIST"]).unwrap();
        list.lines().any(|line| line.contains("cmd=set") && line.contains("flags=b"))
    });
    let _: () = ask(&mut source, &["FAILOVER", "ABORT"]).unwrap();
    held.join().unwrap().unwrap();
    assert_eq!(info(&mut source, "master_failover_state"), "no-failover");

    below.signal(libc::SIGCONT);
    let end = info(&mut source, "master_repl_offset");
    let mut copy = below.connect();
    until("it has what it lacked", || copy.get("held") == Ok(Some("2".to_owned())));
    let reached = info(&mut copy, "slave_repl_offset").parse::<u64>().unwrap();
    assert!(reached >= end.parse::<u64>().unwrap());
}

#[test]
fn a_handover_can_be_forced() {
    let ((_one, here), (_other, there)) = (folder(), folder());
    let above = master(&here, &[]);
    let below = replica_of(&there, above.port, &[]);
    let mut source = hanging(&above, &below);
    let port = below.port.to_string();
    let to = ["FAILOVER", "TO", "127.0.0.1", &port, "FORCE", "TIMEOUT", "100"];
    let _: () = ask(&mut source, &to).unwrap();
    until("it follows", || info(&mut source, "role") == "slave");
    assert_eq!(info(&mut source, "master_failover_state"), "failover-in-progress");
    below.signal(libc::SIGCONT);
    let mut copy = below.connect();
    until("the other leads", || info(&mut copy, "role") == "master");
    until("it is over", || info(&mut source, "master_failover_state") == "no-failover");
    let () = copy.set("after", "1").unwrap();
    until("it has what was written", || source.get("after") == Ok(Some("1".to_owned())));
}

#[test]
fn a_replica_that_lost_its_master_says_so_if_it_is_to() {
    let ((_one, here), (_other, there)) = (folder(), folder());
    let above = master(&here, &[]);
    let () = above.connect().set("k", "v").unwrap();
    let below = replica_of(&there, above.port, &["--replica-serve-stale-data", "no"]);
    let mut copy = below.connect();
    wait_until_up(&mut copy);
    assert_eq!(copy.get::<_, String>("k").unwrap(), "v");
    above.kill();
    until("it knows", || info(&mut copy, "master_link_status") == "down");
    for words in [&["GET", "k"][..], &["PING"], &["DBSIZE"]] {
        let refused = ask::<redis::Value>(&mut copy, words).unwrap_err().to_string();
        let told = refused.contains("MASTERDOWN");
        assert!(told || refused.contains("Link with MASTER is down"), "{words:?}: {refused}");
    }
    let _: redis::Value = ask(&mut copy, &["ROLE"]).unwrap();
    let _: () = ask(&mut copy, &["CONFIG", "SET", "replica-serve-stale-data", "yes"]).unwrap();
    assert_eq!(copy.get::<_, String>("k").unwrap(), "v");
    let _: () = ask(&mut copy, &["REPLICAOF", "NO", "ONE"]).unwrap();
    let () = copy.set("k", "w").unwrap();
}

fn error_of(reply: redis::RedisResult<()>) -> String {
    reply.expect_err("it is refused").to_string()
}

/// The number of clients whose lines in `CLIENT LIST` have all of `words`.
fn clients(connection: &mut Connection, words: &[&str]) -> usize {
    let list: String = ask(connection, &["CLIENT", "LIST"]).unwrap();
    list.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

/// Whether the connection was closed without a reply.
fn is_closed(reply: redis::RedisResult<()>) -> bool {
    reply.is_err_and(|error| error.is_connection_dropped())
}

/// The milliseconds for which replicas are waited for; empty if they are not.
fn ends_in(connection: &mut Connection) -> String {
    let text: String = ask(connection, &["INFO", "server"]).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("shutdown_in_milliseconds:"));
    line.unwrap_or_default().to_owned()
}

#[test]
fn an_end_waits_for_replicas_and_can_be_aborted() {
    let ((_one, here), (_other, there)) = (folder(), folder());
    let above = master(&here, &["--shutdown-timeout", "60"]);
    let below = replica_of(&there, above.port, &[]);
    let mut source = hanging(&above, &below);
    let shutdown = || {
        let mut client = above.connect();
        std::thread::spawn(move || ask::<()>(&mut client, &["SHUTDOWN"]))
    };
    assert_eq!(ends_in(&mut source), "");
    let waiting = [shutdown(), shutdown()];
    until("both wait", || clients(&mut source, &["cmd=shutdown"]) == 2);
    let left: u64 = ends_in(&mut source).parse().unwrap();
    assert!((1..=60_000).contains(&left), "{left}");
    let mut writer = above.connect();
    let held = std::thread::spawn(move || writer.set::<_, _, ()>("held", "1"));
    until("a write is held back", || clients(&mut source, &["cmd=set", "flags=b"]) == 1);
    // Another pause, and its end, are for other reasons.
    let _: () = ask(&mut source, &["CLIENT", "PAUSE", "60000", "WRITE"]).unwrap();
    let _: () = ask(&mut source, &["CLIENT", "UNPAUSE"]).unwrap();
    assert!(!held.is_finished());
    assert_eq!(source.get("held"), Ok(None::<String>));
    let _: () = ask(&mut source, &["SHUTDOWN", "ABORT"]).unwrap();
    held.join().unwrap().unwrap();
    for client in waiting {
        let said = error_of(client.join().unwrap());
        assert!(said.contains("Errors trying to SHUTDOWN. Check logs."), "{said}");
    }
    let again = error_of(ask(&mut source, &["SHUTDOWN", "ABORT"]));
    assert!(again.contains("No shutdown in progress"), "{again}");

    // By a signal, too; and once the replica has everything, the server ends.
    above.signal(libc::SIGTERM);
    until("it waits", || !ends_in(&mut source).is_empty());
    below.signal(libc::SIGCONT);
    let ended = above.ended();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert_eq!(below.connect().get("held"), Ok(Some("1".to_owned())));
}

#[test]
fn an_end_waits_for_replicas_no_longer_than_it_may() {
    let ((_one, here), (_other, there)) = (folder(), folder());
    let above = master(&here, &["--shutdown-timeout", "1"]);
    let below = replica_of(&there, above.port, &[]);
    let mut source = hanging(&above, &below);
    assert!(is_closed(ask(&mut source, &["SHUTDOWN"])));
    let ended = above.ended();
    assert!(ended.status.success(), "{}", ended.stderr);
    let said = [ended.stdout, ended.stderr].concat();
    assert!(said.contains("1 replicas lack something"), "{said}");

    // Who is told NOW does not wait, nor do those who wait already.
    let above = master(&here, &["--shutdown-timeout", "600"]);
    let third = folder();
    let below_it = replica_of(&third.1, above.port, &[]);
    let mut source = hanging(&above, &below_it);
    let mut client = above.connect();
    let waiting = std::thread::spawn(move || ask::<()>(&mut client, &["SHUTDOWN"]));
    until("it waits", || !ends_in(&mut source).is_empty());
    assert!(is_closed(ask(&mut source, &["SHUTDOWN", "NOW"])));
    assert!(above.ended().status.success());
    assert!(is_closed(waiting.join().unwrap()));
    drop((below, below_it));
}

/// Ends a server while a script that writes is under way, which counts as slow after `threshold_ms`. Who got the
/// script's reply has to find its write at the replica.
fn end_beside_a_script(threshold_ms: &str) {
    let ((_one, here), (_other, there)) = (folder(), folder());
    let above = master(&here, &["--runtime", "threads", "--busy-reply-threshold", threshold_ms]);
    let below = replica_of(&there, above.port, &[]);
    wait_until_up(&mut below.connect());
    let (mut client, mut other) = (above.connect(), above.connect());
    let script =
        "local n = 0 for i = 1, 30000000 do n = n + 1 end redis.call('SET', KEYS[1], n) return n";
    let running = std::thread::spawn(move || {
        ask::<i64>(&mut client, &["EVAL", script, "1", "slow"]).map(drop)
    });
    // Once it is slow, others are told so.
    until("the script runs", || match ask::<String>(&mut other, &["CLIENT", "LIST"]) {
        Ok(list) => list.contains("cmd=eval"),
        Err(error) => error.code() == Some("BUSY"),
    });
    above.signal(libc::SIGTERM);
    let replied = running.join().unwrap().is_ok();
    assert!(above.ended().status.success());
    let kept: Option<i64> = below.connect().get("slow").unwrap();
    assert!(!replied || kept.is_some(), "it was acknowledged, and the replica has not got it");
}

#[test]
fn what_is_under_way_when_the_end_begins_reaches_the_replicas() {
    end_beside_a_script("60000");
    end_beside_a_script("50");
}
