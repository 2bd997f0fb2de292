//! The load generator against an in-process echo server that counts, and stalls on demand.

use super::keys::{Distribution, Keys};
use super::request::Generator;
use super::*;
use crate::echo::{self, Options, Stall};
use capture::lab::cpu;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

struct Echo {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl Echo {
    fn start(stall: Option<Stall>) -> Echo {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let options = Options { value_size: 64, stall };
        let flag = stop.clone();
        let thread = std::thread::spawn(move || echo::serve(listener, &options, &flag));
        Echo { addr, stop, thread }
    }

    fn counted(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().unwrap()
    }
}

fn gets() -> Generator {
    let keys = Keys::new(Distribution::Uniform, 1000, 1);
    Generator::weighted(&[("GET {key}".into(), 1.0)], &[64], 1, keys).unwrap()
}

fn config(addr: SocketAddr, stop: Stop) -> RunConfig {
    let (pacing, warmup) = (Pacing::Closed, Duration::ZERO);
    RunConfig {
        server: addr.into(),
        connections: 3,
        pipeline: 16,
        pacing,
        warmup,
        stop,
        cores: Vec::new(),
        run: 0,
    }
}

/// Share of the replies that took at least so many milliseconds.
fn slower_than(report: &Report, ms: u64) -> f64 {
    let slow = report.latencies.iter_recorded();
    let slow = slow.filter(|v| v.value_iterated_to() >= ms * 1000);
    slow.map(|v| v.count_since_last_iteration()).sum::<u64>() as f64 / report.latencies.len() as f64
}

#[test]
fn both_sides_count_the_same() {
    let echo = Echo::start(None);
    let mut edges = Vec::new();
    let config = config(echo.addr, Stop::Requests(10_007));
    let report = run(&config, &gets(), &mut |edge| edges.push(edge)).unwrap();
    assert_eq!(report.tally.replies, 10_007);
    assert_eq!(report.latencies.len(), 10_007);
    assert_eq!(report.sent, 10_007);
    assert_eq!((report.tally.errors, report.tally.nulls), (0, 0));
    assert_eq!(edges, [Edge::Start, Edge::End]);
    assert_eq!(echo.counted(), 10_007);
}

#[test]
fn threads_share_the_work_and_lose_nothing() {
    let echo = Echo::start(None);
    let cores = cpu::allowed();
    let cores = [cores[0], cores[cores.len() - 1]].to_vec();
    let config = RunConfig { cores, ..config(echo.addr, Stop::Requests(5_001)) };
    let report = run(&config, &gets(), &mut |_| {}).unwrap();
    assert_eq!((report.tally.replies, report.sent), (5_001, 5_001));
    assert_eq!(echo.counted(), 5_001);
}

#[test]
fn what_is_outside_the_window_is_sent_but_not_counted() {
    let echo = Echo::start(None);
    let stop = Stop::After(Duration::from_millis(100));
    let config = RunConfig { warmup: Duration::from_millis(100), ..config(echo.addr, stop) };
    let report = run(&config, &gets(), &mut |_| {}).unwrap();
    assert!(report.tally.replies > 0 && report.tally.replies < report.sent);
    assert_eq!(report.latencies.len(), report.tally.replies);
    assert_eq!(echo.counted(), report.sent);
}

#[test]
fn the_histogram_shows_an_injected_delay() {
    let echo = Echo::start(Some(Stall { every: 100, time: Duration::from_millis(20) }));
    let (connections, pipeline) = (1, 1);
    let config = RunConfig { connections, pipeline, ..config(echo.addr, Stop::Requests(2_000)) };
    let report = run(&config, &gets(), &mut |_| {}).unwrap();
    let slow = slower_than(&report, 20);
    assert!((0.0099..0.02).contains(&slow), "{slow}");
    assert!(report.latencies.max() >= 20_000);
    assert!(report.latency_us(98.0) < 20_000.0);
}

#[test]
fn an_open_loop_charges_a_stall_to_all_requests_it_delayed() {
    // 1000 requests a second, every hundredth stalls the server for 20 ms: twenty requests are
    // due meanwhile, of which fifteen wait 5 ms or longer. A closed loop would see one.
    let echo = Echo::start(Some(Stall { every: 100, time: Duration::from_millis(20) }));
    let pacing = Pacing::Open { per_second: 1000.0 };
    let (connections, pipeline) = (1, 1);
    let stop = Stop::After(Duration::from_millis(1500));
    let config = RunConfig { connections, pipeline, pacing, ..config(echo.addr, stop) };
    let report = run(&config, &gets(), &mut |_| {}).unwrap();
    let slow = slower_than(&report, 5);
    // No upper bounds on what a busy machine adds of its own.
    assert!(slow >= 0.08, "{slow}");
    let due = report.elapsed.as_secs_f64() * 1000.0 + 1.0;
    assert!(report.tally.replies > 100 && report.tally.replies as f64 <= due);
}

#[test]
fn error_replies_are_errors() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).unwrap_or(0) > 0 {
            stream.write_all(b"-ERR unknown command\r\n").unwrap();
        }
    });
    let config = RunConfig { connections: 1, pipeline: 1, ..config(addr, Stop::Requests(5)) };
    let report = run(&config, &gets(), &mut |_| {}).unwrap();
    server.join().unwrap();
    assert_eq!((report.tally.replies, report.tally.errors), (5, 5));
    assert_eq!(report.tally.first_error.as_deref(), Some("ERR unknown command"));
}

#[test]
fn a_server_that_hangs_up_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || drop(listener.accept()));
    let config = RunConfig { connections: 1, ..config(addr, Stop::Requests(5)) };
    assert!(run(&config, &gets(), &mut |_| {}).is_err());
    server.join().unwrap();
}

/// A server for one publisher and then one subscriber, which holds every message back for `delay`.
fn slow_broker(delay: Duration) -> (SocketAddr, JoinHandle<u64>) {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut publisher, _) = listener.accept().unwrap();
        let (mut subscriber, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        assert!(subscriber.read(&mut buffer).unwrap() > 0);
        subscriber.write_all(b"*3\r\n$9\r\nsubscribe\r\n$7\r\nbench:0\r\n:1\r\n").unwrap();
        let (mut pending, mut count) = (Vec::new(), 0);
        loop {
            let length = publisher.read(&mut buffer).unwrap_or(0);
            if length == 0 {
                return count;
            }
            pending.extend_from_slice(&buffer[..length]);
            while let Some(length) = resp::skip_reply(&pending) {
                let request = String::from_utf8(pending.drain(..length).collect()).unwrap();
                std::thread::sleep(delay);
                let message = request.replace("$7\r\nPUBLISH", "$7\r\nmessage");
                subscriber.write_all(message.as_bytes()).unwrap();
                publisher.write_all(b":1\r\n").unwrap();
                count += 1;
            }
        }
    });
    (addr, thread)
}

#[test]
fn a_message_takes_as_long_as_it_was_held_back() {
    let (addr, broker) = slow_broker(Duration::from_millis(10));
    let text = "pattern = \"fan-out\"\nsenders = 1\nreceivers = 1\n";
    let messages: messages::Messages = toml::from_str(text).unwrap();
    let config = RunConfig { pipeline: 1, ..config(addr, Stop::After(Duration::from_millis(300))) };
    let report = messages::run(&config, &messages, &mut |_| {}).unwrap();
    assert!((5..=30).contains(&report.tally.replies), "{}", report.tally.replies);
    assert_eq!(report.latencies.len(), report.tally.replies);
    assert!(report.latencies.min() >= 9_900, "{}", report.latencies.min());
    assert_eq!(report.sent, broker.join().unwrap());
}
