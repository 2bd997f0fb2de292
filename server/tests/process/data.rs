//! Data that must be there again: after a stop, after kill -9, from Redis's own files.

use crate::support::{Varve, folder};
use redis::Commands;
use std::path::Path;
use storage::testing::until;

/// Every configuration that promises to keep data when its process is killed.
const KEEPERS: &[&[&str]] = &[
    &["--storage", "memory", "--appendonly", "yes"],
    &["--storage", "memory", "--appendonly", "yes", "--appendfsync", "always"],
    &["--storage", "sled", "--appendonly", "yes"],
    &["--storage", "fjall", "--appendonly", "yes"],
    &["--storage", "fjall", "--appendonly", "no"],
];

fn write(server: &Varve) {
    let mut client = server.connect();
    for number in 0..50 {
        let () = client.set(format!("key{number}"), number).unwrap();
        let _: i64 = client.incr("count", 1).unwrap();
    }
    let _: () =
        redis::pipe().atomic().incr("count", 50).set("last", "x").query(&mut client).unwrap();
}

fn check(server: &Varve, why: &[&str]) {
    let mut client = server.connect();
    let count: i64 = client.get("count").unwrap();
    assert_eq!(count, 100, "{why:?}");
    let values: Vec<i64> = client.mget(&["key0", "key25", "key49"]).unwrap();
    assert_eq!(values, [0, 25, 49], "{why:?}");
    let last: String = client.get("last").unwrap();
    assert_eq!(last, "x", "{why:?}");
}

#[test]
fn killed_servers_come_back_with_everything_answered() {
    for keeper in KEEPERS {
        let (_folder, data) = folder();
        let server = Varve::start(&data, keeper);
        write(&server);
        server.kill();
        let server = Varve::start(&data, keeper);
        check(&server, keeper);
        // Once more: replaying must not have counted anything twice.
        server.kill();
        check(&Varve::start(&data, keeper), keeper);
    }
}

#[test]
fn stopped_servers_come_back_with_everything() {
    for keeper in KEEPERS {
        let (_folder, data) = folder();
        let server = Varve::start(&data, keeper);
        write(&server);
        assert_eq!(server.stop().status.code(), Some(0), "{keeper:?}");
        let server = Varve::start(&data, keeper);
        check(&server, keeper);
        assert_eq!(server.stop().status.code(), Some(0), "{keeper:?}");
    }
}

#[test]
fn without_a_log_memory_forgets() {
    let (_folder, data) = folder();
    let server = Varve::start(&data, &["--appendonly", "no"]);
    write(&server);
    server.kill();
    let server = Varve::start(&data, &["--appendonly", "no"]);
    let none: Option<String> = server.connect().get("last").unwrap();
    assert_eq!(none, None);
    assert!(!data.join("appendonlydir").exists());
}

/// A snapshot as Redis 7 writes it: `answer` = 42 in database 0, and a key that expired in 1970.
fn write_snapshot(path: &Path) {
    use storage::rdb::{Options, Writer};
    let mut writer = Writer::new(std::fs::File::create(path).unwrap(), Options::default());
    writer.aux(b"redis-ver", b"7.0.15").unwrap();
    writer.select_db(0).unwrap();
    writer
        .entry(b"answer", None, |value| {
            value.string(b"42");
            Ok(())
        })
        .unwrap();
    writer
        .entry(b"gone", Some(1000), |value| {
            value.string(b"x");
            Ok(())
        })
        .unwrap();
    writer.finish().unwrap();
}

/// A Redis data folder with only a snapshot starts here, with a log from then on.
#[test]
fn a_snapshot_is_loaded_and_goes_into_the_log() {
    for appendonly in ["yes", "no"] {
        let (_folder, data) = folder();
        std::fs::create_dir(&data).unwrap();
        write_snapshot(&data.join("dump.rdb"));
        let server = Varve::start(&data, &["--appendonly", appendonly]);
        let mut client = server.connect();
        let values: Vec<Option<i64>> = client.mget(&["answer", "gone"]).unwrap();
        assert_eq!(values, [Some(42), None], "appendonly {appendonly}");
        let () = client.set("more", 1).unwrap();
        server.kill();
        if appendonly == "yes" {
            std::fs::remove_file(data.join("dump.rdb")).unwrap();
            let server = Varve::start(&data, &["--appendonly", "yes"]);
            let values: Vec<i64> = server.connect().mget(&["answer", "more"]).unwrap();
            assert_eq!(values, [42, 1]);
        }
    }
}

/// `CONFIG SET appendonly`: what was there before and what came while the log was begun is logged,
/// what came after its end is not, and a second beginning starts anew.
#[test]
fn the_log_begins_and_ends_while_the_server_runs() {
    let (_folder, data) = folder();
    let set = |client: &mut redis::Connection, value: &str| {
        redis::cmd("CONFIG").arg("SET").arg("appendonly").arg(value).exec(client).unwrap();
    };
    let wait_for_rewrite = |client: &mut redis::Connection| {
        until("the log is written anew", || {
            let text: String = redis::cmd("INFO").arg("persistence").query(client).unwrap();
            text.contains("aof_enabled:1") && text.contains("aof_rewrite_in_progress:0")
        });
    };
    let off = ["--appendonly", "no", "--save", ""];
    let server = Varve::start(&data, &off);
    let mut client = server.connect();
    let () = client.set("before", 1).unwrap();
    set(&mut client, "yes");
    for _ in 0..1000 {
        let _: i64 = client.incr("count", 1).unwrap();
    }
    wait_for_rewrite(&mut client);
    let _: i64 = client.incr("count", 1).unwrap();
    server.kill();

    let server = Varve::start(&data, &["--appendonly", "yes", "--save", ""]);
    let mut client = server.connect();
    assert_eq!(client.get::<_, i64>("count").unwrap(), 1001);
    assert_eq!(client.get::<_, i64>("before").unwrap(), 1);
    set(&mut client, "no");
    let () = client.set("unlogged", 1).unwrap();
    let () = client.del("before").unwrap();
    set(&mut client, "yes");
    wait_for_rewrite(&mut client);
    let () = client.set("after", 1).unwrap();
    set(&mut client, "no");
    let () = client.set("lost", 1).unwrap();
    server.kill();

    let server = Varve::start(&data, &["--appendonly", "yes", "--save", ""]);
    let there: Vec<Option<i64>> =
        server.connect().mget(&["count", "before", "unlogged", "after", "lost"]).unwrap();
    assert_eq!(there, [Some(1001), None, Some(1), Some(1), None]);
}

#[test]
fn a_storage_that_keeps_its_data_begins_no_log_while_it_runs() {
    let (_folder, data) = folder();
    let server = Varve::start(&data, &["--storage", "fjall", "--appendonly", "no"]);
    let refused: redis::RedisResult<()> =
        redis::cmd("CONFIG").arg("SET").arg("appendonly").arg("yes").query(&mut server.connect());
    assert!(refused.unwrap_err().to_string().contains("when the server starts"));
}

/// `rename-command`: the old name is gone, in scripts too; the log is good without the line.
/// Values for an `INFO persistence`.
fn figure(client: &mut redis::Connection, name: &str) -> i64 {
    let info: redis::InfoDict = redis::cmd("INFO").arg("persistence").query(client).unwrap();
    info.get(name).unwrap_or_else(|| panic!("no {name}"))
}

/// The answers to commands sent in one go, errors as their texts.
fn answers(client: &mut redis::Connection, lines: &[&str]) -> Vec<String> {
    let mut pipe = redis::pipe();
    for line in lines {
        let mut words = line.split(' ');
        let command = pipe.cmd(words.next().unwrap());
        for word in words {
            command.arg(word);
        }
    }
    pipe.ignore_errors();
    let values: Vec<redis::Value> = pipe.query(client).unwrap();
    values
        .into_iter()
        .map(|value| match value {
            redis::Value::Okay => "OK".to_owned(),
            redis::Value::SimpleString(text) => text,
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_log_that_is_off_can_be_rewritten_and_one_that_begins_says_that_it_is_being_written() {
    let (_folder, data) = folder();
    let server = Varve::start(&data, &["--appendonly", "no", "--save", ""]);
    let mut client = server.connect();
    let fill = "for i = 1, 100000 do redis.call('SET', i, string.rep('x', 100)) end";
    redis::cmd("EVAL").arg(fill).arg(0).exec(&mut client).unwrap();
    let found = answers(&mut client, &["BGREWRITEAOF", "BGREWRITEAOF"]);
    assert_eq!(found[0], "Background append only file rewriting started");
    assert!(found[1].contains("rewriting already in progress"), "{found:?}");
    until("it is written, and nothing behind it", || {
        figure(&mut client, "aof_rewrites") == 1 && figure(&mut client, "aof_enabled") == 0
    });
    let on = "CONFIG SET appendonly yes";
    let found = answers(&mut client, &["SET after 1", on, "BGREWRITEAOF", "SET later 2"]);
    assert_eq!(found[1], "OK");
    assert!(found[2].contains("rewriting already in progress"), "{found:?}");
    until("the log has begun", || figure(&mut client, "aof_rewrites") == 2);
    server.kill();
    let server = Varve::start(&data, &["--appendonly", "yes", "--save", ""]);
    let kept: Vec<i64> = server.connect().mget(&["after", "later"]).unwrap();
    assert_eq!(kept, [1, 2]);
}

/// A log that ends and begins again while it is rewritten, and one that a snapshot delays.
fn the_log_is_switched_during_other_work(client: &mut redis::Connection) {
    let (off, on) = ("CONFIG SET appendonly no", "CONFIG SET appendonly yes");
    let found = answers(client, &["BGREWRITEAOF", off, on, "SET during 1", "BGSAVE SCHEDULE"]);
    assert_eq!(found[1..4], ["OK", "OK", "OK"], "{found:?}");
    until("both have happened", || {
        figure(client, "aof_rewrites") == 4 && figure(client, "rdb_saves") == 3
    });
    assert_eq!(answers(client, &["SAVE", "SET after 1", "DEBUG LOADAOF"])[..2], ["OK", "OK"]);
}

fn exec_schedules_work(client: &mut redis::Connection) {
    let found = answers(client, &["MULTI", "BGSAVE", "BGREWRITEAOF", "EXEC"]);
    assert!(found[3].contains("Background saving scheduled"), "{found:?}");
    assert!(found[3].contains("Background append only file rewriting scheduled"), "{found:?}");
    until("what EXEC scheduled has happened", || {
        figure(client, "aof_rewrites") == 5 && figure(client, "rdb_saves") == 5
    });
}

#[test]
fn work_in_the_background_is_scheduled_behind_other_work() {
    let (_folder, data) = folder();
    let server = Varve::start(&data, &["--appendonly", "yes", "--save", ""]);
    let mut client = server.connect();
    let fill = "for i = 1, 150000 do redis.call('SET', i, string.rep('x', 100)) end";
    redis::cmd("EVAL").arg(fill).arg(0).exec(&mut client).unwrap();
    let found =
        answers(&mut client, &["BGREWRITEAOF", "BGREWRITEAOF", "BGSAVE", "BGSAVE SCHEDULE"]);
    assert_eq!(found[0], "Background append only file rewriting started");
    assert!(
        found[1].contains("Background append only file rewriting already in progress"),
        "{found:?}"
    );
    assert!(found[2].contains("Another child process is active (AOF?): can't BGSAVE"), "{found:?}");
    assert_eq!(found[3], "Background saving scheduled");
    until("the snapshot is written after the rewrite", || figure(&mut client, "rdb_saves") == 1);
    assert_eq!(figure(&mut client, "aof_rewrites"), 1);

    let found = answers(&mut client, &["BGSAVE", "BGSAVE", "BGREWRITEAOF", "INFO persistence"]);
    assert_eq!(found[0], "Background saving started");
    assert!(found[1].contains("Background save already in progress"), "{found:?}");
    assert_eq!(found[2], "Background append only file rewriting scheduled");
    assert!(found[3].contains("aof_rewrite_scheduled:1"), "{found:?}");
    until("the log is rewritten after the snapshot", || figure(&mut client, "aof_rewrites") == 2);
    assert_eq!(figure(&mut client, "aof_rewrite_scheduled"), 0);

    the_log_is_switched_during_other_work(&mut client);
    exec_schedules_work(&mut client);
    server.kill();
    let server = Varve::start(&data, &["--appendonly", "yes", "--save", ""]);
    let kept: Vec<i64> = server.connect().mget(&["during", "after"]).unwrap();
    assert_eq!(kept, [1, 1]);
}

#[test]
fn renamed_commands_are_logged_by_their_own_names() {
    let (place, data) = folder();
    let file = place.path().join("varve.conf");
    let lines = "rename-command SET Put\nrename-command FLUSHALL \"\"\nrename-command XGROUP groups\nappendonly yes\n";
    std::fs::write(&file, lines).unwrap();
    let server = Varve::start_from(&file, &data, &[]);
    let mut client = server.connect();
    let () = redis::cmd("PUT").arg("key").arg("value").query(&mut client).unwrap();
    let () = redis::cmd("groups")
        .arg(&["CREATE", "s", "g", "$", "MKSTREAM"])
        .query(&mut client)
        .unwrap();
    let put = "redis.call('put', 'script', '1')";
    let () = redis::cmd("EVAL").arg(put).arg(0).query(&mut client).unwrap();
    let () =
        redis::pipe().atomic().cmd("put").arg("multi").arg(1).ignore().query(&mut client).unwrap();
    for gone in ["SET", "FLUSHALL", "XGROUP"] {
        let refused: redis::RedisResult<()> =
            redis::cmd(gone).arg("key").arg("x").query(&mut client);
        assert!(refused.unwrap_err().to_string().contains("unknown command"), "{gone}");
    }
    server.kill();

    let server = Varve::start(&data, &["--appendonly", "yes"]);
    let mut client = server.connect();
    let there: Vec<Option<String>> = client.mget(&["key", "script", "multi"]).unwrap();
    assert_eq!(there, ["value", "1", "1"].map(|value| Some(value.to_owned())));
    assert_eq!(client.exists::<_, usize>("s").unwrap(), 1);
    server.kill();
}

/// `DEBUG LOADAOF`: the data are what the log says, and go on from there.
#[test]
fn the_log_is_loaded_into_a_running_server() {
    let debug = |client: &mut redis::Connection, what: &str| -> redis::RedisResult<String> {
        redis::cmd("DEBUG").arg(what).query(client)
    };
    let given = ["--appendonly", "yes", "--enable-debug-command", "yes"];
    let (_folder, data) = folder();
    let server = Varve::start(&data, &given);
    let mut client = server.connect();
    let _: i64 = client.incr("count", 41).unwrap();
    let _: i64 = client.hset("hash", "field", "value").unwrap();
    let () = client.set_ex("text", "x", 1000).unwrap();
    let before = debug(&mut client, "DIGEST").unwrap();
    assert_eq!(debug(&mut client, "LOADAOF").unwrap(), "OK");
    assert_eq!(debug(&mut client, "DIGEST").unwrap(), before);
    assert_eq!(client.incr::<_, _, i64>("count", 1).unwrap(), 42);
    server.kill();
    let server = Varve::start(&data, &given);
    assert_eq!(server.connect().get::<_, i64>("count").unwrap(), 42);

    for refusing in [
        ["--storage", "fjall", "--appendonly", "yes"],
        ["--storage", "memory", "--appendonly", "no"],
    ] {
        let (_folder, data) = folder();
        let all = [&refusing[..], &["--enable-debug-command", "yes"]].concat();
        let server = Varve::start(&data, &all);
        let mut client = server.connect();
        let () = client.set("kept", 1).unwrap();
        assert!(debug(&mut client, "LOADAOF").is_err(), "{refusing:?}");
        assert_eq!(client.get::<_, i64>("kept").unwrap(), 1);
    }
}

/// Counts a key up until the connection ends. Returns what was acknowledged.
fn count_up(mut connection: redis::Connection) -> i64 {
    let mut acknowledged = 0;
    while let Ok(number) = connection.incr("n", 1) {
        acknowledged = number;
    }
    acknowledged
}

#[test]
fn a_snapshot_at_the_end_has_everything_that_was_acknowledged() {
    let (_dir, data) = folder();
    let args = ["--appendonly", "no", "--save", "", "--shutdown-on-sigterm", "save"];
    let mut expected = 0;
    for _ in 0..3 {
        let varve = Varve::start(&data, &args);
        assert_eq!(varve.connect().get::<_, Option<i64>>("n").unwrap().unwrap_or(0), expected);
        let (connection, mut reader) = (varve.connect(), varve.connect());
        let writer = std::thread::spawn(|| count_up(connection));
        until("it counts", || {
            let number: Option<i64> = reader.get("n").unwrap();
            number.unwrap_or(0) > expected + 100
        });
        assert!(varve.stop().status.success());
        expected = writer.join().unwrap();
    }
}

#[test]
fn an_end_takes_the_place_of_a_snapshot_under_way() {
    let (_dir, data) = folder();
    let args = ["--appendonly", "no", "--save", "3600", "1", "--enable-debug-command", "yes"];
    let varve = Varve::start(&data, &args);
    let mut client = varve.connect();
    let mut run = |words: &[&str]| -> redis::RedisResult<redis::Value> {
        redis::cmd(words[0]).arg(&words[1..]).query(&mut client)
    };
    run(&["DEBUG", "POPULATE", "300000"]).unwrap();
    run(&["BGSAVE"]).unwrap();
    run(&["SET", "late", "1"]).unwrap();
    let ended = varve.stop();
    assert!(ended.status.success(), "{}", ended.stderr);
    let varve = Varve::start(&data, &args);
    assert_eq!(varve.connect().get("late"), Ok(Some("1".to_owned())));
    assert_eq!(redis::cmd("DBSIZE").query(&mut varve.connect()), Ok(300_001));
}
