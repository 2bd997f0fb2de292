//! Requests to other servers over TCP, for `MIGRATE`, each with a reply of one line; and the
//! threads that wait for the replies.

use engine::Engine;
use engine::peers::breakers::{Breakers, Kind};
use engine::peers::{Answers, Errand, PeerError, Requests, Target};
use parking_lot::Mutex;
use runtime::Clock;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// The largest answer in bytes; a longer one is invalid.
const LINE_MAX: usize = 1024;

/// The number of bytes that must be written within one timeout.
const PIECE: usize = 64 << 10;

/// The longest wait; system calls take no larger number of seconds.
const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// The number of errands in progress at the same time; others wait.
const THREADS_MAX: usize = 32;

/// How long a target must be silent to count as one that does not answer. A client's timeout may be
/// shorter, which shows nothing but the client's impatience.
const SILENCE: Duration = Duration::from_secs(1);

/// The name of a target's breaker.
fn name(host: &str, port: u16) -> String {
    format!("{host}:{port}")
}

/// Sends `requests` and waits for the replies, unless the target did not answer lately.
pub(super) fn exchange(
    breakers: &Breakers,
    clock: Clock,
    target: &Target<'_>,
    requests: &Requests,
) -> Answers {
    let name = name(target.host, target.port);
    let patience = target.timeout.min(target.limit);
    let may = match patience < SILENCE {
        // It would be no probe: its failure shows nothing.
        true => !breakers.refuses(Kind::Migrate, &name, clock.now()),
        false => breakers.admit(Kind::Migrate, &name, clock.now()),
    };
    if !may {
        return Answers::none(PeerError::Silent);
    }
    let mut last_contact = Instant::now();
    let answers = converse(target, requests, &mut last_contact);
    let (silence, now) = (last_contact.elapsed(), clock.now());
    if answers.broken.is_none() || silence < SILENCE.min(patience) {
        // A refusal is an answer, too.
        breakers.succeeded(Kind::Migrate, &name, now);
    } else if silence >= SILENCE && breakers.failed(Kind::Migrate, &name, now) {
        tracing::warn!(
            target = name,
            "MIGRATE: no answer; further keys for it are refused for a while"
        );
    }
    answers
}

/// Sends `requests` and waits for the replies. `last_contact` is when it began, and then when something was
/// last received.
fn converse(target: &Target<'_>, requests: &Requests, last_contact: &mut Instant) -> Answers {
    let mut answers = Answers::default();
    let done = Peer::connect(target, last_contact).and_then(|mut peer| {
        peer.write(&requests.greeting)?;
        for _ in 0..requests.greetings {
            if !peer.answer(&mut answers)? {
                return Ok(());
            }
        }
        peer.write(&requests.work)?;
        for _ in 0..requests.works {
            let done = peer.answer(&mut answers)?;
            answers.done.push(done);
        }
        Ok(())
    });
    answers.broken = done.err();
    answers
}

/// A connection to another server.
struct Peer<'a> {
    stream: TcpStream,
    /// When something was last received.
    last_contact: &'a mut Instant,
    timeout: Duration,
    /// The time by which everything must be done.
    end: Option<Instant>,
    /// The bytes that were read; the first `used` of them have been handled.
    read: Vec<u8>,
    used: usize,
}

impl<'a> Peer<'a> {
    fn connect(target: &Target<'_>, last_contact: &'a mut Instant) -> Result<Peer<'a>, PeerError> {
        let addresses = (target.host, target.port).to_socket_addrs();
        let address = addresses.ok().and_then(|mut all| all.next()).ok_or(PeerError::Connecting)?;
        let timeout = target.timeout.min(target.limit).min(WAIT_MAX);
        let end = Instant::now().checked_add(target.limit);
        let stream = TcpStream::connect_timeout(&address, timeout).map_err(|error| {
            match error.kind() {
                ErrorKind::TimedOut | ErrorKind::WouldBlock => PeerError::Connecting,
                // Redis connects in the background, and notices this when it writes.
                _ => PeerError::Writing,
            }
        })?;
        stream.set_nodelay(true).map_err(|_| PeerError::Connecting)?;
        Ok(Peer { stream, last_contact, timeout, end, read: Vec::new(), used: 0 })
    }

    /// The time by which an operation that begins now must be done.
    fn deadline(&self) -> Instant {
        let timeout = Instant::now() + self.timeout;
        self.end.map_or(timeout, |end| end.min(timeout))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PeerError> {
        for piece in bytes.chunks(PIECE) {
            let deadline = self.deadline();
            let mut rest = piece;
            while !rest.is_empty() {
                let wait = left(deadline).ok_or(PeerError::Writing)?;
                let ready = self.stream.set_write_timeout(Some(wait));
                let written = match ready.and_then(|()| self.stream.write(rest)) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Ok(0) | Err(_) => return Err(PeerError::Writing),
                    Ok(written) => written,
                };
                rest = &rest[written..];
            }
        }
        Ok(())
    }

    /// Waits for a reply, and returns whether it is `+OK`. Records the first error.
    fn answer(&mut self, answers: &mut Answers) -> Result<bool, PeerError> {
        let line = self.line().ok_or(PeerError::Reading)?;
        match line.split_first() {
            Some((b'+', b"OK")) => Ok(true),
            Some((b'-', text)) => {
                let text = || String::from_utf8_lossy(text).into_owned();
                answers.refusal.get_or_insert_with(text);
                Ok(false)
            }
            // The other end does not use RESP, so nothing that it sends can be relied upon.
            _ => Err(PeerError::Reading),
        }
    }

    /// The next line without its end. `None` if the connection ended, no line came in time, or it
    /// is too long.
    fn line(&mut self) -> Option<Vec<u8>> {
        let deadline = self.deadline();
        loop {
            let unused = &self.read[self.used..];
            if let Some(len) = unused.windows(2).position(|end| end == b"\r\n") {
                let line = unused[..len].to_vec();
                self.used += len + 2;
                return Some(line);
            }
            if unused.len() > LINE_MAX {
                return None;
            }
            self.read.drain(..self.used);
            self.used = 0;
            self.receive(deadline)?;
        }
    }

    fn receive(&mut self, deadline: Instant) -> Option<()> {
        let mut buffer = [0; 4096];
        self.stream.set_read_timeout(Some(left(deadline)?)).ok()?;
        match self.stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Some(()),
            Ok(0) | Err(_) => None,
            Ok(count) => {
                self.read.extend_from_slice(&buffer[..count]);
                *self.last_contact = Instant::now();
                Some(())
            }
        }
    }
}

/// The time until `deadline`; `None` if it has passed. Never zero, which would mean for ever.
fn left(deadline: Instant) -> Option<Duration> {
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

/// The errands of blocked clients, and the threads that run them.
#[derive(Default)]
pub(super) struct Errands(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Box<Errand>>,
    threads: usize,
}

impl Errands {
    /// Runs an errand on another thread, which then reports its end to the engine. An errand to a
    /// server that did not answer lately ends at once. Returns the errand if there is no thread and
    /// none can be started.
    pub fn run(
        self: &Arc<Self>,
        errand: Box<Errand>,
        engine: &Arc<Engine>,
        clock: Clock,
    ) -> Result<(), Box<Errand>> {
        let (target, now) = (name(&errand.host, errand.port), clock.now());
        if engine.peers.breakers.refuses(Kind::Migrate, &target, now) {
            engine.end_errand(*errand, &Answers::none(PeerError::Silent), now);
            return Ok(());
        }
        let mut queue = self.0.lock();
        queue.waiting.push_back(errand);
        if queue.threads < THREADS_MAX {
            let (errands, engine) = (self.clone(), Arc::downgrade(engine));
            let work = move || errands.work(&engine, clock);
            match std::thread::Builder::new().name("migrate".into()).spawn(work) {
                Ok(_) => queue.threads += 1,
                Err(error) => {
                    tracing::warn!(%error, "no thread for MIGRATE");
                    if queue.threads == 0 {
                        return queue.waiting.pop_back().map_or(Ok(()), Err);
                    }
                }
            }
        }
        Ok(())
    }

    /// Runs errands on this thread, until there is none.
    fn work(&self, engine: &Weak<Engine>, clock: Clock) {
        while let Some(errand) = self.next() {
            // It does not keep the engine, whose server may end meanwhile.
            let Some(breakers) = engine.upgrade().map(|engine| engine.peers.breakers.clone())
            else {
                continue;
            };
            let answers = exchange(&breakers, clock, &errand.target(), errand.requests());
            if let Some(engine) = engine.upgrade() {
                engine.end_errand(*errand, &answers, clock.now());
            }
        }
    }

    /// The next errand for a thread, which ends if there is none.
    fn next(&self) -> Option<Box<Errand>> {
        let mut queue = self.0.lock();
        let next = queue.waiting.pop_front();
        queue.threads -= usize::from(next.is_none());
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::peers::breaker::State;
    use runtime::Now;
    use std::net::TcpListener;
    use std::thread;
    use storage::testing::{free_port, until};

    fn target(port: u16) -> Target<'static> {
        let timeout = Duration::from_millis(200);
        Target { host: "127.0.0.1", port, timeout, limit: Duration::from_millis(600) }
    }

    fn requests(works: usize) -> Requests {
        let (greeting, work) = (b"x\r\n".to_vec(), b"y\r\n".repeat(works));
        Requests { greeting, greetings: 1, work, works }
    }

    /// A server that answers each read with the next of `replies`, and then waits until the other
    /// side closes the connection.
    fn server(replies: &'static [&'static [u8]]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for reply in replies {
                let _ = stream.read(&mut [0; 100]);
                stream.write_all(reply).unwrap();
            }
            while stream.read(&mut [0; 100]).is_ok_and(|count| count > 0) {}
        });
        port
    }

    fn ask(target: &Target<'_>, requests: &Requests) -> Answers {
        converse(target, requests, &mut Instant::now())
    }

    #[test]
    fn answers_come_back() {
        let answers = ask(&target(server(&[b"+OK\r\n", b"+OK\r\n-BUSYKEY no\r\n"])), &requests(2));
        let refusal = Some("BUSYKEY no".to_owned());
        assert_eq!(answers, Answers { done: vec![true, false], refusal, broken: None });
    }

    #[test]
    fn who_is_refused_sends_nothing_more() {
        let answers = ask(&target(server(&[b"-NOAUTH who?\r\n", b"+OK\r\n"])), &requests(1));
        assert_eq!((answers.done, answers.broken), (vec![], None));
        assert_eq!(answers.refusal.as_deref(), Some("NOAUTH who?"));
    }

    #[test]
    fn what_is_no_answer_counts_for_nothing() {
        let long: &'static [u8] = Box::leak(vec![b'+'; 10_000].into_boxed_slice());
        let silence: [&'static [&'static [u8]]; 6] = [
            &[b"+OK\r\n"],
            &[b"+OK\r\n", b"+O"],
            &[b"+OK\r\n", b"HTTP/1.1 400 Bad Request\r\n"],
            &[b"+OK\r\n", b"$2\r\nOK\r\n"],
            &[b"220 smtp\r\n", b"+OK\r\n"],
            Box::leak(Box::new([&b"+OK\r\n"[..], long])),
        ];
        for replies in silence {
            let answers = ask(&target(server(replies)), &requests(1));
            assert_eq!(answers, Answers::none(PeerError::Reading));
        }
    }

    #[test]
    fn nobody_there_is_told() {
        let port = free_port();
        assert_eq!(ask(&target(port), &requests(1)).broken, Some(PeerError::Writing));
        let nowhere = Target { host: "host.invalid", ..target(1) };
        assert_eq!(ask(&nowhere, &requests(1)).broken, Some(PeerError::Connecting));
    }

    /// Asks a target as a client with this timeout in milliseconds.
    fn wait(breakers: &Breakers, clock: Clock, port: u16, ms: u64) -> Option<PeerError> {
        let timeout = Duration::from_millis(ms);
        let target = Target { timeout, limit: timeout * 3, ..target(port) };
        exchange(breakers, clock, &target, &requests(1)).broken
    }

    #[test]
    fn who_is_silent_is_left_alone_and_who_refuses_is_not() {
        let (breakers, clock) = (Breakers::default(), Clock::new());
        let ask = |port| wait(&breakers, clock, port, 1_000);
        let port = server(&[]);
        assert_eq!(ask(port), Some(PeerError::Reading));
        assert_eq!(ask(port), Some(PeerError::Silent));
        let closed = free_port();
        assert_eq!([ask(closed), ask(closed)], [Some(PeerError::Writing); 2]);
    }

    #[test]
    fn little_patience_shows_nothing_and_is_no_probe() {
        let (breakers, clock) = (Breakers::default(), Clock::new());
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let breaker = || breakers.state(Kind::Migrate, &name("127.0.0.1", port));
        assert!(wait(&breakers, clock, port, 100).is_some_and(|why| why != PeerError::Silent));
        assert_eq!(breaker(), State::Closed);
        breakers.failed(Kind::Migrate, &name("127.0.0.1", port), Now::default());
        let opened = breaker();
        until("it has rested", || opened.wait(clock.now().mono_us).is_zero());
        assert!(wait(&breakers, clock, port, 1).is_some_and(|why| why != PeerError::Silent));
        assert_eq!(breaker(), opened, "the client with a millisecond has proved nothing");
    }

    #[test]
    fn a_probe_that_is_refused_closes_the_breaker() {
        let (breakers, clock, port) = (Breakers::default(), Clock::new(), free_port());
        let breaker = || breakers.state(Kind::Migrate, &name("127.0.0.1", port));
        breakers.failed(Kind::Migrate, &name("127.0.0.1", port), Now::default());
        until("it has rested", || breaker().wait(clock.now().mono_us).is_zero());
        assert_eq!(wait(&breakers, clock, port, 20_000), Some(PeerError::Writing));
        assert_eq!(breaker(), State::Closed);
    }
}
