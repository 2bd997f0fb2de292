//! Serving and stopping: every runtime, requests under way, signals.

use crate::support::{Varve, connect, folder, possible};
use redis::Commands;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use storage::testing::{until, until_some};

/// Every way to serve.
pub const RUNTIMES: &[&[&str]] = &[
    &["--runtime", "epoll"],
    &["--runtime", "epoll", "--epoll-execution", "pool"],
    &["--runtime", "tokio"],
    &["--runtime", "uring"],
    &["--runtime", "threads"],
];

#[test]
fn every_runtime_answers_and_stops() {
    for runtime in possible(RUNTIMES) {
        let (_folder, data) = folder();
        let server = Varve::start(&data, runtime);
        let mut client = server.connect();
        let () = client.set("key", "value").unwrap();
        let value: String = client.get("key").unwrap();
        assert_eq!(value, "value", "{runtime:?}");
        let ended = server.stop();
        assert_eq!(ended.status.code(), Some(0), "{runtime:?}: {}", ended.stderr);
        assert_eq!(ended.stderr, "", "{runtime:?}");
    }
}

/// Every stage that a write under `appendfsync always` goes through is timed, whoever serves it.
#[test]
fn every_runtime_tells_where_the_time_went() {
    for runtime in possible(RUNTIMES) {
        let (_folder, data) = folder();
        let options = ["--trace", "yes", "--appendonly", "yes", "--appendfsync", "always"];
        let server = Varve::start(&data, &[*runtime, &options[..]].concat());
        let mut client = server.connect();
        for number in 0..10 {
            let () = client.set("key", number).unwrap();
        }
        let text: String = redis::cmd("INFO").arg("trace").query(&mut client).unwrap();
        let turns = |stage: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("trace_{stage}:")));
            let count = line.and_then(|line| line.strip_prefix("turns=")?.split(',').next());
            count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{stage}: {text}"))
        };
        // With io_uring nothing is read: input is there when the kernel is asked for anything.
        let reads = if runtime.contains(&"uring") { 0..1 } else { 10..u64::MAX };
        assert!(reads.contains(&turns("read")), "{runtime:?}: {text}");
        for stage in ["parse", "execute", "journal", "fsync_wait", "write"] {
            assert!(turns(stage) >= 10, "{runtime:?} {stage}: {text}");
        }
        let queues = if runtime.contains(&"tokio") { 0..1 } else { 1..u64::MAX };
        assert!(queues.contains(&turns("queue")), "{runtime:?}: {text}");
        assert_eq!(turns("lock_wait"), 0, "{runtime:?}: one client waits for nobody");
    }
}

/// A client that connects while a long log is loaded is told so, can ask for the server's state,
/// and is served on the same connection once it is loaded.
#[test]
fn clients_are_told_while_data_are_loaded() {
    const KEYS: usize = 200_000;
    let (_folder, data) = folder();
    let options = ["--appendonly", "yes"];
    let server = Varve::start(&data, &options);
    let mut pipeline = redis::pipe();
    for key in 0..KEYS {
        pipeline.set(key, "value").ignore();
    }
    let () = pipeline.query(&mut server.connect()).unwrap();
    assert_eq!(server.stop().status.code(), Some(0));

    let server = Varve::launch(&data, &options);
    let mut stream = BufReader::new(patient_connect(&server));
    let mut ask = |request: &str| {
        stream.get_mut().write_all(format!("{request}\r\n").as_bytes()).unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        line
    };
    let told = "-LOADING Redis is loading the dataset in memory\r\n";
    assert_eq!(ask("GET 1"), told);
    assert_eq!(ask("SET 1 2"), told);
    assert_eq!(ask("SAVE"), told);
    assert_eq!(ask("CLIENT SETNAME early"), "+OK\r\n");
    until("it has loaded", || ask("PING") != told);
    assert_eq!(ask("DBSIZE"), format!(":{KEYS}\r\n"));
    assert_eq!(ask("SET 1 2"), "+OK\r\n");
    assert_eq!(server.stop().status.code(), Some(0));

    let server = Varve::start(&data, &options);
    let value: String = server.connect().get(1).unwrap();
    assert_eq!(value, "2", "what was written after loading is in the log");
}

/// A connection to a server that may not listen yet.
fn patient_connect(server: &Varve) -> TcpStream {
    until_some("somebody listens", || TcpStream::connect(server.address()).ok())
}

#[test]
fn the_banner_says_what_runs_and_how_to_change_it() {
    let (_folder, data) = folder();
    let server = Varve::start(&data, &["--runtime", "tokio", "--threads", "1", "--shards", "8"]);
    let port = server.port;
    let text = server.stop().stdout;
    for part in [
        &format!("127.0.0.1:{port}"),
        "tokio, 1 thread ",
        "memory, 8 shards",
        "logged, synced every second",
        "--runtime epoll|tokio",
        "--storage memory|sled|fjall",
        "--appendfsync always|everysec|no",
        data.to_str().unwrap(),
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

/// Requests before SIGTERM are answered completely or not at all, and everything answered is there
/// after the restart.
#[test]
fn requests_under_way_are_finished_and_kept() {
    const REQUESTS: usize = 20_000;
    for runtime in possible(RUNTIMES) {
        let (_folder, data) = folder();
        let server = Varve::start(&data, runtime);
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut reader = stream.try_clone().unwrap();
        let reading = std::thread::spawn(move || {
            let mut replies = Vec::new();
            reader.read_to_end(&mut replies).map(|_| replies)
        });
        let requests: String = (0..REQUESTS).map(|n| format!("SET key{n} {n}\r\n")).collect();
        let half = requests.len() / 2;
        stream.write_all(&requests.as_bytes()[..half]).unwrap();
        server.signal(libc::SIGTERM);
        // The server may close at any moment from now on.
        let _ = stream.write_all(&requests.as_bytes()[half..]);
        let replies = reading.join().unwrap().unwrap_or_default();
        let answered = replies.len() / 5;
        assert_eq!(replies, b"+OK\r\n".repeat(answered), "{runtime:?}: a torn reply");
        assert_eq!(server.ended().status.code(), Some(0));
        let server = Varve::start(&data, runtime);
        let mut client = server.connect();
        let last = answered.saturating_sub(1);
        let kept: Vec<Option<usize>> = client.mget(&[format!("key{last}"), "key0".into()]).unwrap();
        let expected = (answered > 0).then_some(last);
        assert_eq!(kept[0].filter(|_| answered > 0), expected, "{runtime:?}");
    }
}

/// A client whose answers wait, because it does not read them.
fn deaf(server: &Varve) -> TcpStream {
    let mut deaf = TcpStream::connect(server.address()).unwrap();
    let mut client = server.connect();
    let () = client.set("large", "x".repeat(1 << 20)).unwrap();
    deaf.write_all("GET large\r\n".repeat(64).as_bytes()).unwrap();
    until("its answers wait for it", || {
        let list: String = redis::cmd("CLIENT").arg("LIST").query(&mut client).unwrap();
        list.lines().any(|line| line.contains(" cmd=get ") && !line.contains(" omem=0 "))
    });
    deaf
}

#[test]
fn a_blocked_stop_is_forced_by_a_second_signal() {
    let (_folder, data) = folder();
    let server = Varve::start(&data, &["--runtime", "epoll"]);
    // It keeps the drain waiting for its grace period.
    let deaf = deaf(&server);
    server.signal(libc::SIGTERM);
    until("it listens no more", || TcpStream::connect(server.address()).is_err());
    server.signal(libc::SIGINT);
    let ended = server.ended();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stdout);
    assert!(ended.stdout.contains("a second signal"), "{}", ended.stdout);
    drop(deaf);
}

#[test]
fn a_client_has_as_long_to_read_its_last_replies_as_was_last_set() {
    for runtime in possible(RUNTIMES) {
        let (_folder, data) = folder();
        let server =
            Varve::start(&data, &[*runtime, &["--shutdown-drain-timeout", "3000"]].concat());
        let deaf = deaf(&server);
        let set = ["SET", "shutdown-drain-timeout", "1"];
        redis::cmd("CONFIG").arg(&set).exec(&mut server.connect()).unwrap();
        let begun = Instant::now();
        assert_eq!(server.stop().status.code(), Some(0), "{runtime:?}");
        let took = begun.elapsed();
        assert!((Duration::from_millis(900)..Duration::from_secs(30)).contains(&took), "{took:?}");
        drop(deaf);
    }
}

#[test]
fn unix_sockets_serve_and_are_removed() {
    let (folder, data) = folder();
    let path = folder.path().join("socket");
    let server = Varve::start(&data, &["--unixsocket", path.to_str().unwrap()]);
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    let mut reply = [0; 7];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"+PONG\r\n");
    assert_eq!(server.stop().status.code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn logs_can_be_json_in_a_file() {
    let (folder, data) = folder();
    let log = folder.path().join("log");
    let args = ["--logfile", log.to_str().unwrap(), "--log-format", "json"];
    let server = Varve::start(&data, &args);
    assert_eq!(server.stop().stdout, "");
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["message"] == "bye"), "{text}");
}

#[test]
fn many_clients_at_once() {
    let (_folder, data) = folder();
    let server = Varve::start(&data, &["--appendonly", "no"]);
    let address = server.address();
    let workers: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = connect(address);
                for _ in 0..250 {
                    let _: i64 = client.incr("count", 1).unwrap();
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let count: i64 = server.connect().get("count").unwrap();
    assert_eq!(count, 2000);
}

/// The value of a field of `INFO server`.
fn info(client: &mut redis::Connection, field: &str) -> String {
    let text: String = redis::cmd("INFO").arg("server").query(client).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.expect(field).trim().to_owned()
}

#[test]
fn a_supervisors_socket_is_served() {
    let ((_dir, data), listener) = (folder(), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    // The socket comes as standard input, which needs no system call here, and goes where systemd puts it.
    let script = r#"exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@""#;
    let program = env!("CARGO_BIN_EXE_varve");
    let mut child = Command::new("sh")
        .args(["-c", script, "sh", program, "--port", "0", "--dir", data.to_str().unwrap()])
        .stdin(std::os::fd::OwnedFd::from(listener))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // The socket has listened all along: who connects early waits in its queue.
    let pong: String = redis::cmd("PING").query(&mut connect(address)).unwrap();
    assert_eq!(pong, "PONG");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Counts at the server until it closes the connection, after a signal: the last count that it answered.
fn written_until_closed(varve: &Varve, signal: libc::c_int) -> i64 {
    let (mut writer, began) = (varve.connect(), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            began.wait();
            let incr = |_: &i64| redis::cmd("INCR").arg("n").query::<i64>(&mut writer).ok();
            std::iter::successors(Some(0), incr).last().unwrap_or(0)
        });
        began.wait();
        varve.signal(signal);
        writing.join().unwrap()
    })
}

#[test]
fn an_upgrade_keeps_data_and_refuses_nobody() {
    let (dir, data) = folder();
    let path = dir.path().join("socket");
    let args = ["--appendonly", "no", "--save", "", "--unixsocket", path.to_str().unwrap()];
    let varve = Varve::start(&data, &args);
    let mut client = varve.connect();
    let before = info(&mut client, "run_id");
    redis::cmd("SET").arg("k").arg("v").exec(&mut client).unwrap();
    let written = written_until_closed(&varve, libc::SIGUSR2);
    let mut attempts = 0;
    until("another run answers", || {
        let mut stream = TcpStream::connect(varve.address()).expect("nobody is refused");
        attempts += 1;
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // One that the first run still took may be closed without an answer.
        let _ = stream.write_all(b"PING\r\n");
        let mut answer = [0; 7];
        let _ = stream.read_exact(&mut answer);
        &answer == b"+PONG\r\n" && info(&mut varve.connect(), "run_id") != before
    });
    assert!(attempts > 0);
    let mut client = varve.connect();
    let value: String = redis::cmd("GET").arg("k").query(&mut client).unwrap();
    assert_eq!(value, "v");
    let counted: i64 = redis::cmd("GET").arg("n").query(&mut client).unwrap();
    assert!(counted >= written && written > 0, "{counted} of {written}");
    assert_eq!(info(&mut client, "process_id"), varve.pid().to_string());
    let local = redis::Client::open(format!("unix://{}", path.display())).unwrap();
    let pong: String = redis::cmd("PING").query(&mut local.get_connection().unwrap()).unwrap();
    assert_eq!(pong, "PONG");
    assert!(varve.stop().status.success());
    assert!(!path.exists(), "the last run removes the socket's file");
}

#[test]
fn an_upgrade_that_would_change_the_server_is_refused() {
    let (dir, data) = folder();
    let log = dir.path().join("log");
    let varve = Varve::start(&data, &["--logfile", log.to_str().unwrap()]);
    let mut client = varve.connect();
    let before = info(&mut client, "run_id");
    let mut refused = |change: &[&str], back: &[&str], why: &str| {
        redis::cmd(change[0]).arg(&change[1..]).exec(&mut client).unwrap();
        varve.signal(libc::SIGUSR2);
        until(why, || std::fs::read_to_string(&log).unwrap().contains(why));
        redis::cmd(back[0]).arg(&back[1..]).exec(&mut client).unwrap();
    };
    let set = |value| ["CONFIG", "SET", "appendonly", value];
    refused(&set("no"), &set("yes"), "a start would change appendonly");
    refused(&["ACL", "SETUSER", "ann", "on"], &["PING"], "the users of the ACL have changed");
    assert_eq!(info(&mut client, "run_id"), before, "it goes on");
    assert!(varve.stop().status.success());
}
