//! A toy line protocol that exercises every promise of the seam.
//!
//! | line | does |
//! | --- | --- |
//! | `echo TEXT` | replies `TEXT` |
//! | `bytes N` | replies N times `x` and a newline, at most [`OUTPUT_MAX`] of it queued at a time |
//! | `more N` | the same, all of it queued at once, as if there were no limit |
//! | `name NAME` | lets [`Toy::post`] reach this connection; replies `named` |
//! | `park MS` | waits for a posted message, or `timeout` after MS milliseconds (0: for ever) |
//! | `sleep MS` | replies `slept MS` that much later, whatever is posted |
//! | `count` | replies how many messages were taken without being parked |
//! | `block MS` | keeps its thread that long, then replies `blocked` |
//! | `hold MS` | the same, with a word that it will take long; replies `held` |
//! | `quit`, `abort`, `panic` | end in three ways |
//!
//! It executes [`LINES_MAX`] lines in one turn, and `sleep` holds input back.

use crate::{Connection, Flow, Input, Next, Now, Peer, Rejection, Service, Status};
use resp::Output;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

/// Output a toy connection queues before it executes no more lines, in bytes.
pub const OUTPUT_MAX: usize = 64 * 1024;

/// Lines a toy connection executes in one turn.
pub const LINES_MAX: usize = 100;

/// The service, and what it has seen.
#[derive(Default)]
pub struct Toy {
    /// Connections made.
    pub opened: AtomicU64,
    /// Calls of `closed`.
    pub closed: AtomicU64,
    /// Calls of anything on a connection after its `closed`.
    pub called_after_close: AtomicU64,
    /// Answers looked at for writing without a `before_write` since the connection was called.
    pub unsettled: AtomicU64,
    /// The most output any connection had queued, in bytes.
    pub output_max: AtomicUsize,
    /// The most bytes that a filter held of any connection.
    pub held_max: AtomicUsize,
    /// Lines executed.
    pub lines: AtomicU64,
    /// The number of connections that each thread has made.
    pub threads: Mutex<HashMap<std::thread::ThreadId, u64>>,
    /// Refuse new connections.
    pub refuse: AtomicBool,
    /// Panic on new connections.
    pub panic_on_connect: AtomicBool,
    /// Answer that the next call may block.
    pub may_block: AtomicBool,
    named: Mutex<HashMap<String, Arc<Inbox>>>,
}

/// The queue of messages for one connection.
struct Inbox {
    waker: Waker,
    messages: Mutex<VecDeque<String>>,
}

impl Toy {
    /// Puts a message into the inbox of the connection called `name` and wakes it. False when
    /// there is no such connection yet.
    pub fn post(&self, name: &str, message: &str) -> bool {
        let inbox = self.named.lock().unwrap().get(name).cloned();
        let Some(inbox) = inbox else { return false };
        inbox.messages.lock().unwrap().push_back(message.to_owned());
        inbox.waker.wake_by_ref();
        true
    }

    /// A service that makes connections to this toy.
    pub fn service(self: &Arc<Self>) -> Arc<dyn Service> {
        Arc::new(ToyService(self.clone()))
    }

    /// The waker of the connection called `name`.
    pub fn waker(&self, name: &str) -> Waker {
        self.named.lock().unwrap()[name].waker.clone()
    }
}

/// Makes connections of a shared [`Toy`].
struct ToyService(Arc<Toy>);

impl Service for ToyService {
    fn connect(&self, peer: Peer, waker: Waker, _: Now) -> Result<Box<dyn Connection>, Rejection> {
        assert!(!self.0.panic_on_connect.load(SeqCst), "asked to panic");
        assert!(!peer.to_string().is_empty());
        if self.0.refuse.load(SeqCst) {
            return Err(Rejection(b"no room\n".to_vec()));
        }
        self.0.opened.fetch_add(1, SeqCst);
        *self.0.threads.lock().unwrap().entry(std::thread::current().id()).or_default() += 1;
        let inbox = Arc::new(Inbox { waker, messages: Mutex::default() });
        Ok(Box::new(Line::new(self.0.clone(), inbox)))
    }

    fn may_block(&self) -> bool {
        self.0.may_block.load(SeqCst)
    }
}

/// The reason why a connection takes no further line for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    No,
    ForMessage { until_us: Option<u64> },
    Sleeping { until_us: u64, ms: u64 },
    Owing { bytes: usize },
}

/// One client of the toy protocol.
struct Line {
    toy: Arc<Toy>,
    inbox: Arc<Inbox>,
    name: Option<String>,
    pending: Vec<u8>,
    output: Output,
    held: Held,
    has_more: bool,
    flow: Flow,
    draining: bool,
    closed: bool,
    settled: bool,
    unparked_messages: u64,
}

impl Line {
    fn new(toy: Arc<Toy>, inbox: Arc<Inbox>) -> Self {
        Line {
            toy,
            inbox,
            name: None,
            pending: Vec::new(),
            output: Output::new(),
            held: Held::No,
            has_more: false,
            flow: Flow::Open,
            draining: false,
            closed: false,
            settled: true,
            unparked_messages: 0,
        }
    }

    fn called(&mut self) {
        self.settled = false;
        if self.closed {
            self.toy.called_after_close.fetch_add(1, SeqCst);
        }
    }

    fn reply(&mut self, text: &str) {
        self.output.extend(text.as_bytes());
        self.output.extend(b"\n");
    }

    /// Executes lines until one holds the connection back or none is complete.
    fn run(&mut self, now: Now) -> Status {
        let pending = std::mem::take(&mut self.pending);
        let mut rest = &pending[..];
        let mut lines = 0;
        self.has_more = false;
        while self.may_go_on() {
            let Some(end) = rest.iter().position(|&b| b == b'\n') else { break };
            if lines == LINES_MAX {
                self.has_more = true;
                break;
            }
            lines += 1;
            let line = String::from_utf8_lossy(&rest[..end]).into_owned();
            rest = &rest[end + 1..];
            self.execute(&line, now);
        }
        self.toy.lines.fetch_add(lines as u64, SeqCst);
        let done = pending.len() - rest.len();
        self.pending = pending;
        self.pending.drain(..done);
        self.toy.output_max.fetch_max(self.output.len(), SeqCst);
        self.status()
    }

    fn may_go_on(&self) -> bool {
        self.held == Held::No && self.flow == Flow::Open && self.output.len() < OUTPUT_MAX
    }

    fn status(&self) -> Status {
        let idle = self.may_go_on() && !self.has_more;
        let flow = if idle && self.draining { Flow::CloseAfterFlush } else { self.flow };
        let (input, next) = match self.held {
            Held::ForMessage { .. } => (Input::Kept, Next::Nothing),
            Held::Sleeping { .. } => (Input::Held, Next::Nothing),
            Held::No if self.has_more => (Input::Held, Next::AnotherTurn),
            Held::No if idle => (Input::Wanted, Next::Nothing),
            Held::No | Held::Owing { .. } => (Input::Wanted, Next::OnceWritten),
        };
        let input = if self.draining { Input::Held } else { input };
        Status { flow, input, next }
    }

    fn execute(&mut self, line: &str, now: Now) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let number = rest.parse::<u64>().unwrap_or(0);
        match word {
            "echo" => self.reply(rest),
            "bytes" => {
                self.held = Held::Owing { bytes: number as usize };
                self.pay();
            }
            "more" => {
                self.output.extend(&vec![b'x'; number as usize]);
                self.reply("");
            }
            "name" => self.be_called(rest),
            "park" => {
                let until_us = (number > 0).then_some(now.mono_us + number * 1000);
                self.held = Held::ForMessage { until_us };
                self.look_into_inbox(now);
            }
            "sleep" => {
                let until_us = now.mono_us + number * 1000;
                self.held = Held::Sleeping { until_us, ms: number };
            }
            "count" => self.reply(&self.unparked_messages.to_string()),
            "block" => {
                std::thread::sleep(Duration::from_millis(number));
                self.reply("blocked");
            }
            "hold" => {
                crate::stand_in::send_for();
                std::thread::sleep(Duration::from_millis(number));
                self.reply("held");
            }
            "quit" => {
                self.reply("bye");
                self.flow = Flow::CloseAfterFlush;
            }
            "abort" => {
                self.reply("never seen");
                self.flow = Flow::Abort;
            }
            "panic" => panic!("asked to panic"),
            _ => self.reply("what?"),
        }
    }

    fn be_called(&mut self, name: &str) {
        self.name = Some(name.to_owned());
        self.toy.named.lock().unwrap().insert(name.to_owned(), self.inbox.clone());
        self.reply("named");
    }

    /// Queues as much of an owed `bytes` reply as there is room for.
    fn pay(&mut self) {
        let Held::Owing { bytes } = self.held else { return };
        let piece = bytes.min(OUTPUT_MAX.saturating_sub(self.output.len()));
        self.output.extend(&vec![b'x'; piece]);
        self.held = Held::Owing { bytes: bytes - piece };
        if bytes == piece {
            self.held = Held::No;
            self.reply("");
        }
    }

    fn look_into_inbox(&mut self, now: Now) {
        if let Held::ForMessage { until_us } = self.held {
            let message = self.inbox.messages.lock().unwrap().pop_front();
            if let Some(message) = message {
                self.held = Held::No;
                self.reply(&message);
            } else if until_us.is_some_and(|at| now.mono_us >= at) {
                self.held = Held::No;
                self.reply("timeout");
            }
        }
    }

    fn look_at_clock(&mut self, now: Now) {
        if let Held::Sleeping { until_us, ms } = self.held
            && now.mono_us >= until_us
        {
            self.held = Held::No;
            self.reply(&format!("slept {ms}"));
        }
    }

    /// Messages posted to a connection that waits for none are counted, in case they are asked for.
    fn count_messages(&mut self) {
        if self.name.as_deref().is_some_and(|name| name.starts_with("counting")) {
            let mut messages = self.inbox.messages.lock().unwrap();
            self.unparked_messages += messages.len() as u64;
            messages.clear();
        }
    }
}

impl Connection for Line {
    fn receive(&mut self, bytes: &[u8], now: Now) -> Status {
        self.called();
        self.pending.extend_from_slice(bytes);
        self.run(now)
    }

    fn resume(&mut self, now: Now) -> Status {
        self.called();
        self.pay();
        self.look_at_clock(now);
        match self.held {
            Held::ForMessage { .. } => self.look_into_inbox(now),
            _ => self.count_messages(),
        }
        self.run(now)
    }

    fn before_write(&mut self, _: Now) {
        self.settled = true;
    }

    fn output(&mut self) -> &mut Output {
        if !self.settled && !self.output.is_empty() {
            self.toy.unsettled.fetch_add(1, SeqCst);
        }
        &mut self.output
    }

    fn held_outside(&mut self, bytes: usize) {
        self.toy.held_max.fetch_max(bytes, SeqCst);
    }

    fn deadline_us(&self) -> Option<u64> {
        match self.held {
            Held::ForMessage { until_us } => until_us,
            Held::Sleeping { until_us, .. } => Some(until_us),
            Held::No | Held::Owing { .. } => None,
        }
    }

    fn drain(&mut self, now: Now) -> Status {
        self.called();
        self.draining = true;
        if let Held::ForMessage { .. } = self.held {
            self.held = Held::No;
            self.pending.clear();
            self.reply("drained");
        }
        self.run(now)
    }

    fn closed(&mut self, _: Now) {
        self.called();
        self.closed = true;
        self.toy.closed.fetch_add(1, SeqCst);
    }
}
