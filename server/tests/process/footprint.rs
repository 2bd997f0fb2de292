//! The resident memory of an idle connection, and of a key.

use crate::support::{Varve, possible};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Enough for a connection's share of whatever comes in pages to be small.
const CONNECTIONS: usize = 2000;

/// Bytes of the value each connection writes and reads once: more than fits into one read.
const VALUE_BYTES: usize = 70_000;

/// Longer than the allocator keeps pages nobody uses, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many connections this process may open: its own limit of files is raised for them.
fn connections() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a pointer to a live `rlimit`.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
    CONNECTIONS.min(limit.rlim_max.saturating_sub(256) as usize)
}

/// Resident memory that is not a file's: the program's own pages come in as they are first needed.
fn resident_bytes(varve: &Varve) -> usize {
    let path = format!("/proc/{}/status", varve.pid());
    let text = std::fs::read_to_string(path).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<usize>().ok()).expect("a size") * 1024
}

fn connect(varve: &Varve) -> TcpStream {
    let stream = TcpStream::connect(varve.address()).expect("it listens");
    stream.set_nodelay(true).expect("a TCP socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a valid timeout");
    stream
}

/// Sends `request` in two parts and reads as many bytes as the answer has.
fn ask(stream: &mut TcpStream, request: &[u8], answer_bytes: usize) {
    let (first, second) = request.split_at(request.len() / 2);
    stream.write_all(first).expect("it listens");
    stream.write_all(second).expect("it listens");
    let mut answer = vec![0; answer_bytes];
    stream.read_exact(&mut answer).expect("it answers");
}

/// Resident bytes per connection beyond `before`, once they are at most `bound`, or else in the end.
fn settled(varve: &Varve, before: usize, connections: usize, bound: usize) -> usize {
    let began = Instant::now();
    loop {
        let each = resident_bytes(varve).saturating_sub(before) / connections;
        if each <= bound || began.elapsed() > PATIENCE {
            return each;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn idle_connections_cost_at_most(bound: usize, args: &[&str]) {
    let dir = TempDir::new().expect("a directory");
    let varve = Varve::start(dir.path(), &[args, &["--threads", "1"]].concat());
    let mut one = connect(&varve);
    let value = "v".repeat(VALUE_BYTES);
    let (mut set, mut get, mut got) = (Vec::new(), Vec::new(), Vec::new());
    resp::encode_command([&value], &mut got);
    // A bulk string, without the array around it.
    let got_bytes = got.len() - "*1\r\n".len();
    resp::encode_command(["SET", "key", &value], &mut set);
    resp::encode_command(["GET", "key"], &mut get);
    // What the process needs once is there before the counting begins.
    ask(&mut one, &set, 5);
    ask(&mut one, &get, got_bytes);
    std::thread::sleep(Duration::from_secs(1));
    let (before, connections) = (resident_bytes(&varve), connections());
    let mut all: Vec<_> = (0..connections)
        .map(|_| {
            let mut stream = connect(&varve);
            ask(&mut stream, b"PING\r\n", 7);
            stream
        })
        .collect();
    let each = settled(&varve, before, connections, bound);
    assert!(each <= bound, "{each} bytes for a connection that sent PING");
    for stream in &mut all {
        ask(stream, &set, 5);
        ask(stream, &get, got_bytes);
    }
    let each = settled(&varve, before, connections, bound);
    assert!(each <= bound, "{each} bytes for a connection that has used buffers");
}

#[test]
fn an_idle_connection_costs_a_kibibyte_under_epoll() {
    idle_connections_cost_at_most(1024, &["--runtime", "epoll"]);
}

#[test]
fn an_idle_connection_costs_a_kibibyte_under_uring() {
    possible(&[&["--runtime", "uring"]]).for_each(|args| idle_connections_cost_at_most(1024, args));
}

#[test]
fn an_idle_connection_costs_two_kibibytes_under_tokio() {
    idle_connections_cost_at_most(2048, &["--runtime", "tokio"]);
}

#[test]
fn a_short_key_and_value_cost_what_their_entry_and_a_fifth_takes() {
    let dir = TempDir::new().expect("a directory");
    let varve = Varve::start(dir.path(), &["--runtime", "epoll", "--threads", "1"]);
    let mut stream = connect(&varve);
    let value = "v".repeat(64);
    let (keys, batch) = (200_000, 1000);
    let before = resident_bytes(&varve);
    for start in (0..keys).step_by(batch) {
        let mut request = Vec::new();
        for n in start..start + batch {
            resp::encode_command(
                ["SET", &format!("key:{n:012}"), &value, "EX", "9999"],
                &mut request,
            );
        }
        ask(&mut stream, &request, 5 * batch);
    }
    // The entry takes 96 bytes, its place in the table about 12; then there are stacks and buffers.
    let each = settled(&varve, before, keys, 122);
    assert!(each <= 122, "{each} bytes per key");
}
