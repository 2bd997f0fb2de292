//! MIGRATE: keys go from one server to another, and are on one of them at every moment.

use crate::support::{ONE_THREAD, Varve, folder, possible, run};
use redis::{Commands, Connection, RedisResult};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;
use storage::testing::{until, until_some};

fn migrate(from: &mut Connection, to: &Varve, key: &str, rest: &[&str]) -> RedisResult<String> {
    let mut command = redis::cmd("MIGRATE");
    command.arg("127.0.0.1").arg(to.port).arg(key).arg(0).arg(2000).arg(rest);
    command.query(from)
}

#[test]
fn keys_go_with_their_types_and_expiries() {
    let ((_one, here), (_other, there)) = (folder(), folder());
    let (from, to) = (
        Varve::start(&here, &["--appendonly", "yes"]),
        Varve::start(&there, &["--storage", "fjall"]),
    );
    let mut target = to.connect();
    let _: () =
        redis::cmd("CONFIG").arg(&["SET", "requirepass", "secret"]).query(&mut target).unwrap();
    let mut source = from.connect();
    let () = source.set_ex("text", "hello", 1000).unwrap();
    let _: () = source.rpush("list", &["a", "b"]).unwrap();
    let _: () = source.zadd("scores", "one", 1.5).unwrap();
    let refused = migrate(&mut source, &to, "text", &[]).unwrap_err().to_string();
    assert!(refused.contains("Target instance replied with error: NOAUTH"), "{refused}");
    assert!(source.exists::<_, bool>("text").unwrap(), "a refused key stays");

    let auth = ["AUTH", "secret", "KEYS", "text", "list", "nosuch", "scores"];
    assert_eq!(migrate(&mut source, &to, "", &auth).unwrap(), "OK");
    assert_eq!(source.exists::<_, i64>(&["text", "list", "scores"]).unwrap(), 0);
    assert_eq!(target.lrange::<_, Vec<String>>("list", 0, -1).unwrap(), ["a", "b"]);
    assert_eq!(target.zscore::<_, _, f64>("scores", "one").unwrap(), 1.5);
    let left: i64 = target.ttl("text").unwrap();
    assert!((900..=1000).contains(&left), "{left}");
    assert_eq!(migrate(&mut source, &to, "nosuch", &[]).unwrap(), "NOKEY");

    // What was handed over does not come back with the log.
    from.kill();
    let from = Varve::start(&here, &["--appendonly", "yes"]);
    assert_eq!(from.connect().exists::<_, i64>(&["text", "list", "scores"]).unwrap(), 0);
}

#[test]
fn copies_stay_and_only_replace_overwrites() {
    let ((_one, here), (_other, there)) = (folder(), folder());
    let (from, to) = (Varve::start(&here, &[]), Varve::start(&there, &[]));
    let mut source = from.connect();
    let _: () = redis::pipe().set("a", "new").set("b", "2").query(&mut source).unwrap();
    let () = to.connect().set("a", "old").unwrap();
    let busy = migrate(&mut source, &to, "", &["KEYS", "a", "b"]).unwrap_err().to_string();
    assert!(busy.contains("BUSYKEY"), "{busy}");
    assert!(source.exists::<_, bool>("a").unwrap() && !source.exists::<_, bool>("b").unwrap());
    assert_eq!(migrate(&mut source, &to, "a", &["COPY", "REPLACE"]).unwrap(), "OK");
    assert_eq!(source.get::<_, String>("a").unwrap(), "new");
    assert_eq!(to.connect().mget::<_, Vec<String>>(&["a", "b"]).unwrap(), ["new", "2"]);
}

/// A server that reads what it is sent, and answers the first request with `first` and, when it is
/// told to, what follows with `second`; it hangs up only when the test lets go of it. It tells
/// when the first request has come.
struct Stranger {
    port: u16,
    tell: mpsc::Sender<()>,
    asked: mpsc::Receiver<()>,
}

fn stranger(first: &'static [u8], second: &'static [u8]) -> Stranger {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::channel();
    let (ask, asked) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer);
        let _ = ask.send(());
        let _ = stream.write_all(first);
        if told.recv().is_ok() {
            let _ = stream.write_all(second);
            // Hanging up with unread bytes would be a reset.
            let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
            while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
        }
    });
    Stranger { port, tell, asked }
}

/// MIGRATE on a connection of its own; what comes of it.
fn migrate_aside(
    from: &Varve,
    port: u16,
    timeout: u32,
) -> thread::JoinHandle<Result<String, String>> {
    let mut source = from.connect();
    thread::spawn(move || {
        let mut command = redis::cmd("MIGRATE");
        command.arg("127.0.0.1").arg(port).arg("k").arg(0).arg(timeout);
        command.query::<String>(&mut source).map_err(|error| error.to_string())
    })
}

/// The runtime with workers for several clients: with blocking threads, each keeps one to itself.
fn with_workers<'a>(runtime: &'a [&'a str]) -> &'a [&'a str] {
    match runtime.contains(&"threads") {
        true => &["--runtime", "threads", "--threads", "4"],
        false => runtime,
    }
}

#[test]
fn others_are_served_while_the_target_is_silent() {
    for runtime in possible(ONE_THREAD) {
        let (_one, here) = folder();
        let from = Varve::start(&here, with_workers(runtime));
        let mut other = from.connect();
        let () = other.set("k", "v").unwrap();
        let Stranger { port, tell, asked } = stranger(b"+OK\r\n", b"+OK\r\n");
        let moving = migrate_aside(&from, port, 20_000);
        asked.recv().unwrap();
        let () = other.set("another", "1").unwrap();
        assert_eq!(other.incr::<_, _, i64>("another", 1).unwrap(), 2, "{runtime:?}");
        let mut third = from.connect();
        let reader = thread::spawn(move || third.get::<_, Option<String>>("k").unwrap());
        assert!(!reader.is_finished() && !moving.is_finished());
        tell.send(()).unwrap();
        assert_eq!(moving.join().unwrap().as_deref(), Ok("OK"), "{runtime:?}");
        assert_eq!(reader.join().unwrap(), None, "{runtime:?}: it went");
    }
}

/// A server that says nothing until it is told to, and then answers everything with `+OK`.
fn black_hole() -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, awake) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
    let told = awake.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, told) = (stream.unwrap(), told.clone());
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
                    if told.load(Ordering::SeqCst) {
                        let _ = stream.write_all(b"+OK\r\n");
                    }
                }
            });
        }
    });
    (port, awake)
}

#[test]
fn a_black_hole_holds_up_nobody_is_left_alone_and_is_tried_again() {
    for runtime in possible(ONE_THREAD) {
        let (_one, here) = folder();
        let from = Varve::start(&here, with_workers(runtime));
        let mut other = from.connect();
        let () = other.mset(&[("k", "v"), ("another", "1")]).unwrap();
        let (port, awake) = black_hole();
        let moving = migrate_aside(&from, port, 1_500);
        assert_eq!(other.incr::<_, _, i64>("another", 1).unwrap(), 2, "{runtime:?}");
        let error = moving.join().unwrap().unwrap_err();
        assert!(error.contains("error or timeout reading to target instance"), "{error}");
        // It would take an hour to wait for the next. On a machine that stands still for a second the breaker may have
        // rested by now.
        let refused = until_some("it is left alone", || {
            let error = migrate_aside(&from, port, 1_500).join().unwrap().unwrap_err();
            error.contains("did not answer lately").then_some(error)
        });
        assert!(refused.contains("IOERR"), "{refused}");
        let mut at_once = redis::pipe();
        at_once.atomic().cmd("MIGRATE").arg("127.0.0.1").arg(port).arg("k").arg(0).arg(1_500);
        let told = at_once.query::<(String,)>(&mut other).unwrap_err().to_string();
        assert!(told.contains("IOERR"), "{told}");
        let shown: String = redis::cmd("INFO").arg("breakers").query(&mut other).unwrap();
        assert!(shown.contains(&format!("breaker_migrate_127.0.0.1_{port}:state=")), "{shown}");
        assert!(shown.contains("breakers_open:1"), "{shown}");
        assert_eq!(other.get::<_, String>("k").unwrap(), "v");
        awake.store(true, Ordering::SeqCst);
        until("a probe closes it", || {
            migrate_aside(&from, port, 20_000).join().unwrap().is_ok_and(|reply| reply == "OK")
        });
        assert_eq!(other.get::<_, Option<String>>("k").unwrap(), None, "{runtime:?}: it went");
        let shown: String = redis::cmd("INFO").arg("breakers").query(&mut other).unwrap();
        assert!(shown.contains("state=closed") && shown.contains("breakers_open:0"), "{shown}");
    }
}

#[test]
fn a_strange_target_takes_nothing() {
    let (_one, here) = folder();
    let from = Varve::start(&here, &["--threads", "1"]);
    let mut other = from.connect();
    let () = other.set("k", "v").unwrap();
    let long: &'static [u8] = Box::leak(vec![b'+'; 1 << 20].into_boxed_slice());
    let strangers: [(&[u8], &[u8]); 5] = [
        (b"", b""),
        (b"HTTP/1.1 400 Bad Request\r\n", b""),
        (b"+OK\r\n", b"220 welcome\r\n+OK\r\n"),
        (b"+OK\r\n", b"+O"),
        (b"+OK\r\n", long),
    ];
    for (first, second) in strangers {
        let Stranger { port, tell, .. } = stranger(first, second);
        let moving = migrate_aside(&from, port, 300);
        let _ = tell.send(());
        let error = moving.join().unwrap().unwrap_err();
        assert!(error.contains("error or timeout reading to target instance"), "{error}");
        assert_eq!(other.get::<_, String>("k").unwrap(), "v");
    }
    // In a transaction it has less time than it was given, and ends all the same.
    let Stranger { port, tell, .. } = stranger(b"+OK\r\n", b"");
    let mut pipe = redis::pipe();
    pipe.atomic().cmd("MIGRATE").arg("127.0.0.1").arg(port).arg("k").arg(0).arg(3_600_000);
    let error = pipe.query::<(String,)>(&mut from.connect()).unwrap_err().to_string();
    assert!(error.contains("error or timeout reading to target instance"), "{error}");
    drop(tell);
    assert_eq!(other.get::<_, String>("k").unwrap(), "v");
}

#[test]
fn keys_go_through_a_file() {
    let ((dir, here), (_other, there)) = (folder(), folder());
    let (from, to) = (Varve::start(&here, &[]), Varve::start(&there, &["--storage", "fjall"]));
    let mut source = from.connect();
    // More than are read at a time, binary names and values, a time to live, another database.
    let mut many = redis::pipe();
    for at in 0..1000 {
        many.set(format!("k{at}"), vec![0xff; 100]).ignore();
    }
    let () = many.query(&mut source).unwrap();
    let () = source.set_ex(b"\xff\r\n", "bytes", 1000).unwrap();
    let () = source.zadd("scores", "one", 1.5).unwrap();
    let _: () = redis::pipe().cmd("SELECT").arg(3).set("far", "away").query(&mut source).unwrap();
    let file = dir.path().join("keys");
    let file = file.to_str().unwrap();
    let (from, to) = (format!("redis://{}", from.address()), format!("redis://{}", to.address()));
    let ended = run(&["export", file, "--from", &from]);
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(ended.stderr.contains("1003 keys"), "{}", ended.stderr);
    assert!(run(&["export", file, "--from", &from]).stderr.contains("is there already"));

    let ended = run(&["import", file, "--to", &to]);
    assert!(ended.stderr.contains("1003 keys restored"), "{}", ended.stderr);
    let mut target = redis::Client::open(to.as_str()).unwrap().get_connection().unwrap();
    assert_eq!(target.get::<_, Vec<u8>>("k999").unwrap(), vec![0xff; 100]);
    assert_eq!(target.zscore::<_, _, f64>("scores", "one").unwrap(), 1.5);
    let left: i64 = target.ttl(b"\xff\r\n").unwrap();
    assert!((900..=1000).contains(&left), "{left}");
    let ended = run(&["import", file, "--to", &to]);
    assert!(!ended.status.success() && ended.stderr.contains("BUSYKEY"), "{}", ended.stderr);
    let ended = run(&["import", file, "--to", &to, "--existing", "keep"]);
    assert!(ended.stderr.contains("0 keys restored; 1003 were there"), "{}", ended.stderr);
    let () = target.set("k1", "other").unwrap();
    assert!(run(&["import", file, "--to", &to, "--existing", "replace"]).status.success());
    assert_eq!(target.get::<_, Vec<u8>>("k1").unwrap(), vec![0xff; 100]);
    let _: () = redis::cmd("SELECT").arg(3).query(&mut target).unwrap();
    assert_eq!(target.get::<_, String>("far").unwrap(), "away");
}

#[test]
fn the_largest_keys_are_named() {
    let (_dir, data) = folder();
    let varve = Varve::start(&data, &[]);
    let mut client = varve.connect();
    let mut many = redis::pipe();
    for at in 0..1000 {
        many.set(format!("k{at}"), vec![b'x'; 100]).ignore();
    }
    many.set("large", vec![b'x'; 1 << 20]).rpush("list", vec![b'x'; 5000]);
    many.cmd("SELECT").arg(3).set(b"far\xff", vec![b'x'; 10_000]);
    let () = many.query(&mut client).unwrap();
    let from = format!("redis://{}", varve.address());
    let ended = run(&["bigkeys", "--from", &from, "--top", "3", "--rest", "1"]);
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(ended.stderr.contains("1003 keys looked at"), "{}", ended.stderr);
    let lines: Vec<_> = ended.stdout.lines().map(|it| it.split_whitespace().collect()).collect();
    let named: Vec<&[&str]> = lines.iter().take(3).map(|it: &Vec<&str>| &it[2..]).collect();
    let expected: [&[&str]; 3] =
        [&["db0", "string", "large"], &["db3", "string", "far\\xff"], &["db0", "list", "list"]];
    assert_eq!(named, expected, "{}", ended.stdout);
    assert!(ended.stdout.contains("string: 1002 keys, "), "{}", ended.stdout);
    let ended = run(&["bigkeys", "--from", &from, "--db", "3", "--match", "f*"]);
    assert!(ended.stdout.contains("string: 1 keys, "), "{}", ended.stdout);
    assert!(!ended.stdout.contains("large"), "{}", ended.stdout);
}

#[test]
fn half_a_file_and_other_commands_are_no_export() {
    let ((dir, here), file) = (folder(), "keys");
    let varve = Varve::start(&here, &[]);
    let (file, url) = (dir.path().join(file), format!("redis://{}", varve.address()));
    let text = file.to_str().unwrap();
    let () = varve.connect().set("k", "v").unwrap();
    assert!(run(&["export", text, "--from", &url]).status.success());
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 3]).unwrap();
    let ended = run(&["import", text, "--to", &url, "--existing", "keep"]);
    assert!(ended.stderr.contains("ends within a command"), "{}", ended.stderr);
    std::fs::write(&file, b"*1\r\n$8\r\nFLUSHALL\r\n").unwrap();
    assert!(run(&["import", text, "--to", &url]).stderr.contains("no export"));
    assert_eq!(varve.connect().get::<_, String>("k").unwrap(), "v");
}
