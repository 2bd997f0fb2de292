//! `CONFIG SET threads` under load: nobody is dropped, nothing is lost, and the new threads work.

use crate::support::{Varve, folder, possible};
use redis::{Connection, cmd};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use storage::testing::until;

/// Connections that keep the server busy.
const CLIENTS: usize = 6;

/// Requests that are sent at once.
const PIPELINE: u64 = 16;

/// Pipelines that each connection must get through after each change.
const ROUNDS: u64 = 50;

/// Each runtime, and the numbers of threads that it goes through.
const RUNTIMES: &[(&[&str], [usize; 4])] = &[
    (&["--runtime", "epoll", "--threads", "1"], [2, 1, 3, 1]),
    (&["--runtime", "epoll", "--threads", "1", "--epoll-execution", "pool"], [2, 1, 3, 1]),
    (&["--runtime", "tokio", "--threads", "1"], [2, 1, 3, 1]),
    (&["--runtime", "uring", "--threads", "1"], [2, 1, 3, 1]),
    // A thread for each client, and the last number is less than there are clients: it is reached when they leave.
    (&["--runtime", "threads", "--threads", "8"], [10, 8, 12, 7]),
];

/// Ends the load, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Counts up in a key of its own until it is over. Each answer tells whether all before it was done, and once.
fn count_up(client: &mut Connection, key: usize, over: &AtomicBool, rounds: &AtomicU64) {
    let mut pipeline = redis::pipe();
    for _ in 0..PIPELINE {
        pipeline.cmd("INCR").arg(key);
    }
    let mut last = 0;
    while !over.load(Ordering::SeqCst) {
        let answers: Vec<u64> = pipeline.query(client).expect("the connection stays");
        let expected: Vec<u64> = (last + 1..=last + PIPELINE).collect();
        assert_eq!(answers, expected, "connection {key}");
        last += PIPELINE;
        rounds.fetch_add(1, Ordering::SeqCst);
    }
}

/// A figure of a section of `INFO`.
fn figure(client: &mut Connection, section: &str, name: &str) -> usize {
    let info: String = cmd("INFO").arg(section).query(client).expect("a section");
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.and_then(|value| value.trim().parse().ok()).expect("a figure")
}

#[test]
fn threads_come_and_go_under_load_and_nobody_is_dropped() {
    for (runtime, steps) in RUNTIMES {
        if possible(&[*runtime]).next().is_none() {
            continue;
        }
        let (_folder, data) = folder();
        let varve = Varve::start(&data, &[*runtime, &["--appendonly", "no"]].concat());
        let mut admin = varve.connect();
        let received = figure(&mut admin, "stats", "total_connections_received");
        let (over, rounds) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; CLIENTS]);
        std::thread::scope(|scope| {
            let _over = Over(&over);
            for (key, rounds) in rounds.iter().enumerate() {
                let (mut client, over) = (varve.connect(), &over);
                scope.spawn(move || count_up(&mut client, key, over, rounds));
            }
            for threads in steps {
                let mut set = cmd("CONFIG");
                let () = set.arg("SET").arg("threads").arg(threads).query(&mut admin).unwrap();
                let before = rounds.each_ref().map(|rounds| rounds.load(Ordering::SeqCst));
                until("every connection goes on", || {
                    let all = rounds.iter().zip(before);
                    all.clone().all(|(now, then)| now.load(Ordering::SeqCst) >= then + ROUNDS)
                });
                until("that many serve", || {
                    figure(&mut admin, "server", "varve_threads") == *threads
                });
            }
        });
        let came = figure(&mut admin, "stats", "total_connections_received") - received;
        assert_eq!(came, CLIENTS, "{runtime:?}: nobody had to come again");
        assert_eq!(varve.stop().status.code(), Some(0), "{runtime:?}");
    }
}

/// How long a request occupies its thread in [`throughput_follows_the_threads`], whatever the cores are doing.
const OCCUPIED: Duration = Duration::from_millis(10);

/// Connections there: each thread has several to serve.
const WAITING: usize = 12;

/// Each runtime, with few threads and with many, and whether a thread gives up a client that stays.
const FEW_AND_MANY: &[(&[&str], [usize; 2], bool)] = &[
    (&["--runtime", "epoll", "--threads", "1"], [1, 4], true),
    (&["--runtime", "epoll", "--threads", "1", "--epoll-execution", "pool"], [1, 4], true),
    (&["--runtime", "tokio", "--threads", "1"], [1, 4], true),
    (&["--runtime", "uring", "--threads", "1"], [1, 4], true),
    // Clients beyond the number of threads are served once there are more.
    (&["--runtime", "threads", "--threads", "4"], [4, 16], false),
];

/// Requests per second, seen over a fifth of a second.
fn rate(answered: &AtomicU64) -> f64 {
    let (began, before) = (Instant::now(), answered.load(Ordering::SeqCst));
    let until_then = began + Duration::from_millis(200);
    until("a fifth of a second is over", || Instant::now() >= until_then);
    (answered.load(Ordering::SeqCst) - before) as f64 / began.elapsed().as_secs_f64()
}

/// Occupies its thread again and again until it is over.
fn occupy(varve: &Varve, over: &AtomicBool, answered: &AtomicU64) {
    let mut client = varve.connect();
    while !over.load(Ordering::SeqCst) {
        let mut sleep = cmd("DEBUG");
        let sleep = sleep.arg("SLEEP").arg(OCCUPIED.as_secs_f64());
        sleep.exec(&mut client).expect("the connection stays");
        answered.fetch_add(1, Ordering::SeqCst);
    }
}

/// A thread sleeps with each request, so that a number of threads has a throughput that it cannot exceed, and that
/// needs no core.
#[test]
fn throughput_follows_the_threads() {
    for (runtime, [few, many], gives_up) in FEW_AND_MANY {
        if possible(&[*runtime]).next().is_none() {
            continue;
        }
        let (_folder, data) = folder();
        let more = ["--appendonly", "no", "--enable-debug-command", "yes"];
        let varve = Varve::start(&data, &[*runtime, &more].concat());
        let (over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
        let most = *few as f64 / OCCUPIED.as_secs_f64();
        let mut admin = varve.connect();
        std::thread::scope(|scope| {
            let _over = Over(&over);
            for _ in 0..WAITING {
                scope.spawn(|| occupy(&varve, &over, &answered));
            }
            let mut set = |threads: usize| {
                let mut set = cmd("CONFIG");
                set.arg("SET").arg("threads").arg(threads).exec(&mut admin).unwrap();
            };
            until("few threads are at work", || rate(&answered) > most / 2.0);
            set(*many);
            until("many do more than few can", || rate(&answered) > most * 1.5);
            set(*few);
            if *gives_up {
                until("few do no more than they can", || rate(&answered) < most * 1.2);
            }
        });
    }
}

/// Messages of one pipeline of a publisher that never pauses.
const MESSAGES: usize = 200;

/// Publishes without a pause until it is over.
fn publish(varve: &Varve, over: &AtomicBool) {
    let mut client = varve.connect();
    let mut pipeline = redis::pipe();
    for _ in 0..MESSAGES {
        pipeline.cmd("PUBLISH").arg("news").arg("text").ignore();
    }
    while !over.load(Ordering::SeqCst) {
        pipeline.exec(&mut client).expect("the connection stays");
    }
}

/// Sends a `PING` on a subscribed connection and reads until its answer, which comes between messages.
fn ping(client: &mut BufReader<TcpStream>) {
    client.get_mut().write_all(b"PING\r\n").expect("it is sent");
    let mut line = String::new();
    while line != "pong\r\n" {
        line.clear();
        assert_ne!(client.read_line(&mut line).expect("a line in time"), 0, "the connection stays");
    }
}

/// A connection that is always being written to hears its client all the same, before and after it has moved.
#[test]
fn a_subscriber_is_heard_while_threads_come_and_go() {
    for (runtime, steps) in RUNTIMES {
        if possible(&[*runtime]).next().is_none() {
            continue;
        }
        let (_folder, data) = folder();
        let varve = Varve::start(&data, &[*runtime, &["--appendonly", "no"]].concat());
        let mut admin = varve.connect();
        let over = AtomicBool::new(false);
        let subscriber = || {
            let mut stream = TcpStream::connect(varve.address()).expect("it accepts connections");
            stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
            stream.write_all(b"SUBSCRIBE news\r\n").expect("it is sent");
            BufReader::new(stream)
        };
        let mut subscribers = [subscriber(), subscriber(), subscriber()];
        std::thread::scope(|scope| {
            let _over = Over(&over);
            scope.spawn(|| publish(&varve, &over));
            for threads in steps {
                let mut set = cmd("CONFIG");
                let () = set.arg("SET").arg("threads").arg(threads).query(&mut admin).unwrap();
                let began = Instant::now();
                subscribers.iter_mut().for_each(ping);
                assert!(began.elapsed() < Duration::from_secs(5), "{runtime:?}: heard late");
            }
        });
    }
}
