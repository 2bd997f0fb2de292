//! TLS: on every runtime, with and without certificates of clients, exchanged while it runs, for
//! replication, and against those who come too slowly.

#[path = "../../../tls/tests/authority/mod.rs"]
mod authority;

use crate::serving::RUNTIMES;
use crate::support::{Varve, folder, free_port, possible, run};
pub use authority::Authority;
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use storage::testing::until;
use tempfile::TempDir;
use tls::Settings;
use tls::stream::TlsStream;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// Files of a server and its clients, and an authority that both know.
struct Files(Settings);

impl Files {
    fn args(&self, port: u16) -> Vec<String> {
        let Settings { certificate, key, authorities, .. } = &self.0;
        let words = ["--tls-port", &port.to_string(), "--tls-cert-file", certificate];
        let more = ["--tls-key-file", key, "--tls-ca-cert-file", authorities];
        words.iter().chain(&more).map(|word| (*word).to_owned()).collect()
    }

    fn connect(&self, port: u16) -> std::io::Result<TlsStream> {
        connect(port, &self.0)
    }

    /// Connects from another address of this machine.
    fn connect_from(&self, address: [u8; 4], port: u16) -> std::io::Result<TlsStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((address, 0)).into())?;
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
        shake_hands(socket.into(), &self.0)
    }
}

fn connect(port: u16, settings: &Settings) -> std::io::Result<TlsStream> {
    shake_hands(TcpStream::connect(("127.0.0.1", port))?, settings)
}

fn shake_hands(socket: TcpStream, settings: &Settings) -> std::io::Result<TlsStream> {
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let config = settings.client().unwrap().into();
    TlsStream::connect(socket, "127.0.0.1", config, Duration::from_secs(10), &|| false)
}

/// Sends `request` and reads until the answer ends as `expected` does.
#[track_caller]
fn ask(stream: &TlsStream, request: &[u8], expected: &str) {
    (&mut &*stream).write_all(request).unwrap();
    let (mut answer, mut buffer, began) = (Vec::new(), [0; 16 << 10], Instant::now());
    while !answer.ends_with(expected.as_bytes()) {
        let n = match (&mut &*stream).read(&mut buffer) {
            // A record that carries nothing for us, such as a ticket, or half of one.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert!(began.elapsed() < PATIENCE, "no answer in time");
                continue;
            }
            read => read.expect("an answer"),
        };
        assert!(n > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..n]);
    }
}

fn serving(more: &[&str]) -> (TempDir, Varve, Files, u16) {
    let ((folder, data), port) = (folder(), free_port());
    let files = Files(Authority::new().certify(folder.path(), "server", |_| {}));
    let args = files.args(port);
    let args: Vec<&str> = args.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let varve = Varve::start(&data, &args);
    (folder, varve, files, port)
}

#[test]
fn every_runtime_serves_it() {
    for runtime in possible(RUNTIMES) {
        let (_folder, varve, files, port) = serving(runtime);
        let stream = files.connect(port).unwrap();
        ask(&stream, PING, "+PONG\r\n");
        let value = "x".repeat(3_000_000);
        let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n", value.len());
        ask(&stream, set.as_bytes(), "+OK\r\n");
        ask(&stream, b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", &format!("{value}\r\n"));
        ask(&stream, &PING.repeat(5000), &"+PONG\r\n".repeat(5000));
        let plain: String = redis::cmd("PING").query(&mut varve.connect()).unwrap();
        assert_eq!(plain, "PONG");
        let ended = varve.stop();
        assert!(ended.status.success(), "{runtime:?}: {}", ended.stderr);
    }
}

#[test]
fn clients_show_certificates_where_they_must() {
    let (folder, _varve, files, port) = serving(&[]);
    let stranger = Files(Authority::new().certify(folder.path(), "stranger", |_| {}));
    let wrong = Settings { authorities: files.0.authorities.clone(), ..stranger.0.clone() };
    let nobody = Settings { certificate: String::new(), ..files.0.clone() };
    for settings in [&wrong, &nobody] {
        // Under TLS 1.3 the client has finished before the server looks at its certificate.
        let refused = connect(port, settings).and_then(|stream| {
            (&mut &stream).write_all(PING)?;
            (&mut &stream).read(&mut [0; 100])
        });
        assert!(!matches!(refused, Ok(1..)), "{refused:?}");
    }
    ask(&files.connect(port).unwrap(), PING, "+PONG\r\n");
    // And the client believes only whom its authority knows.
    assert!(stranger.connect(port).is_err());
}

#[test]
fn certificates_are_exchanged_while_clients_are_connected() {
    let (folder, varve, files, port) = serving(&["--tls-auth-clients", "no"]);
    let before = files.connect(port).unwrap();
    let other = Files(Authority::new().certify(folder.path(), "other", |_| {}));
    let mut admin = varve.connect();
    let mut set = |certificate: &str, key: &str| {
        let mut command = redis::cmd("CONFIG");
        command.arg("SET").arg("tls-cert-file").arg(certificate);
        command.arg("tls-key-file").arg(key).exec(&mut admin)
    };
    set(&other.0.certificate, &other.0.key).unwrap();
    ask(&before, PING, "+PONG\r\n");
    assert!(files.connect(port).is_err(), "the old authority does not know the new certificate");
    ask(&other.connect(port).unwrap(), PING, "+PONG\r\n");
    // What does not fit changes nothing.
    let error = set(&files.0.certificate, &other.0.key).expect_err("refused").to_string();
    assert!(error.contains("Unable to update TLS configuration"), "{error}");
    ask(&other.connect(port).unwrap(), PING, "+PONG\r\n");
    // The same files with other contents, as tools that renew certificates leave them.
    std::fs::copy(&files.0.certificate, &other.0.certificate).unwrap();
    std::fs::copy(&files.0.key, &other.0.key).unwrap();
    varve.signal(libc::SIGHUP);
    let until = Instant::now() + Duration::from_secs(10);
    while files.connect(port).is_err() {
        assert!(Instant::now() < until, "SIGHUP was not heard");
    }
    // As Redis's users do it: the same names are set again.
    let third = Files(Authority::new().certify(folder.path(), "third", |_| {}));
    std::fs::copy(&third.0.certificate, &other.0.certificate).unwrap();
    std::fs::copy(&third.0.key, &other.0.key).unwrap();
    set(&other.0.certificate, &other.0.key).unwrap();
    ask(&third.connect(port).unwrap(), PING, "+PONG\r\n");
    ask(&before, PING, "+PONG\r\n");
}

#[test]
fn an_expired_certificate_is_not_believed() {
    let (folder, data) = folder();
    let (port, authority) = (free_port(), Authority::new());
    let expired = Files(authority.certify(folder.path(), "expired", |params| {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    }));
    let args = expired.args(port);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let _varve = Varve::start(&data, &args);
    let error = expired.connect(port).err().expect("not believed");
    assert!(error.to_string().contains("expired"), "{error}");
}

#[test]
fn who_does_not_shake_hands_is_closed() {
    let (_folder, varve, _files, port) = serving(&[]);
    let mut silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut nonsense = TcpStream::connect(("127.0.0.1", port)).unwrap();
    nonsense.write_all(PING).unwrap();
    let mut answer = Vec::new();
    nonsense.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.first(), Some(&21), "an alert of TLS, {answer:?}");
    silent.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let start = Instant::now();
    assert_eq!(silent.read(&mut [0; 10]).unwrap(), 0);
    assert!(start.elapsed() > Duration::from_secs(5), "{:?}", start.elapsed());
    let clients: String = redis::cmd("CLIENT").arg("LIST").query(&mut varve.connect()).unwrap();
    assert_eq!(clients.lines().count(), 1, "{clients}");
}

/// A flood of handshakes takes no more than its share: who comes beyond the bound is closed at once, plain clients are
/// served, and so is who comes when it is over.
#[test]
fn a_flood_of_handshakes_is_bounded_and_plain_clients_are_served() {
    const MAX: usize = 16;
    const ALL_TO_ONE: [&str; 4] = ["--tls-handshakes-max", "16", "--tls-handshakes-share", "100"];
    for runtime in
        [&["--runtime", "epoll", "--threads", "1"], &["--runtime", "tokio", "--threads", "1"]]
    {
        let (_folder, varve, files, port) = serving(&[&runtime[..], &ALL_TO_ONE].concat());
        let mut plain = varve.connect();
        // They say nothing, so each takes its place for ten seconds.
        let mut silent: Vec<_> =
            (0..4 * MAX).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
        let is_closed = |stream: &mut TcpStream| {
            stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            !matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
        };
        until("all beyond the bound are closed", || {
            silent.retain_mut(|stream| !is_closed(stream));
            silent.len() <= MAX
        });
        assert_eq!(silent.len(), MAX, "{runtime:?}: only those");
        assert!(files.connect(port).is_err(), "{runtime:?}: there is no place");
        let pong: String = redis::cmd("PING").query(&mut plain).unwrap();
        assert_eq!(pong, "PONG");
        drop(silent);
        until("there is place again", || files.connect(port).is_ok());
        flood(&files, port, &mut plain);
        ask(&files.connect(port).unwrap(), PING, "+PONG\r\n");
    }
}

/// One address has its share of the handshakes under way, and others get in meanwhile. The refused ones are counted.
#[test]
fn one_address_does_not_keep_others_out() {
    let (_folder, varve, files, port) = serving(&["--tls-handshakes-max", "16"]);
    let mut admin = varve.connect();
    let mut refused = || {
        let info: String = redis::cmd("INFO").arg("stats").query(&mut admin).unwrap();
        let line = info.lines().find_map(|l| l.strip_prefix("varve_tls_handshakes_refused:"));
        line.map(str::to_owned)
    };
    assert_eq!(refused().as_deref(), Some("0"));
    let silent: Vec<_> =
        (0..16).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    until("half of them are refused", || refused().as_deref() == Some("8"));
    assert!(files.connect(port).is_err(), "this address has its share");
    ask(&files.connect_from([127, 0, 0, 2], port).unwrap(), PING, "+PONG\r\n");
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("tls-handshakes-share").arg(100).exec(&mut varve.connect()).unwrap();
    ask(&files.connect(port).unwrap(), PING, "+PONG\r\n");
    drop(silent);
}

/// Whole handshakes, as many as some threads can do; meanwhile a plain client asks again and again.
fn flood(files: &Files, port: u16, plain: &mut redis::Connection) {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Also when this fails.
        let _over = Over(&over);
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    // Some are refused.
                    drop(files.connect(port));
                }
            });
        }
        let longest = (0..200).map(|_| {
            let began = Instant::now();
            let () = redis::cmd("SET").arg("k").arg("v").query(plain).unwrap();
            began.elapsed()
        });
        let longest = longest.max().unwrap_or_default();
        assert!(longest < Duration::from_secs(2), "a plain client waited {longest:?}");
    });
}

#[test]
fn replicas_follow_through_it() {
    let (folder, master, files, port) = serving(&["--tls-replication", "yes"]);
    let mut writer = master.connect();
    redis::cmd("SET").arg("before").arg("1").exec(&mut writer).unwrap();
    let data = folder.path().join("replica");
    std::fs::create_dir(&data).unwrap();
    let args = files.args(free_port());
    let (port, args) = (port.to_string(), args.iter().map(String::as_str));
    let more = ["--tls-replication", "yes", "--replicaof", "127.0.0.1", &port];
    let replica = Varve::start(&data, &args.chain(more).collect::<Vec<_>>());
    redis::cmd("SET").arg("after").arg("2").exec(&mut writer).unwrap();
    let (mut reader, until) = (replica.connect(), Instant::now() + Duration::from_secs(20));
    loop {
        let both: redis::RedisResult<(Option<String>, Option<String>)> =
            redis::cmd("MGET").arg("before").arg("after").query(&mut reader);
        if both.is_ok_and(|both| both == (Some("1".into()), Some("2".into()))) {
            return;
        }
        assert!(Instant::now() < until, "the replica does not follow");
    }
}

#[test]
fn what_cannot_be_honoured_stops_the_start() {
    let ((_folder, data), port) = (folder(), free_port().to_string());
    let data = data.display().to_string();
    let ended = run(&["--port", "0", "--tls-port", &port, "--dir", &data]);
    assert!(!ended.status.success() && ended.stderr.contains("tls-cert-file"), "{}", ended.stderr);
}

#[cfg(feature = "websocket")]
#[test]
fn pages_come_through_it() {
    let port = free_port();
    let (_folder, _varve, files, _) = serving(&["--websocket-tls-port", &port.to_string()]);
    let stream = files.connect(port).unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    ask(&stream, request, "\r\n\r\n");
    // A text frame, masked with zeros.
    ask(&stream, b"\x81\x86\0\0\0\0PING\r\n", "+PONG\r\n");
}
