//! Unusual behaviour of peers: leaving while they wait, writing before they read, not reading at
//! all, sending HTTP. On every runtime.

use crate::serving::RUNTIMES;
use crate::support::{Varve, folder, possible};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use storage::testing::until;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection that speaks inline requests and is read by the line.
struct Raw(TcpStream);

impl Raw {
    fn new(server: &Varve) -> Raw {
        let stream = TcpStream::connect(server.address()).expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a valid timeout");
        Raw(stream)
    }

    /// One whose buffers hold `bytes`, so that little is on its way to or from the server.
    fn narrow(server: &Varve, bytes: libc::c_int) -> Raw {
        let raw = Raw::new(server);
        raw.set(libc::SO_RCVBUF, &bytes);
        raw.set(libc::SO_SNDBUF, &bytes);
        raw
    }

    fn set<T>(&self, option: libc::c_int, value: &T) {
        let (fd, level) = (self.0.as_raw_fd(), libc::SOL_SOCKET);
        let size = size_of::<T>() as libc::socklen_t;
        // SAFETY: the pointer and the size are those of a live value, which is only read.
        let result =
            unsafe { libc::setsockopt(fd, level, option, (&raw const *value).cast(), size) };
        assert_eq!(result, 0);
    }

    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).expect("it is taken");
    }

    /// Reads exactly what is expected.
    #[track_caller]
    fn expect(&mut self, expected: &str) {
        let mut got = vec![0; expected.len()];
        self.0.read_exact(&mut got).expect("an answer");
        assert_eq!(String::from_utf8_lossy(&got), expected);
    }

    #[track_caller]
    fn ask(&mut self, request: &str, expected: &str) {
        self.send(&format!("{request}\r\n"));
        self.expect(expected);
    }

    /// Reads and counts what comes until the end, which may be a reset.
    fn rest(&mut self) -> usize {
        let (mut count, mut buffer) = (0, vec![0; 1 << 16]);
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return count,
                Ok(n) => count += n,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return count,
                Err(error) => panic!("no end: {error}"),
            }
        }
    }

    /// Leaves with a reset.
    fn reset(self) {
        self.set(libc::SO_LINGER, &libc::linger { l_onoff: 1, l_linger: 0 });
    }
}

/// The figure `name` of `INFO`.
fn figure(client: &mut redis::Connection, name: &str) -> u64 {
    let text: String = redis::cmd("INFO").query(client).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.and_then(|figure| figure.parse().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
}

fn resident_mb(server: &Varve) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{}/statm", server.pid())).unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages / 256
}

/// On every runtime, with one thread, and with options.
fn on_every_runtime(options: &[&str], test: impl Fn(Varve)) {
    for runtime in possible(RUNTIMES) {
        let (_folder, data) = folder();
        // The threads runtime serves as many clients as it has threads.
        let threads = if runtime.contains(&"threads") { "40" } else { "1" };
        let all = [*runtime, &["--threads", threads], options].concat();
        println!("{all:?}");
        test(Varve::start(&data, &all));
    }
}

/// A client that waits with `wait` for what `serve` would give it sends `behind`, and leaves. It gets nothing.
fn gets_nothing(server: &Varve, (wait, serve): (&str, &str), behind: &str, leave: fn(Raw)) {
    let mut other = server.connect();
    let mut ask = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        redis::cmd(words[0]).arg(&words[1..]).query::<redis::Value>(&mut other).unwrap()
    };
    let _ = ask("DEL k other");
    let reads_group = wait.starts_with("XREADGROUP");
    if reads_group {
        let _ = ask("XGROUP CREATE k g 0 MKSTREAM");
    }
    let mut raw = Raw::new(server);
    raw.send(&format!("{wait}\r\n"));
    let others = || figure(&mut server.connect(), "blocked_clients");
    until("it waits", || others() == 1);
    raw.send(behind);
    leave(raw);
    until("it is noticed", || others() == 0);
    let _ = ask(serve);
    let left = ask(if reads_group { "XPENDING k g" } else { "EXISTS other" });
    let nothing = match &left {
        redis::Value::Array(parts) => parts[0] == redis::Value::Int(0),
        left => *left == redis::Value::Int(0),
    };
    assert!(nothing, "{wait}: {left:?}");
    assert_eq!(ask("EXISTS k"), redis::Value::Int(1), "{wait}");
}

/// However a waiting client leaves, and whatever it sent before, nothing is given to it any more.
#[test]
fn who_leaves_while_waiting_gets_nothing() {
    const WAITS: [(&str, &str); 4] = [
        ("BLPOP k 0", "RPUSH k job"),
        ("BLMOVE k other LEFT LEFT 0", "RPUSH k job"),
        ("BZPOPMIN k 0", "ZADD k 1 job"),
        ("XREADGROUP GROUP g c BLOCK 0 STREAMS k >", "XADD k 1-1 f v"),
    ];
    const LEAVE: [fn(Raw); 3] = [drop, Raw::reset, |mut raw| {
        raw.0.shutdown(Shutdown::Write).unwrap();
        assert_eq!(raw.rest(), 0);
    }];
    on_every_runtime(&["--appendonly", "no"], |server| {
        for behind in ["PING\r\n", "QUIT\r\n", &"PING\r\n".repeat(500_000)] {
            for leave in LEAVE {
                for wait in WAITS {
                    gets_nothing(&server, wait, behind, leave);
                }
            }
        }
    });
}

/// A paused client that leaves is gone, and what it wanted is not done when the pause ends. What is not
/// behind a wait is done and answered, also for one that has ended its side.
#[test]
fn who_leaves_while_paused_is_gone_and_who_half_closes_is_answered() {
    on_every_runtime(&["--appendonly", "yes", "--appendfsync", "always"], |server| {
        let mut admin = Raw::new(&server);
        admin.ask("CLIENT PAUSE 100000 WRITE", "+OK\r\n");
        let mut paused = Raw::new(&server);
        paused.send("SET paused 1\r\n");
        std::thread::sleep(Duration::from_millis(20));
        paused.send(&"PING\r\n".repeat(1000));
        drop(paused);
        until("it is gone", || {
            admin.send("CLIENT LIST\r\n");
            let mut text = vec![0; 1 << 16];
            let n = admin.0.read(&mut text).unwrap();
            String::from_utf8_lossy(&text[..n]).matches(" addr=").count() == 1
        });
        admin.ask("CLIENT UNPAUSE", "+OK\r\n");
        admin.ask("EXISTS paused", ":0\r\n");

        let mut half = Raw::new(&server);
        half.send(&"SET a 1\r\nGET a\r\n".repeat(20_000));
        half.send("SET last 1\r\nBLPOP nothing 0\r\nSET never 1\r\n");
        half.0.shutdown(Shutdown::Write).unwrap();
        assert_eq!(half.rest(), 20_000 * "+OK\r\n$1\r\n1\r\n".len() + "+OK\r\n".len());
        admin.ask("EXISTS last", ":1\r\n");
        admin.ask("EXISTS never", ":0\r\n");
        assert_eq!(figure(&mut server.connect(), "blocked_clients"), 0);
    });
}

/// A client may write all of its pipeline before it reads anything; it is executed meanwhile, and others
/// are served. Beyond the ceiling execution waits for the reader, and reading does not.
#[test]
fn who_writes_before_reading_is_answered() {
    const REQUESTS: usize = 100_000;
    let value = "x".repeat(1000);
    let options = ["--appendonly", "no", "--client-output-ceiling", "32mb"];
    on_every_runtime(&options, |server| {
        let mut other = Raw::new(&server);
        other.ask(&format!("SET key {value}"), "+OK\r\n");
        let before = resident_mb(&server);
        let mut raw = Raw::narrow(&server, 64 << 10);
        raw.send(&"GET key\r\n".repeat(REQUESTS));
        raw.send("INCR done\r\n");
        other.ask("PING", "+PONG\r\n");
        other.ask("EXISTS done", ":0\r\n");
        let grown = resident_mb(&server).saturating_sub(before);
        assert!(grown < 32 + 16, "{grown} MB for a ceiling of 32");
        raw.send("QUIT\r\n");
        let answers = REQUESTS * (value.len() + "$1000\r\n\r\n".len());
        assert_eq!(raw.rest(), answers + ":1\r\n+OK\r\n".len());

        // What fits below the ceiling is done whether or not anybody reads.
        let mut raw = Raw::narrow(&server, 64 << 10);
        raw.send(&"GET key\r\n".repeat(20_000));
        raw.send(&"INCR done\r\n".repeat(1000));
        until("all is done", || {
            other.send("GET done\r\n");
            let mut text = [0; 64];
            let n = other.0.read(&mut text).unwrap();
            text[..n].ends_with(b"1001\r\n")
        });
    });
}

/// With a limit, a pipeline is executed until what it left unread reaches that; then the client is
/// closed, in the middle of it. Large values count with their length, although they are not copied.
#[test]
fn who_does_not_read_is_closed_at_its_limit() {
    let options = ["--appendonly", "no", "--client-output-buffer-limit", "normal", "8mb", "0", "0"];
    on_every_runtime(&options, |server| {
        let mut client = server.connect();
        for (value, requests) in [("x".repeat(10_000), 100_000), ("x".repeat(1 << 20), 5000)] {
            let () = redis::cmd("SET").arg("key").arg(&value).query(&mut client).unwrap();
            let closed = figure(&mut client, "client_output_buffer_limit_disconnections");
            let before = resident_mb(&server);
            let mut raw = Raw::narrow(&server, 64 << 10);
            let (sent, end) = (raw.0.try_clone().unwrap(), "INCR never\r\n");
            // It may be closed before all of it is sent.
            let _ = { sent }.write_all((("GET key\r\n").repeat(requests) + end).as_bytes());
            until("it is closed", || {
                figure(&mut client, "client_output_buffer_limit_disconnections") == closed + 1
            });
            let grown = resident_mb(&server).saturating_sub(before);
            assert!(grown < 8 + 24, "{grown} MB for a limit of 8");
            assert!(raw.rest() < requests * value.len());
        }
        let count: i64 = redis::cmd("EXISTS").arg("never").query(&mut client).unwrap();
        assert_eq!(count, 0);
        let ended = server.stop();
        assert!(ended.stdout.contains("more unread than its output limit"), "{}", ended.stdout);
    });
}

/// A client that is over the soft limit for longer than it says is closed though nothing happens.
#[test]
fn who_stays_over_the_soft_limit_is_closed() {
    let options = ["--appendonly", "no", "--client-output-buffer-limit", "normal", "0", "1mb", "1"];
    on_every_runtime(&options, |server| {
        let mut client = server.connect();
        let () = redis::cmd("SET").arg("key").arg("x".repeat(1 << 20)).query(&mut client).unwrap();
        let mut raw = Raw::narrow(&server, 64 << 10);
        raw.send(&"GET key\r\n".repeat(20));
        // In time, and then not in time.
        std::thread::sleep(Duration::from_millis(300));
        let mut first = vec![0; 20 * ((1 << 20) + 12)];
        raw.0.read_exact(&mut first).unwrap();
        std::thread::sleep(Duration::from_millis(1200));
        raw.ask("PING", "+PONG\r\n");
        raw.send(&"GET key\r\n".repeat(20));
        let began = Instant::now();
        until("it is closed", || {
            figure(&mut client, "client_output_buffer_limit_disconnections") == 1
        });
        assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
        assert!(raw.rest() < 20 << 20);
    });
}

/// `maxmemory-clients`: who holds most goes first, whatever it holds, and who may not be evicted stays.
#[test]
fn who_holds_most_is_evicted() {
    let options = ["--appendonly", "no", "--maxmemory-clients", "10mb"];
    on_every_runtime(&options, |server| {
        let mut client = server.connect();
        let () = redis::cmd("SET").arg("key").arg("x".repeat(10_000)).query(&mut client).unwrap();
        let hogs: [(&str, &str); 3] = [
            ("GET key\r\n", ""),
            ("PING\r\n", "BLPOP nothing 0\r\n"),
            ("SET a 0123456789012345678901234567890123456789\r\n", "MULTI\r\n"),
        ];
        let mut small = Raw::new(&server);
        small.ask("PING", "+PONG\r\n");
        for (number, (request, first)) in hogs.into_iter().enumerate() {
            let mut raw = Raw::narrow(&server, 64 << 10);
            raw.send(first);
            // It may be closed before all of it is sent.
            let all = request.repeat((20 << 20) / request.len());
            let _ = raw.0.write_all(all.as_bytes());
            let evicted = 1 + number as u64;
            until("it is evicted", || figure(&mut client, "evicted_clients") == evicted);
            raw.rest();
        }
        let mut spared = Raw::new(&server);
        spared.ask("CLIENT NO-EVICT on", "+OK\r\n");
        spared.send(&"GET key\r\n".repeat(3000));
        spared.send("QUIT\r\n");
        // All who may be evicted do not make up for it.
        assert_eq!(small.rest(), 0);
        let answer = 10_000 + "$10000\r\n\r\n".len();
        assert_eq!(spared.rest(), 3000 * answer + "+OK\r\n".len());
    });
}

/// At the ceiling requests wait and go on being read, up to the limit of input; then the client is closed. So
/// the two together bound what it makes the server hold.
#[test]
fn what_waits_behind_a_full_output_is_bounded() {
    let options = [
        "--appendonly",
        "no",
        "--client-output-ceiling",
        "4mb",
        "--client-query-buffer-limit",
        "8mb",
    ];
    on_every_runtime(&options, |server| {
        let mut client = server.connect();
        let () = redis::cmd("SET").arg("key").arg("x".repeat(10_000)).query(&mut client).unwrap();
        let before = resident_mb(&server);
        let mut raw = Raw::narrow(&server, 64 << 10);
        let requests = "GET key\r\n".repeat(1 << 16);
        // Until it is closed, which a write finds.
        let sent = (0..200).take_while(|_| raw.0.write_all(requests.as_bytes()).is_ok()).count();
        assert!(sent < 200, "a hundred megabytes were taken");
        assert_eq!(figure(&mut client, "client_query_buffer_limit_disconnections"), 1);
        assert_eq!(figure(&mut client, "client_output_buffer_limit_disconnections"), 0);
        let grown = resident_mb(&server).saturating_sub(before);
        assert!(grown < 4 + 8 + 24, "{grown} MB for limits of 4 and 8");
        raw.rest();
    });
}

/// While a reply waits for a slow disk nothing more is read: what a client can send meanwhile is what the
/// kernel keeps for it. All of it is answered when the disk has come round.
#[test]
fn what_is_sent_while_replies_wait_for_the_disk_is_bounded() {
    const CHUNK: usize = 64 << 10;
    let options =
        ["--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "yes"];
    on_every_runtime(&options, |server| {
        let mut other = Raw::new(&server);
        let mut raw = Raw::narrow(&server, CHUNK as libc::c_int);
        raw.ask("PING", "+PONG\r\n");
        other.ask("DEBUG AOF-FLUSH-SLEEP 3000000", "+OK\r\n");
        let before = resident_mb(&server);
        raw.send("SET key value\r\n");
        raw.0.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let pings = "PING\r\n".repeat(CHUNK);
        let mut sent = 0;
        loop {
            match raw.0.write(&pings.as_bytes()[sent % 6..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
            assert!(sent < 64 << 20, "so much was taken");
        }
        let grown = resident_mb(&server).saturating_sub(before);
        assert!(grown < 8, "{grown} MB");
        other.ask("DEBUG AOF-FLUSH-SLEEP 0", "+OK\r\n");
        raw.0.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut writer = raw.0.try_clone().unwrap();
        let end = "PING\r\n"[sent % 6..].to_owned() + "QUIT\r\n";
        let writing = std::thread::spawn(move || writer.write_all(end.as_bytes()));
        let answers = (sent / 6 + 1) * "+PONG\r\n".len();
        assert_eq!(raw.rest(), "+OK\r\n".len() + answers + "+OK\r\n".len());
        writing.join().unwrap().unwrap();
    });
}

/// Messages from others cannot wait: a client that does not read them is closed at the limit of its
/// class, or at the ceiling if there is no limit.
#[test]
fn who_does_not_read_messages_is_closed() {
    for limit in ["2mb", "0"] {
        let options = ["--client-output-buffer-limit", "pubsub", limit, "0", "0"];
        let ceiling = ["--appendonly", "no", "--client-output-ceiling", "2mb"];
        on_every_runtime(&[&ceiling[..], &options].concat(), |server| {
            let mut client = server.connect();
            let mut raw = Raw::narrow(&server, 64 << 10);
            raw.ask("SUBSCRIBE news", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
            let before = resident_mb(&server);
            let message = "x".repeat(10_000);
            let mut publish = || -> i64 {
                redis::cmd("PUBLISH").arg("news").arg(&message).query(&mut client).unwrap()
            };
            let told = (0..20_000).take_while(|_| publish() == 1).count();
            // As much as the limit and what the kernel keeps, less what it got rid of.
            assert!((200..2000).contains(&told), "{told} messages of 10 kB");
            let grown = resident_mb(&server).saturating_sub(before);
            assert!(grown < 2 + 16, "{grown} MB for a limit of 2");
            assert_eq!(figure(&mut client, "client_output_buffer_limit_disconnections"), 1);
            raw.rest();
        });
    }
}

#[test]
fn a_new_time_limit_holds_for_who_is_idle_already() {
    on_every_runtime(&[], |server| {
        let mut idle = Raw::new(&server);
        idle.ask("PING", "+PONG\r\n");
        Raw::new(&server).ask("CONFIG SET timeout 1", "+OK\r\n");
        assert_eq!(idle.rest(), 0, "it is closed");
        let mut operator = Raw::new(&server);
        operator.ask("CONFIG SET timeout 0 unauthenticated-timeout 0 requirepass x", "+OK\r\n");
        let mut stranger = Raw::new(&server);
        stranger.ask("GET k", "-NOAUTH Authentication required.\r\n");
        operator.ask("CONFIG SET unauthenticated-timeout 1", "+OK\r\n");
        assert_eq!(stranger.rest(), 0, "it is closed");
        operator.ask("PING", "+PONG\r\n");
    });
}

/// An HTTP request that a browser was made to send ends the connection: neither it nor anything
/// behind it is executed.
#[test]
fn http_is_no_request() {
    let http = "POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET never 1\r\n";
    let host = "hOsT: localhost\r\nSET never 1\r\n";
    let array = "*1\r\n$4\r\npost\r\nSET never 1\r\n";
    on_every_runtime(&["--appendonly", "no"], |server| {
        let mut other = Raw::new(&server);
        for bad in [http, host, array] {
            for before in ["", "MULTI\r\nSET never 1\r\n", "SET before 1\r\n"] {
                let mut raw = Raw::new(&server);
                raw.send(&format!("{before}{bad}"));
                raw.rest();
            }
            let mut waiting = Raw::new(&server);
            waiting.send(&format!("BLPOP list 0\r\n{bad}"));
            let blocked = || figure(&mut server.connect(), "blocked_clients");
            until("it waits", || blocked() == 1);
            other.ask("RPUSH list x", ":1\r\n");
            waiting.rest();
        }
        other.ask("GET before", "$1\r\n1\r\n");
        other.ask("CONFIG SET requirepass secret", "+OK\r\n");
        let mut stranger = Raw::new(&server);
        stranger.send(http);
        assert_eq!(stranger.rest(), 0);
        other.ask("EXISTS never", ":0\r\n");
        let log = server.stop().stdout;
        assert_eq!(log.matches("SECURITY ATTACK").count(), 1, "{log}");
        assert!(log.contains("127.0.0.1:"), "{log}");
    });
}
