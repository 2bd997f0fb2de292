//! Drives an engine in a test: clients have names, the clock moves only when told, and everything
//! random is seeded.
//!
//! [`Harness`] takes any backend. It does the work of the runtime: clients that are woken are
//! resumed before a call returns, so what a test observes does not depend on scheduling. With
//! [`Harness::recording`] it also keeps the logged effects, which [`Harness::logged`] shows and
//! [`Harness::replay`] executes again.
//!
//! ```no_run
//! # fn example(commands: Vec<&'static [engine::command::Spec]>, backend: std::sync::Arc<dyn storage::Backend>) {
//! let mut server = engine::testing::Harness::new(commands, backend);
//! assert_eq!(server.text("SET k v EX 10"), "OK");
//! server.advance(10_000);
//! assert_eq!(server.text("GET k"), "(nil)");
//! # }
//! ```

mod contents;
mod recorder;
mod spy;
mod text;

pub use contents::{Contents, contents};
pub use recorder::Recorder;
pub use spy::{Names, Spy};
pub use text::{quote, text};

use crate::command::Spec;
use crate::config::ConfigStore;
use crate::engine::{Engine, Environment, Parts};
use crate::host::{Host, NoHost};
use crate::session::Session;
use resp::{Value, decode, encode_command};
use runtime::{Connection, Flow, Next, Now, Peer, Status};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use storage::{Backend, Journal};

/// The time at which a harness starts: 2023-11-14 22:13:20 UTC.
pub const START_MS: u64 = 1_700_000_000_000;

/// The client that [`Harness::run`] uses.
pub const MAIN: &str = "main";

/// Rounds of waking each other after which clients are taken to do so for ever.
const ROUNDS_MAX: usize = 10_000;

#[derive(Default)]
struct Alarm(AtomicBool);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One client's connection.
struct Client {
    session: Session,
    alarm: Arc<Alarm>,
    received: Vec<u8>,
    status: Status,
}

impl Client {
    fn new(engine: &Arc<Engine>, now: Now) -> Self {
        let alarm = Arc::new(Alarm::default());
        let peer = Peer::Unix("test".into());
        let session = Session::new(engine.clone(), peer, Waker::from(alarm.clone()), now);
        Client { session, alarm, received: Vec::new(), status: Status::READING }
    }

    /// Does what a runtime does after a call: takes the output, and calls again if the session
    /// wants that.
    fn follow_up(&mut self, status: Status, now: Now) {
        self.status = status;
        self.collect(now);
        while self.status.flow == Flow::Open && self.status.next != Next::Nothing {
            self.status = self.session.resume(now);
            self.collect(now);
        }
    }

    /// Moves the session's output to the place from which replies are read.
    fn collect(&mut self, now: Now) {
        self.session.before_write(now);
        let output = self.session.output();
        let bytes = output.to_vec();
        output.consume(bytes.len());
        self.session.written();
        self.received.extend_from_slice(&bytes);
    }

    fn is_due(&self, now: Now) -> bool {
        self.session.deadline_us().is_some_and(|at| at <= now.mono_us)
    }
}

/// An engine, its clients and its clock.
pub struct Harness {
    engine: Arc<Engine>,
    clients: BTreeMap<String, Client>,
    now: Now,
    recorder: Option<Arc<Recorder>>,
    /// The rows it was made with, to make another engine of.
    commands: Vec<&'static [Spec]>,
}

impl Harness {
    /// An engine with these commands over `backend`, with default configuration, seed 1, and no
    /// journal.
    pub fn new(commands: Vec<&'static [Spec]>, backend: Arc<dyn Backend>) -> Self {
        Self::assemble(commands, backend, None, Arc::new(NoHost))
    }

    /// [`Harness::new`] with a log of effects that is kept.
    pub fn recording(commands: Vec<&'static [Spec]>, backend: Arc<dyn Backend>) -> Self {
        Self::recording_with(commands, backend, Arc::new(NoHost))
    }

    /// [`Harness::recording`] with a process around it.
    pub fn recording_with(
        commands: Vec<&'static [Spec]>,
        backend: Arc<dyn Backend>,
        host: Arc<dyn Host>,
    ) -> Self {
        let recorder = Arc::new(Recorder::default());
        let journal = Some(recorder.clone() as Arc<dyn Journal>);
        Harness { recorder: Some(recorder), ..Self::assemble(commands, backend, journal, host) }
    }

    /// [`Harness::new`] with this journal.
    pub fn with_journal(
        commands: Vec<&'static [Spec]>,
        backend: Arc<dyn Backend>,
        journal: Arc<dyn Journal>,
    ) -> Self {
        Self::assemble(commands, backend, Some(journal), Arc::new(NoHost))
    }

    /// [`Harness::new`] with a process around it.
    pub fn with_host(
        commands: Vec<&'static [Spec]>,
        backend: Arc<dyn Backend>,
        host: Arc<dyn Host>,
    ) -> Self {
        Self::assemble(commands, backend, None, host)
    }

    fn assemble(
        commands: Vec<&'static [Spec]>,
        backend: Arc<dyn Backend>,
        journal: Option<Arc<dyn Journal>>,
        host: Arc<dyn Host>,
    ) -> Self {
        let now = Now { wall_ms: START_MS, mono_us: 1_000_000 };
        let environment = Environment { stopwatch: || 0, seed: 1, started: now, host };
        let parts = Parts {
            backend,
            journal,
            config: Arc::new(ConfigStore::new()),
            commands: commands.clone(),
            environment,
        };
        let engine = Engine::new(parts).expect("built-in commands have distinct names");
        Harness { engine, clients: BTreeMap::new(), now, recorder: None, commands }
    }

    /// A harness around an engine that was put together elsewhere.
    pub fn around(engine: Arc<Engine>) -> Self {
        let now = engine.environment.started;
        Harness { engine, clients: BTreeMap::new(), now, recorder: None, commands: Vec::new() }
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The time.
    pub fn now(&self) -> Now {
        self.now
    }

    /// Lets `ms` milliseconds pass, and resumes the clients whose deadlines have passed. Keys are
    /// not actively expired; see [`Harness::keep_house`].
    pub fn advance(&mut self, ms: u64) {
        self.now.wall_ms += ms;
        self.now.mono_us += ms * 1000;
        self.settle();
    }

    /// One round of the engine's work between requests.
    pub fn keep_house(&mut self) {
        self.engine.keep_house(self.now);
        self.settle();
    }

    /// Runs a line as [`MAIN`] and returns its reply.
    ///
    /// # Panics
    /// Panics if there is none, or more than one.
    pub fn run(&mut self, line: &str) -> Value {
        self.run_as(MAIN, line)
    }

    /// [`Harness::run`] as redis-cli shows it.
    pub fn text(&mut self, line: &str) -> String {
        text(&self.run(line))
    }

    /// [`Harness::run`] for a named client, connected when first named.
    ///
    /// # Panics
    /// As [`Harness::run`].
    pub fn run_as(&mut self, client: &str, line: &str) -> Value {
        self.send(client, line);
        let mut replies = self.replies(client);
        assert_eq!(replies.len(), 1, "replies to {line:?}: {replies:?}");
        replies.remove(0)
    }

    /// Runs arguments of any bytes as [`MAIN`].
    ///
    /// # Panics
    /// As [`Harness::run`].
    pub fn run_args<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        let mut bytes = Vec::new();
        encode_command(args, &mut bytes);
        self.send_bytes(MAIN, &bytes);
        let mut replies = self.replies(MAIN);
        assert_eq!(replies.len(), 1, "{replies:?}");
        replies.remove(0)
    }

    /// Sends a line, its words quoted as in redis-cli, without expecting anything.
    ///
    /// # Panics
    /// On unbalanced quotes.
    pub fn send(&mut self, client: &str, line: &str) {
        let words = resp::split_words(line.as_bytes()).expect("balanced quotes");
        let mut bytes = Vec::new();
        encode_command(&words, &mut bytes);
        self.send_bytes(client, &bytes);
    }

    /// Sends bytes as they are: pipelines, halves of requests, nonsense.
    pub fn send_bytes(&mut self, client: &str, bytes: &[u8]) {
        let now = self.now;
        let client = self.client(client);
        let status = client.session.receive(bytes, now);
        client.follow_up(status, now);
        self.settle();
    }

    /// Returns what a client received since the last call, pushed messages included.
    ///
    /// # Panics
    /// Panics if it received something that is not a reply.
    pub fn replies(&mut self, client: &str) -> Vec<Value> {
        let received = &mut self.client(client).received;
        let mut replies = Vec::new();
        let mut at = 0;
        while let Some((reply, used)) = decode(&received[at..]).expect("a reply") {
            replies.push(reply);
            at += used;
        }
        received.drain(..at);
        replies
    }

    /// The status that the session returned to its runtime last.
    pub fn status(&mut self, client: &str) -> Status {
        self.client(client).status
    }

    /// Closes a client's connection.
    pub fn close(&mut self, client: &str) {
        if let Some(mut gone) = self.clients.remove(client) {
            gone.session.closed(self.now);
        }
        self.settle();
    }

    /// The effects logged since the last call, one per line: `SET k v`, or with another
    /// database than 0 `[1] SET k v`. Empty without [`Harness::recording`].
    pub fn logged(&mut self) -> Vec<String> {
        let effects = self.recorder.as_ref().map(|recorder| recorder.take()).unwrap_or_default();
        effects.iter().map(|(db, effect)| recorder::line(*db, effect)).collect()
    }

    /// Runs everything logged so far, taken or not, on another backend, as a start does.
    ///
    /// # Panics
    /// Panics if an effect cannot be executed again.
    pub fn replay(&self, onto: Arc<dyn Backend>) -> Harness {
        let other = Harness::new(self.commands.clone(), onto);
        let replayed = self.recorder.iter().try_for_each(|log| log.replay(&other.engine));
        assert_eq!(replayed, Ok(()));
        other
    }

    /// Everything stored: by database and key, expiry and value.
    pub fn contents(&self) -> Contents {
        contents(self.engine.backend.clone())
    }

    fn client(&mut self, name: &str) -> &mut Client {
        if !self.clients.contains_key(name) {
            self.clients.insert(name.to_owned(), Client::new(&self.engine, self.now));
        }
        self.clients.get_mut(name).expect("just inserted")
    }

    /// Resumes clients that were woken or whose deadlines have passed, until there are none.
    fn settle(&mut self) {
        let now = self.now;
        for _ in 0..ROUNDS_MAX {
            let mut quiet = true;
            for client in self.clients.values_mut() {
                let woken = client.alarm.0.swap(false, Ordering::SeqCst);
                let open = client.status.flow == Flow::Open;
                if woken || (open && client.is_due(now)) {
                    let status = client.session.resume(now);
                    client.follow_up(status, now);
                    quiet = false;
                }
            }
            if quiet {
                return;
            }
        }
        panic!("clients keep waking each other");
    }
}
