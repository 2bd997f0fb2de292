//! Replication between two servers of ours: following, going on after a break, handing over.

use crate::support::{Varve, folder, run};
use redis::{Commands, Connection, RedisResult};
use std::path::Path;
use std::time::{Duration, Instant};
use storage::testing::until;

/// Longer than any synchronization here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server that can be a master: it does not wait for more replicas than there are.
pub fn master(dir: &Path, args: &[&str]) -> Varve {
    let all =
        [&["--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes"], args].concat();
    Varve::start(dir, &all)
}

fn replica(dir: &Path, of: &Varve, args: &[&str]) -> Varve {
    replica_of(dir, of.port, args)
}

pub fn replica_of(dir: &Path, port: u16, args: &[&str]) -> Varve {
    let port = port.to_string();
    master(dir, &[&["--replicaof", "127.0.0.1", &port], args].concat())
}

pub fn ask<T: redis::FromRedisValue>(
    connection: &mut Connection,
    words: &[&str],
) -> RedisResult<T> {
    redis::cmd(words[0]).arg(&words[1..]).query(connection)
}

/// A line of `INFO replication`.
pub fn info(connection: &mut Connection, name: &str) -> String {
    let text: String = ask(connection, &["INFO", "replication"]).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().to_owned()
}

pub fn stat(connection: &mut Connection, name: &str) -> String {
    let text: String = ask(connection, &["INFO", "stats"]).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().to_owned()
}

pub fn wait_until_up(replica: &mut Connection) {
    until("the link is up", || info(replica, "master_link_status") == "up");
}

/// Waits until a replica has all of its master's stream, and compares.
fn assert_in_step(master: &mut Connection, replica: &mut Connection) {
    wait_until_up(replica);
    let offset = info(master, "master_repl_offset");
    let end: u64 = offset.parse().unwrap();
    until("the replica has everything", || {
        info(replica, "slave_repl_offset").parse::<u64>().unwrap() >= end
    });
    let digest = |connection: &mut Connection| ask::<String>(connection, &["DEBUG", "DIGEST"]);
    assert_eq!(digest(master).unwrap(), digest(replica).unwrap());
}

/// Runs commands in one pipeline; their words are separated by spaces.
fn run_all(connection: &mut Connection, lines: &[&str]) {
    let mut pipe = redis::pipe();
    for line in lines {
        let mut words = line.split(' ');
        pipe.cmd(words.next().unwrap()).arg(words.collect::<Vec<_>>()).ignore();
    }
    pipe.exec(connection).unwrap();
}

/// Something of every type, in two databases.
fn fill(connection: &mut Connection) {
    let lines = [
        "SELECT 0",
        "SET text hello",
        "SET mortal x EX 1000",
        "RPUSH list a b c",
        "SADD set 1 2 x",
        "HSET hash f 1 g 2",
        "ZADD zset 1 a 2.5 b",
        "XADD stream * f v",
        "SELECT 3",
        "SET elsewhere y",
        "SELECT 0",
    ];
    run_all(connection, &lines);
}

/// Writes whose effects are others than they themselves.
fn change(connection: &mut Connection) {
    let () = redis::pipe()
        .cmd("SPOP")
        .arg("set")
        .ignore()
        .cmd("INCRBYFLOAT")
        .arg("float")
        .arg("0.1")
        .ignore()
        .cmd("SET")
        .arg("soon")
        .arg("x")
        .arg("PX")
        .arg(100_000)
        .ignore()
        .cmd("LMOVE")
        .arg(&["list", "other", "LEFT", "RIGHT"])
        .ignore()
        .cmd("EVAL")
        .arg("redis.call('INCR', KEYS[1]); redis.call('SADD', KEYS[2], math.random())")
        .arg(&["2", "counted", "drawn"])
        .ignore()
        .cmd("XADD")
        .arg("stream")
        .arg(&["MAXLEN", "2", "*", "f", "w"])
        .ignore()
        .query(connection)
        .unwrap();
    let () = redis::pipe().atomic().incr("counted", 1).del("text").query(connection).unwrap();
    let () = redis::pipe()
        .cmd("SELECT")
        .arg(5)
        .ignore()
        .cmd("INCR")
        .arg("n")
        .ignore()
        .cmd("SELECT")
        .arg(0)
        .ignore()
        .query(connection)
        .unwrap();
}

#[test]
fn a_replica_has_what_its_master_has_on_every_storage() {
    for (above, below) in [("memory", "memory"), ("sled", "fjall"), ("fjall", "sled")] {
        let ((_one, here), (_other, there)) = (folder(), folder());
        let above = master(&here, &["--storage", above]);
        let mut source = above.connect();
        fill(&mut source);
        let below = replica(&there, &above, &["--storage", below]);
        let mut copy = below.connect();
        assert_in_step(&mut source, &mut copy);
        change(&mut source);
        assert_in_step(&mut source, &mut copy);
        assert_eq!(copy.get::<_, i64>("counted").unwrap(), 2);
    }
}

#[test]
fn a_replica_refuses_writes_and_hides_what_has_expired() {
    let ((_one, here), (_other, there)) = (folder(), folder());
    let above = master(&here, &[]);
    let mut source = above.connect();
    let below = replica(&there, &above, &[]);
    let mut copy = below.connect();
    wait_until_up(&mut copy);
    let refused = copy.set::<_, _, ()>("a", "b").unwrap_err().to_string();
    assert!(refused.contains("READONLY") || refused.contains("read only"), "{refused}");
    let role: (String, String, u16, String, i64) = ask(&mut copy, &["ROLE"]).unwrap();
    assert_eq!((role.0.as_str(), role.2, role.3.as_str()), ("slave", above.port, "connected"));

    // The master does not expire keys now, so the replica hides the key by itself.
    let _: () = ask(&mut source, &["DEBUG", "SET-ACTIVE-EXPIRE", "0"]).unwrap();
    let _: () = ask(&mut source, &["SET", "short", "x", "PX", "50"]).unwrap();
    until("the key comes", || ask::<i64>(&mut copy, &["DBSIZE"]).unwrap() == 1);
    until("the key is hidden", || !copy.exists::<_, bool>("short").unwrap());
    assert_eq!(ask::<i64>(&mut copy, &["DBSIZE"]).unwrap(), 1, "it is hidden, not gone");
    assert!(!source.exists::<_, bool>("short").unwrap());
    until("the master's word", || ask::<i64>(&mut copy, &["DBSIZE"]).unwrap() == 0);
}

#[test]
fn a_broken_link_goes_on_where_it_was() {
    let ((_one, here), (_other, there)) = (folder(), folder());
    let above = master(&here, &["--repl-backlog-size", "1mb"]);
    let mut source = above.connect();
    fill(&mut source);
    let below = replica(&there, &above, &[]);
    let mut copy = below.connect();
    assert_in_step(&mut source, &mut copy);
    for round in 1..=3 {
        let killed: i64 = ask(&mut source, &["CLIENT", "KILL", "TYPE", "replica"]).unwrap();
        assert_eq!(killed, 1);
        change(&mut source);
        until("it came back", || stat(&mut source, "sync_partial_ok") == round.to_string());
        assert_in_step(&mut source, &mut copy);
    }
    assert_eq!(stat(&mut source, "sync_full"), "1");
}

#[test]
fn promotion_keeps_the_history_and_replicas_chain() {
    let (one, two, three) = (folder(), folder(), folder());
    let first = master(&one.1, &[]);
    let mut a = first.connect();
    fill(&mut a);
    let second = replica(&two.1, &first, &["--appendonly", "yes"]);
    let mut b = second.connect();
    assert_in_step(&mut a, &mut b);
    let third = replica(&three.1, &second, &[]);
    let mut c = third.connect();
    assert_in_step(&mut b, &mut c);
    change(&mut a);
    assert_in_step(&mut a, &mut b);
    assert_in_step(&mut a, &mut c);
    assert_eq!(info(&mut a, "master_replid"), info(&mut c, "master_replid"));

    // The one in the middle takes over; both others go on with it.
    let _: () = ask(&mut b, &["REPLICAOF", "NO", "ONE"]).unwrap();
    assert_eq!(info(&mut b, "role"), "master");
    assert_eq!(info(&mut b, "master_replid2"), info(&mut a, "master_replid"));
    change(&mut b);
    assert_in_step(&mut b, &mut c);
    let port = second.port.to_string();
    let _: () = ask(&mut a, &["REPLICAOF", "127.0.0.1", &port]).unwrap();
    assert_in_step(&mut b, &mut a);
    assert_eq!(stat(&mut b, "sync_partial_ok"), "2");

    // What it was sent is in its own log.
    let before: String = ask(&mut b, &["DEBUG", "DIGEST"]).unwrap();
    second.kill();
    let second = master(&two.1, &["--appendonly", "yes"]);
    let after: String = ask(&mut second.connect(), &["DEBUG", "DIGEST"]).unwrap();
    assert_eq!(before, after);
}

#[test]
fn wait_counts_replicas_and_few_refuse_writes() {
    let ((_one, here), (_other, there)) = (folder(), folder());
    let above = master(&here, &[]);
    let mut source = above.connect();
    assert_eq!(ask::<i64>(&mut source, &["WAIT", "1", "10"]).unwrap(), 0);
    let _: () = ask(&mut source, &["CONFIG", "SET", "min-replicas-to-write", "1"]).unwrap();
    let refused = source.set::<_, _, ()>("a", "b").unwrap_err().to_string();
    assert!(refused.contains("NOREPLICAS") || refused.contains("good replicas"), "{refused}");
    let below = replica(&there, &above, &[]);
    let mut copy = below.connect();
    wait_until_up(&mut copy);
    until("the replica counts", || source.set::<_, _, ()>("a", "b").is_ok());
    let began = Instant::now();
    assert_eq!(ask::<i64>(&mut source, &["WAIT", "1", "20000"]).unwrap(), 1);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "it does not wait for the next second's word"
    );
    assert_eq!(copy.get::<_, String>("a").unwrap(), "b");
    assert_eq!(ask::<i64>(&mut source, &["WAIT", "2", "50"]).unwrap(), 1, "time is over");
    below.kill();
    until("nobody is left", || source.set::<_, _, ()>("a", "b").is_err());
}

#[test]
fn a_handover_loses_nothing() {
    let ((_one, here), (_other, there)) = (folder(), folder());
    let above = master(&here, &[]);
    let mut source = above.connect();
    let refused = ask::<()>(&mut source, &["FAILOVER"]).unwrap_err().to_string();
    assert!(refused.contains("requires connected replicas"), "{refused}");
    fill(&mut source);
    let below = replica(&there, &above, &[]);
    let mut copy = below.connect();
    wait_until_up(&mut copy);
    change(&mut source);
    let _: () = ask(&mut source, &["FAILOVER"]).unwrap();
    until("the roles have changed", || {
        info(&mut source, "role") == "slave" && info(&mut copy, "role") == "master"
    });
    until("it is over", || info(&mut source, "master_failover_state") == "no-failover");
    let () = copy.set("after", "1").unwrap();
    assert_in_step(&mut copy, &mut source);
    assert_eq!(stat(&mut copy, "sync_full"), "0", "the old master goes on where it was");
}

#[test]
fn messages_and_waits_reach_a_replicas_clients() {
    let ((_one, here), (_other, there)) = (folder(), folder());
    let above = master(&here, &[]);
    let mut source = above.connect();
    let below = replica(&there, &above, &[]);
    wait_until_up(&mut below.connect());
    let mut listening = below.connect();
    let mut channel = listening.as_pubsub();
    channel.subscribe("news").unwrap();
    channel.set_read_timeout(Some(PATIENCE)).unwrap();
    let _: i64 = ask(&mut source, &["PUBLISH", "news", "hello"]).unwrap();
    assert_eq!(channel.get_message().unwrap().get_payload::<String>().unwrap(), "hello");
    let waiting = std::thread::spawn({
        let mut waiting = below.connect();
        move || ask::<redis::Value>(&mut waiting, &["XREAD", "BLOCK", "20000", "STREAMS", "s", "$"])
    });
    let mut copy = below.connect();
    until("it waits", || {
        ask::<String>(&mut copy, &["INFO", "clients"]).unwrap().contains("blocked_clients:1")
    });
    let _: String = ask(&mut source, &["XADD", "s", "*", "f", "v"]).unwrap();
    assert_ne!(waiting.join().unwrap().unwrap(), redis::Value::Nil);
}

#[test]
fn a_restart_goes_on_where_it_was() {
    let snapshot = &["--appendonly", "no", "--save", "3600", "1"];
    for options in [&["--appendonly", "yes"][..], &["--storage", "fjall"], snapshot] {
        let ((_one, here), (_other, there)) = (folder(), folder());
        let above = master(&here, &[]);
        let mut source = above.connect();
        fill(&mut source);
        let below = replica(&there, &above, options);
        assert_in_step(&mut source, &mut below.connect());
        wait_for_log(&mut below.connect());
        let _: RedisResult<()> = ask(&mut below.connect(), &["SHUTDOWN"]);
        assert!(below.ended().status.success());
        change(&mut source);
        let below = replica(&there, &above, options);
        assert_in_step(&mut source, &mut below.connect());
        let counts = [stat(&mut source, "sync_full"), stat(&mut source, "sync_partial_ok")];
        assert_eq!(counts, ["1", "1"], "{options:?}");
    }
}

/// Waits until a log that is being begun or rewritten has taken the place of the one before.
fn wait_for_log(connection: &mut Connection) {
    until("the log is rewritten", || {
        let text: String = ask(connection, &["INFO", "persistence"]).unwrap();
        ["aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"]
            .iter()
            .all(|line| text.contains(line))
    });
}

fn rewrite_log(connection: &mut Connection) {
    let _: redis::Value = ask(connection, &["BGREWRITEAOF"]).unwrap();
    wait_for_log(connection);
}

/// Changes data, and sends what is no effect in between.
fn change_and_publish(source: &mut Connection) {
    for _ in 0..3 {
        change(source);
        let _: i64 = ask(source, &["WAIT", "1", "20000"]).unwrap();
        let _: i64 = ask(source, &["PUBLISH", "channel", "message"]).unwrap();
    }
}

#[test]
fn a_killed_server_goes_on_where_its_log_ends() {
    for (storage, rewrite) in [("memory", false), ("memory", true), ("fjall", false)] {
        let ((_one, here), (_other, there)) = (folder(), folder());
        let options = ["--appendonly", "yes", "--storage", storage];
        let above = master(&here, &options);
        let mut source = above.connect();
        fill(&mut source);
        let below = replica(&there, &above, &options);
        let mut copy = below.connect();
        assert_in_step(&mut source, &mut copy);
        wait_for_log(&mut copy);
        if rewrite {
            rewrite_log(&mut source);
            rewrite_log(&mut copy);
        }
        change_and_publish(&mut source);
        assert_in_step(&mut source, &mut copy);

        // The replica is killed, and misses something.
        below.kill();
        change(&mut source);
        let below = replica(&there, &above, &options);
        let mut copy = below.connect();
        assert_in_step(&mut source, &mut copy);
        let counts = [stat(&mut source, "sync_full"), stat(&mut source, "sync_partial_ok")];
        assert_eq!(counts, ["1", "1"], "{storage}, rewritten: {rewrite}");

        // The master is killed, the replica takes over, and the master comes back as a replica.
        above.kill();
        let _: () = ask(&mut copy, &["REPLICAOF", "NO", "ONE"]).unwrap();
        change(&mut copy);
        let above = master(&here, &options);
        let mut source = above.connect();
        let port = below.port.to_string();
        let _: () = ask(&mut source, &["REPLICAOF", "127.0.0.1", &port]).unwrap();
        assert_in_step(&mut copy, &mut source);
        let counts = [stat(&mut copy, "sync_full"), stat(&mut copy, "sync_partial_ok")];
        assert_eq!(counts, ["0", "1"], "{storage}, rewritten: {rewrite}");
    }
}

#[test]
fn a_log_with_writes_of_its_own_is_of_no_stream() {
    let ((_one, here), (_other, there)) = (folder(), folder());
    let above = master(&here, &[]);
    let mut source = above.connect();
    fill(&mut source);
    let options = ["--appendonly", "yes", "--replica-read-only", "no"];
    let below = replica(&there, &above, &options);
    let mut copy = below.connect();
    assert_in_step(&mut source, &mut copy);
    wait_for_log(&mut copy);
    let () = source.set("theirs", "1").unwrap();
    assert_in_step(&mut source, &mut copy);
    let () = copy.set("own", "1").unwrap();
    below.kill();
    let below = replica(&there, &above, &options);
    let mut copy = below.connect();
    assert_in_step(&mut source, &mut copy);
    assert_eq!(stat(&mut source, "sync_full"), "2");
}

#[test]
fn a_running_server_is_moved_by_one_line() {
    let ((_one, here), (_other, there)) = (folder(), folder());
    let (from, to) = (master(&here, &[]), master(&there, &[]));
    let mut source = from.connect();
    let _: () = ask(&mut source, &["CONFIG", "SET", "requirepass", "secret"]).unwrap();
    fill(&mut source);
    let urls = (
        format!("redis://:secret@127.0.0.1:{}", from.port),
        format!("redis://127.0.0.1:{}", to.port),
    );
    let moved = run(&["migrate", "--from", &urls.0, "--to", &urls.1]);
    assert!(moved.status.success(), "{}", moved.stderr);
    assert!(moved.stderr.contains("the target is a master now"), "{}", moved.stderr);
    let mut target = to.connect();
    assert_eq!(info(&mut target, "role"), "master");
    assert_eq!(target.get::<_, String>("text").unwrap(), "hello");
    let again = run(&["migrate", "--from", &urls.1, "--to", &urls.1]);
    assert!(!again.status.success() && again.stderr.contains("same server"), "{}", again.stderr);
}

#[test]
fn waitaof_counts_replicas_whose_log_is_on_disk() {
    let ((_one, here), (_other, there)) = (folder(), folder());
    let above = master(&here, &[]);
    let mut source = above.connect();
    let below = replica(&there, &above, &["--appendonly", "yes"]);
    wait_until_up(&mut below.connect());
    let () = source.set("a", "b").unwrap();
    let counted: (i64, i64) = ask(&mut source, &["WAITAOF", "0", "1", "20000"]).unwrap();
    assert_eq!(counted, (1, 1));
    below.kill();
    let below = master(&there, &["--appendonly", "yes"]);
    assert_eq!(below.connect().get::<_, String>("a").unwrap(), "b");
}
