//! A runtime serving the toy on fresh ports, and clients to talk to it.

use super::toy::Toy;
use super::veil::{self, Unveiling, Veil};
use crate::filter::FilterService;
use crate::{Clock, Listener, Runtime, Service, Shutdown, Stream};
use socket2::SockRef;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Socket buffers on the second listener, at both ends, in bytes: they are full at once.
const NARROW: usize = 16 << 10;

/// The time that a client of the suite waits for anything before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// The time within which a veiled connection must send its greeting.
pub(super) const VEIL_PATIENCE: Duration = Duration::from_millis(300);

/// The subject of a test case: a runtime, serving the toy plainly or behind the toy filter.
#[derive(Clone)]
pub struct Subject {
    runtime: Arc<dyn Runtime>,
    veiled: bool,
}

impl Subject {
    /// `runtime`, serving plainly.
    pub fn plain(runtime: Arc<dyn Runtime>) -> Subject {
        Subject { runtime, veiled: false }
    }

    /// `runtime`, serving behind the [`Veil`].
    pub fn veiled(runtime: Arc<dyn Runtime>) -> Subject {
        Subject { runtime, veiled: true }
    }
}

impl<R: Runtime + 'static> From<Arc<R>> for Subject {
    fn from(runtime: Arc<R>) -> Subject {
        Subject::plain(runtime)
    }
}

/// A runtime at work. Dropping it stops the runtime and checks that every connection was closed
/// exactly once and that nothing is left over.
pub struct Running {
    /// The toy server whose connections the runtime serves.
    pub toy: Arc<Toy>,
    /// The runtime under test.
    pub runtime: Arc<dyn Runtime>,
    /// Asks it to stop.
    pub shutdown: Shutdown,
    addresses: Vec<SocketAddr>,
    unix_path: PathBuf,
    veiled: bool,
    server: Option<JoinHandle<io::Result<()>>>,
}

impl Running {
    /// Starts `runtime` with two TCP listeners, the second with small socket buffers, and a
    /// Unix-domain one.
    pub fn start(subject: impl Into<Subject>) -> Running {
        Self::start_draining(subject, PATIENCE)
    }

    /// The same with a `drain_timeout` of one's own.
    pub fn start_draining(subject: impl Into<Subject>, drain_timeout: Duration) -> Running {
        let Subject { runtime, veiled } = subject.into();
        raise_descriptor_limit();
        let toy = Arc::new(Toy::default());
        let unix_path = fresh_path();
        let mut streams = vec![tcp(), tcp()];
        let addresses = streams.iter().map(|(_, address)| *address).collect();
        if let Stream::Tcp(second) = &streams[1].0 {
            narrow(second);
        }
        let unix = UnixListener::bind(&unix_path).expect("bind a unix socket");
        unix.set_nonblocking(true).expect("set non-blocking");
        let unix = Stream::Unix(unix, unix_path.display().to_string());
        let streams = streams.drain(..).map(|(stream, _)| stream).chain([unix]);
        let service = service(&toy, veiled);
        let listeners = streams.map(|stream| Listener { stream, service: service.clone() });
        let listeners: Vec<Listener> = listeners.collect();
        let shutdown = Shutdown::new();
        let (serving, stop) = (runtime.clone(), shutdown.clone());
        let server =
            std::thread::spawn(move || serving.serve(listeners, Clock::new(), stop, drain_timeout));
        Running { toy, runtime, shutdown, addresses, unix_path, veiled, server: Some(server) }
    }

    /// A client of the first listener.
    pub fn client(&self) -> Client {
        self.dressed(Client::tcp(self.addresses[0]))
    }

    /// A client of the first listener that knows of no filter.
    pub fn bare_client(&self) -> Client {
        Client::tcp(self.addresses[0])
    }

    /// `client` behind the veil, where the server is.
    fn dressed(&self, client: Client) -> Client {
        if self.veiled { client.veiled() } else { client }
    }

    /// The address of the first listener.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// A client of the second listener.
    pub fn other_client(&self) -> Client {
        self.dressed(Client::tcp(self.addresses[1]))
    }

    /// The same, with small socket buffers at its own end, too.
    pub fn narrow_client(&self) -> Client {
        let stream = TcpStream::connect(self.addresses[1]).expect("connect");
        narrow(&stream);
        self.dressed(Client::of_tcp(stream))
    }

    /// A client of the Unix-domain listener.
    pub fn unix_client(&self) -> Client {
        let stream = UnixStream::connect(&self.unix_path).expect("connect to the unix socket");
        self.dressed(Client::unix(stream))
    }

    /// Whether a new connection is taken.
    pub fn accepts(&self) -> bool {
        TcpStream::connect_timeout(&self.addresses[0], Duration::from_secs(1)).is_ok()
    }

    /// Waits until `serve` has returned; true when that happened within `limit`.
    pub fn returned_within(&mut self, limit: Duration) -> bool {
        let server = self.server.as_ref().expect("not yet joined");
        eventually_within(limit, || server.is_finished())
    }

    /// Posts to a named connection, once it has its name.
    pub fn post(&self, name: &str, message: &str) {
        assert!(eventually(|| self.toy.post(name, message)), "{name} never came");
    }

    fn stop(&mut self) {
        self.shutdown.request();
        let Some(server) = self.server.take() else { return };
        let ended = eventually(|| server.is_finished());
        assert!(ended, "serve has not returned");
        server.join().expect("serve does not panic").expect("serve does not fail");
        let _ = std::fs::remove_file(&self.unix_path);
    }

    fn check(&self) {
        let (toy, stats) = (&self.toy, self.runtime.stats());
        assert!(eventually(|| toy.opened.load(SeqCst) == toy.closed.load(SeqCst)));
        assert_eq!(toy.called_after_close.load(SeqCst), 0, "calls after closed");
        assert_eq!(toy.unsettled.load(SeqCst), 0, "writes without before_write");
        assert!(eventually(|| stats.connections.load(SeqCst) == 0), "connections left over");
        assert!(eventually(|| stats.queue_depth.load(SeqCst) == 0), "queue not empty");
        assert!(stats.loops.load(SeqCst) > 0, "loops are counted");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shutdown.request();
            return;
        }
        self.stop();
        self.check();
    }
}

/// Waits until `condition` holds; false when it does not in time.
pub fn eventually(condition: impl FnMut() -> bool) -> bool {
    eventually_within(PATIENCE, condition)
}

fn eventually_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + limit;
    while Instant::now() < until {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    condition()
}

fn service(toy: &Arc<Toy>, veiled: bool) -> Arc<dyn Service> {
    let inner = toy.service();
    if !veiled {
        return inner;
    }
    let (make, handshakes) = (|| Ok(Veil::default()), Arc::default());
    Arc::new(FilterService { inner, make, patience: VEIL_PATIENCE, handshakes })
}

fn tcp() -> (Stream, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
    listener.set_nonblocking(true).expect("set non-blocking");
    let address = listener.local_addr().expect("a bound address");
    (Stream::Tcp(listener), address)
}

fn fresh_path() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (process, n) = (std::process::id(), NEXT.fetch_add(1, SeqCst));
    std::env::temp_dir().join(format!("varve-suite-{process}-{n}.sock"))
}

/// Tests of one binary run side by side, each with hundreds of sockets, both ends in one process.
fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only read or fill the struct they are given.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max.min(16384).max(limit.rlim_cur);
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// Makes a socket's buffers small; those of a listener are inherited.
fn narrow<'a>(socket: impl Into<SockRef<'a>>) {
    let socket = socket.into();
    socket.set_recv_buffer_size(NARROW).expect("set a buffer size");
    socket.set_send_buffer_size(NARROW).expect("set a buffer size");
}

/// Either kind of stream.
trait Duplex: Read + Write + Send {
    fn end_sending(&self);
    /// Makes closing reset the connection, if the stream can do that.
    fn reset_on_close(&self) {}
    /// Whether the other end has announced that nothing follows, if the stream can do that.
    fn has_said_goodbye(&self) -> bool {
        true
    }
    fn clone(&self) -> Box<dyn Duplex>;
}

impl Duplex for TcpStream {
    fn end_sending(&self) {
        let _ = self.shutdown(std::net::Shutdown::Write);
    }

    fn reset_on_close(&self) {
        SockRef::from(self).set_linger(Some(Duration::ZERO)).expect("set linger");
    }

    fn clone(&self) -> Box<dyn Duplex> {
        Box::new(self.try_clone().expect("a second descriptor"))
    }
}

impl Duplex for UnixStream {
    fn end_sending(&self) {
        let _ = self.shutdown(std::net::Shutdown::Write);
    }

    fn clone(&self) -> Box<dyn Duplex> {
        Box::new(self.try_clone().expect("a second descriptor"))
    }
}

/// A stream behind the veil.
struct Veiled {
    stream: Box<dyn Duplex>,
    reading: Unveiling,
    plain: Vec<u8>,
}

impl Read for Veiled {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut wire = [0; 16 << 10];
        while self.plain.is_empty() {
            let n = self.stream.read(&mut wire)?;
            self.plain = self.reading.take(&wire[..n]);
            if n == 0 && self.plain.is_empty() {
                return Ok(0);
            }
        }
        let n = buffer.len().min(self.plain.len());
        buffer[..n].copy_from_slice(&self.plain[..n]);
        self.plain.drain(..n);
        Ok(n)
    }
}

impl Write for Veiled {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(veil::RECORD_MAX)];
        self.stream.write_all(&veil::veiled(piece))?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Duplex for Veiled {
    /// Announces the end inside the veil; the socket stays open.
    fn end_sending(&self) {
        let mut stream = self.stream.clone();
        stream.write_all(&[0, 0]).expect("say goodbye");
    }

    fn reset_on_close(&self) {
        self.stream.reset_on_close();
    }

    fn has_said_goodbye(&self) -> bool {
        self.reading.ended
    }

    fn clone(&self) -> Box<dyn Duplex> {
        let (reading, plain) = (Unveiling::default(), Vec::new());
        Box::new(Veiled { stream: self.stream.clone(), reading, plain })
    }
}

/// A blocking client of the toy protocol.
pub struct Client(BufReader<Box<dyn Duplex>>);

impl Client {
    fn tcp(address: SocketAddr) -> Client {
        Self::of_tcp(TcpStream::connect(address).expect("connect"))
    }

    fn of_tcp(stream: TcpStream) -> Client {
        stream.set_nodelay(true).expect("set nodelay");
        stream.set_read_timeout(Some(PATIENCE)).expect("set timeout");
        Client(BufReader::new(Box::new(stream)))
    }

    fn unix(stream: UnixStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).expect("set timeout");
        Client(BufReader::new(Box::new(stream)))
    }

    fn veiled(self) -> Client {
        let mut stream = self.0.into_inner();
        // A server that refuses has closed already.
        let _ = stream.write_all(veil::HELLO);
        let (reading, plain) = (Unveiling::default(), Vec::new());
        Client(BufReader::new(Box::new(Veiled { stream, reading, plain })))
    }

    /// Sends `text` as it is.
    pub fn send(&mut self, text: &str) {
        self.try_send(text).expect("send");
    }

    /// Sends `text`; fails when the server has closed.
    pub fn try_send(&mut self, text: &str) -> io::Result<()> {
        self.0.get_mut().write_all(text.as_bytes())
    }

    /// Ends the sending side only.
    pub fn end_sending(&mut self) {
        self.0.get_mut().end_sending();
    }

    /// Closes the connection with a reset if it is a TCP connection. Data in transit are lost.
    pub fn reset(self) {
        self.0.get_ref().reset_on_close();
    }

    /// Sends `text` from another thread, which ends when all is sent.
    pub fn send_aside(&self, text: String) -> JoinHandle<io::Result<()>> {
        let mut stream = Duplex::clone(&**self.0.get_ref());
        std::thread::spawn(move || stream.write_all(text.as_bytes()))
    }

    /// The next line; empty at the end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line in time");
        line.truncate(line.trim_end().len());
        line
    }

    /// Asserts that the next line is `expected`.
    #[track_caller]
    pub fn expect(&mut self, expected: &str) {
        let line = self.line();
        assert!(line == expected, "got {:.80?}, expected {:.80?}", line, expected);
    }

    /// Sends a line and asserts the reply.
    #[track_caller]
    pub fn ask(&mut self, line: &str, expected: &str) {
        self.send(&format!("{line}\n"));
        self.expect(expected);
    }

    /// Reads exactly `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.0.read_exact(&mut bytes).expect("bytes in time");
        bytes
    }

    /// Asserts that the server closes without a further byte.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => assert!(rest.is_empty(), "got {:.80?}", String::from_utf8_lossy(&rest)),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
    }

    /// Asserts an orderly end: no byte, and no reset either.
    #[track_caller]
    pub fn expect_clean_end(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("an orderly end");
        assert!(rest.is_empty(), "got {:.80?}", String::from_utf8_lossy(&rest));
        assert!(self.0.get_ref().has_said_goodbye(), "no goodbye");
    }
}
