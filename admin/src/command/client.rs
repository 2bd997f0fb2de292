//! A request's own client: a session that is handed bytes and gives bytes, on a thread that may wait.

use crate::Admin;
use crate::serving::drain_timeout;
use axum::http::StatusCode;
use engine::{Engine, EngineService};
use resp::Value;
use runtime::spans;
use runtime::{Clock, Connection, Flow, Next, Peer, Rejection, Service, Status};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::task::{Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Bytes of replies at most that one request gets. As values and as JSON they take some ten times as much, if they are many.
const REPLIES_MAX: usize = 8 << 20;
/// Of the time that the port has when it is being closed, this is left to send the answer.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// Longest sleep without a look around.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A batch of requests for a client to send, with the replies it waits for.
pub struct Call {
    /// The login, as on the wire.
    hello: Vec<u8>,
    /// The caller's span, in a command as on the wire, if it has named one.
    parent: Option<Vec<u8>>,
    /// Commands, as on the wire. They are sent when the login has succeeded, and only then.
    request: Vec<u8>,
    /// Their number.
    commands: usize,
    /// The time at which it gives up.
    until: Instant,
    /// The peer that sent the request.
    peer: Peer,
}

impl Call {
    /// A login and commands, for a peer that waits until `until`.
    pub fn new(hello: &[Vec<u8>], commands: &[Vec<Vec<u8>>], until: Instant, peer: Peer) -> Self {
        let (mut first, mut request) = (Vec::new(), Vec::new());
        resp::encode_command(hello, &mut first);
        commands.iter().for_each(|command| resp::encode_command(command, &mut request));
        Call { hello: first, parent: None, request, commands: commands.len(), until, peer }
    }

    /// The commands are a part of the caller's span (the header `traceparent`).
    pub fn is_part_of(&mut self, parent: &[u8]) {
        let mut command = Vec::new();
        resp::encode_command(
            [b"CLIENT".as_slice(), b"SETINFO", b"TRACEPARENT", parent],
            &mut command,
        );
        self.parent = Some(command);
    }
}

/// The reason why a client has no replies.
#[derive(Debug)]
pub enum Ended {
    /// It was not let in.
    Refused(String),
    /// The server closed its connection before anything had run.
    Closed,
    /// The server closed its connection, and some of its commands have run, or may have.
    Cut,
    /// It waited too long.
    Late,
    /// Its replies are too long.
    TooLong,
    /// Its replies cannot be read, which is an error of the server.
    Unreadable,
    /// So is this; the panic is in the log.
    Panicked,
}

impl Ended {
    /// The HTTP status code that reports it, and the text.
    pub fn told(self) -> (StatusCode, String) {
        (self.status(), self.to_string())
    }

    fn status(&self) -> StatusCode {
        match self {
            // Of all refusals of a client, only those for their number are temporary.
            Ended::Refused(why) if !why.contains("clients reached") => {
                super::json::failed(why.as_bytes()).0
            }
            Ended::Refused(_) | Ended::Closed => StatusCode::SERVICE_UNAVAILABLE,
            Ended::Cut | Ended::Late => StatusCode::GATEWAY_TIMEOUT,
            Ended::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Ended::Unreadable | Ended::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Refused(why) => f.write_str(why),
            Ended::Closed => f.write_str("the server closed the connection"),
            Ended::Cut => {
                f.write_str("UNKNOWN the server closed the connection: commands may have run")
            }
            Ended::Late => f.write_str("no answer in time: whether the command ran is unknown"),
            Ended::TooLong => f.write_str("the replies are too long for HTTP"),
            Ended::Unreadable => f.write_str("the replies cannot be read"),
            Ended::Panicked => f.write_str("the command failed badly"),
        }
    }
}

/// Whether the answer is still waited for, and the thread that works on it.
#[derive(Default)]
pub struct Held {
    left: AtomicBool,
    stops: AtomicBool,
    thread: OnceLock<Thread>,
}

/// Kept for as long as the answer is waited for. Dropping it ends the client.
pub struct Hold(Arc<Held>);

impl Hold {
    /// Both ends of it.
    pub fn new() -> (Self, Arc<Held>) {
        let held = Arc::<Held>::default();
        (Hold(held.clone()), held)
    }

    /// Lets the client finish what has run, and ends it if it waits for something else.
    pub fn drain(&self) {
        self.0.stops.store(true, SeqCst);
        self.0.wake_by_ref();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.left.store(true, SeqCst);
        self.0.wake_by_ref();
    }
}

impl Wake for Held {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// Runs `call` with a client of its own, on this thread.
///
/// # Errors
/// Fails if not all replies came: [`Ended`] says why. What had begun may have happened.
pub fn run(admin: &Admin, call: &Call, held: Arc<Held>) -> Result<Vec<Value>, Ended> {
    held.thread.get_or_init(std::thread::current);
    let service = EngineService(admin.engine.clone());
    let waker = Waker::from(held.clone());
    let connection = service.connect(call.peer.clone(), waker, admin.clock.now());
    let connection = connection.map_err(|Rejection(bytes)| Ended::Refused(reason(&bytes)))?;
    let mut client = Client::new(connection, admin, call.until);
    // A panic takes only this request along, as it takes only its connection along in a runtime.
    let conversed = catch_unwind(AssertUnwindSafe(|| client.converse(call, &held)));
    let closed = catch_unwind(AssertUnwindSafe(|| client.connection.closed(admin.clock.now())));
    conversed.and_then(|result| closed.map(|()| result)).unwrap_or(Err(Ended::Panicked))
}

/// The text of a refusal, which is an error of RESP.
fn reason(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_start_matches('-').trim_end().to_owned()
}

/// A session, and its output.
struct Client {
    connection: Box<dyn Connection>,
    engine: Arc<Engine>,
    clock: Clock,
    replies: Replies,
    /// The time at which it gives up.
    until: Instant,
    /// Whether it takes no more requests, because the server stops.
    drained: bool,
}

impl Client {
    fn new(connection: Box<dyn Connection>, admin: &Admin, until: Instant) -> Self {
        let (engine, clock) = (admin.engine.clone(), admin.clock);
        Client { connection, engine, clock, replies: Replies::default(), until, drained: false }
    }

    fn converse(&mut self, call: &Call, held: &Held) -> Result<Vec<Value>, Ended> {
        let hello = self.exchange(&call.hello, 1, held)?;
        if let Some(error) = hello.first().and_then(Value::as_error) {
            return Err(Ended::Refused(String::from_utf8_lossy(error).into_owned()));
        }
        if self.drained {
            return Err(Ended::Closed);
        }
        let Some(parent) = &call.parent else {
            return self.exchange(&call.request, call.commands, held);
        };
        // Refused if it is no span, or the user may not name one: then this is a sample of nobody's.
        self.exchange(parent, 1, held)?;
        spans::alone(|| self.exchange(&call.request, call.commands, held))
    }

    /// Sends requests, and waits for this many replies.
    fn exchange(
        &mut self,
        requests: &[u8],
        count: usize,
        held: &Held,
    ) -> Result<Vec<Value>, Ended> {
        let mut status = self.connection.receive(requests, self.clock.now());
        loop {
            self.take()?;
            if self.replies.found.len() >= count {
                return Ok(std::mem::take(&mut self.replies.found));
            }
            if status.flow != Flow::Open || held.left.load(SeqCst) {
                return Err(self.ended(status.flow));
            }
            if Instant::now() >= self.until {
                return Err(Ended::Late);
            }
            if held.stops.load(SeqCst) && !self.drained {
                status = self.drain();
                continue;
            }
            self.wait(status);
            status = self.connection.resume(self.clock.now());
        }
    }

    /// Ends it, if it waits for other clients. Replies that are withheld still come.
    fn drain(&mut self) -> Status {
        self.drained = true;
        let within = drain_timeout(&self.engine).saturating_sub(ANSWER_WITHIN);
        self.until = self.until.min(Instant::now() + within);
        self.connection.drain(self.clock.now())
    }

    /// The reason why it was closed. Every command that has run has a reply, which a session that is drained gives
    /// before it closes.
    fn ended(&self, flow: Flow) -> Ended {
        let in_order = self.drained && flow == Flow::CloseAfterFlush;
        if in_order && self.replies.found.is_empty() { Ended::Closed } else { Ended::Cut }
    }

    /// Takes the output that is to be written.
    fn take(&mut self) -> Result<(), Ended> {
        self.connection.before_write(self.clock.now());
        loop {
            let output = self.connection.output();
            while !output.is_empty() {
                let front = output.front();
                let len = front.len();
                self.replies.bytes.extend_from_slice(front);
                output.consume(len);
                if self.replies.bytes.len() > REPLIES_MAX {
                    return Err(Ended::TooLong);
                }
            }
            if !self.connection.written() {
                return self.replies.read();
            }
        }
    }

    /// Sleeps until there may be something to do.
    fn wait(&self, status: Status) {
        if status.next != Next::Nothing {
            return;
        }
        let deadline = self.connection.deadline_us().map(|at| self.clock.instant(at));
        let until = deadline.map_or(self.until, |deadline| deadline.min(self.until));
        std::thread::park_timeout(until.saturating_duration_since(Instant::now()).min(LOOK_EVERY));
    }
}

/// Replies, as they come.
#[derive(Default)]
struct Replies {
    bytes: Vec<u8>,
    /// The number of bytes of `bytes` that are decoded in `found`.
    read: usize,
    found: Vec<Value>,
}

impl Replies {
    /// Reads those that are whole.
    fn read(&mut self) -> Result<(), Ended> {
        loop {
            let decoded = resp::decode_whole(&self.bytes[self.read..]);
            let Some((value, len)) = decoded.map_err(|_| Ended::Unreadable)? else { return Ok(()) };
            self.read += len;
            // Invalidations and messages are no replies.
            if !matches!(value, Value::Push(_)) {
                self.found.push(value);
            }
        }
    }
}
