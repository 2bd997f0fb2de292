//! Following a master: connect, introduce ourselves, take all data if need be, apply the stream; again
//! when the connection breaks.

use super::connection::{Connection, Speech};
use super::{Replicator, receive};
use engine::Engine;
use engine::clients::{Client, ClientFlags};
use engine::config::Id;
use engine::peers::breakers::Kind;
use engine::replication::wire::{self, Handshake, Login, Presence, Resume, Step, Stream, command};
use engine::replication::{Applier, Link};
use runtime::{Clock, Now, Peer};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};
use storage::Db;

/// The interval at which our position is reported to the master.
const ACK_EVERY: Duration = Duration::from_secs(1);
/// The shortest rest between two attempts to connect. After some failures the master's breaker has
/// longer ones.
const REST: Duration = Duration::from_millis(20);

/// The state of one connection to a master.
pub(super) struct Following<'p> {
    pub replicator: &'p Replicator,
    pub engine: Arc<Engine>,
    pub generation: u64,
    clock: Clock,
    /// The name of the master's breaker.
    master: &'p str,
}

/// Follows a master until another one is to be followed, or the server ends.
pub(super) fn follow(replicator: &Replicator, host: &str, port: u16, generation: u64) {
    let (master, clock) = (format!("{host}:{port}"), replicator.persistence.clock);
    while let Some(engine) = replicator.engine() {
        let following = Following { replicator, engine, generation, clock, master: &master };
        let reason = following.once_admitted(host, port);
        if following.is_over() {
            return following.engine.peers.breakers.forget(Kind::Master, &master);
        }
        let Err(reason) = reason else { continue };
        following.set(Link::Down);
        tracing::warn!(host, port, "following the master: {reason}");
        following.engine.peers.breakers.failed(Kind::Master, &master, following.now());
        following.rest(REST);
    }
}

impl Following<'_> {
    /// Whether this master is not followed any more.
    pub fn is_over(&self) -> bool {
        let replication = &self.engine.replication;
        replication.generation() != self.generation || self.replicator.is_stopped()
    }

    pub fn now(&self) -> Now {
        self.clock.now()
    }

    pub fn set(&self, link: Link) {
        self.engine.set_link(self.generation, link, self.now().wall_ms);
    }

    fn rest(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.is_over() {
            std::thread::sleep(Duration::from_millis(20).min(time));
        }
    }

    /// Nothing if it goes on, the reason to stop otherwise.
    pub fn check(&self) -> Result<(), String> {
        match self.is_over() {
            true => Err("another master is followed".into()),
            false => Ok(()),
        }
    }

    /// How to connect: with TLS, if `tls-replication` is set.
    fn speech(&self) -> Result<Speech, String> {
        if !self.engine.config.boolean(Id::TlsReplication) {
            return Ok(Speech::default());
        }
        #[cfg(feature = "tls")]
        if let Some(config) = self.replicator.encryption.client() {
            return Ok(Speech { encrypted: Some(config) });
        }
        Err("tls-replication: there is nothing to make a TLS connection by".into())
    }

    /// One connection, to its end, once the master's breaker admits one; or nothing, if it is over
    /// before.
    fn once_admitted(&self, host: &str, port: u16) -> Result<(), String> {
        let breakers = &self.engine.peers.breakers;
        self.rest(breakers.wait(Kind::Master, self.master, self.now()));
        match !self.is_over() && breakers.admit(Kind::Master, self.master, self.now()) {
            true => self.once(host, port).map(|never| match never {}),
            false => Ok(()),
        }
    }

    /// One connection, to its end.
    fn once(&self, host: &str, port: u16) -> Result<std::convert::Infallible, String> {
        let timeout_s = self.engine.config.integer(Id::ReplTimeout).unsigned_abs();
        self.set(Link::Connecting);
        let (timeout, speech) = (Duration::from_secs(timeout_s), self.speech()?);
        let mut connection = Connection::open((host, port), timeout, &speech, &|| self.is_over())
            .map_err(|error| format!("connecting: {error}"))?;
        self.set(Link::Handshake);
        let resume = self.engine.replication.resume();
        let asked = resume.map_or(wire::Id::NONE, |resume| resume.id);
        let began = self.introduce(&mut connection, resume)?;
        match began {
            Step::Full { id, position } => {
                tracing::info!(host, port, %id, position, "full synchronization with the master");
                self.engine.handed_over(self.generation, true);
                receive::everything(self, &mut connection, id, position)?;
            }
            Step::Continue(id) => {
                let position = self.engine.replication.out.end();
                tracing::info!(host, port, position, "partial synchronization with the master");
                self.engine.handed_over(self.generation, true);
                self.engine.go_on(asked, id);
            }
            Step::Send(_) | Step::Read | Step::Refused(_) => return Err("no answer".into()),
        }
        self.stream(&mut connection)
    }

    fn introduce(
        &self,
        connection: &mut Connection,
        resume: Option<Resume>,
    ) -> Result<Step, String> {
        let config = &self.engine.config;
        let text = |id| config.text(id).to_string();
        let login = Login { user: text(Id::Masteruser), password: text(Id::Masterauth) };
        let announced = config.integer(Id::ReplicaAnnouncePort) as u16;
        let config = &self.engine.config;
        let own = match (config.boolean(Id::TlsReplication), config.integer(Id::TlsPort) as u16) {
            (true, port @ 1..) => port,
            _ => self.replicator.port,
        };
        let port = if announced != 0 { announced } else { own };
        let presence = Presence { port, ip: text(Id::ReplicaAnnounceIp) };
        let (mut talk, first) = Handshake::new(login, presence, resume);
        if self.engine.is_handing_over(self.generation) {
            talk = talk.take_over();
        }
        let told = |error: std::io::Error| error.to_string();
        connection.send(&first).map_err(told)?;
        loop {
            let Some(line) = connection.line().map_err(told)? else {
                self.check()?;
                connection.fill().map_err(told)?;
                continue;
            };
            match talk.line(&line) {
                Step::Send(bytes) => connection.send(&bytes).map_err(told)?,
                Step::Read => {}
                Step::Refused(text) => {
                    self.engine.handed_over(self.generation, false);
                    return Err(text);
                }
                step @ (Step::Full { .. } | Step::Continue(_)) => return Ok(step),
            }
        }
    }

    /// Applies the stream until the connection breaks.
    fn stream(&self, connection: &mut Connection) -> Result<std::convert::Infallible, String> {
        let client = self.introduce_client(connection)?;
        let outcome = self.apply(connection, &client);
        self.engine.clients.remove(client.id);
        outcome
    }

    /// The connection as `CLIENT LIST` shows it.
    fn introduce_client(&self, connection: &Connection) -> Result<Arc<Client>, String> {
        let (remote, local) = connection.addresses().map_err(|error| error.to_string())?;
        let peer = Peer::Tcp { remote, local };
        let client = self.engine.clients.add(peer, Waker::noop().clone(), self.now().wall_ms);
        client.set_flag(ClientFlags::MASTER, true);
        Ok(client)
    }

    fn apply(
        &self,
        connection: &mut Connection,
        client: &Arc<Client>,
    ) -> Result<std::convert::Infallible, String> {
        let db: Db = self.engine.replication.out.cut(false).db;
        let mut stream = Stream::new(db);
        let mut applier = Applier::new(&self.engine, self.generation, client.clone());
        self.set(Link::Up);
        let (mut durable, mut acknowledged) = (0, Instant::now());
        self.acknowledge(connection, durable)?;
        loop {
            let wants_ack = self.take(connection, &mut stream, &mut applier)?;
            if acknowledged.elapsed() >= ACK_EVERY {
                durable = self.make_durable(durable);
                self.acknowledge(connection, durable)?;
                acknowledged = Instant::now();
                self.engine.peers.breakers.succeeded(Kind::Master, self.master, self.now());
            } else if wants_ack {
                self.acknowledge(connection, durable)?;
            }
            self.check()?;
            if client.is_killed() {
                return Err("the connection was killed".into());
            }
            let came = connection.fill().map_err(|error| error.to_string())?;
            if came && !self.engine.note_master_contact(self.generation, self.now().wall_ms, None) {
                self.check()?;
            }
        }
    }

    /// Applies received bytes. Returns whether the master asks for our position.
    fn take(
        &self,
        connection: &mut Connection,
        stream: &mut Stream,
        applier: &mut Applier<'_>,
    ) -> Result<bool, String> {
        if connection.bytes().is_empty() {
            return Ok(false);
        }
        let (now, mut wants_ack, mut outcome) = (self.now(), false, Ok(true));
        let taken = stream.take(connection.bytes(), |unit| {
            if matches!(outcome, Ok(true)) {
                outcome = applier.apply(&unit, now);
            }
            wants_ack |= unit.wants_ack;
        });
        applier.flush();
        let count = connection.bytes().len();
        connection.used(count);
        outcome?;
        taken.map_err(|error| error.to_string())?;
        Ok(wants_ack)
    }

    /// If something was applied since `before`, syncs the log, if there is one. Returns the
    /// position up to which everything is on disk.
    fn make_durable(&self, before: u64) -> u64 {
        let position = self.engine.replication.out.end();
        let synced = position > before
            && self.engine.logging_journal().is_some_and(|journal| journal.sync().is_ok());
        if synced { position } else { before }
    }

    /// Reports our position to the master, and the part of it that is on disk (`WAITAOF`).
    fn acknowledge(&self, connection: &Connection, durable: u64) -> Result<(), String> {
        let (position, mut bytes) = (self.engine.replication.out.end().to_string(), Vec::new());
        let durable = durable.to_string();
        let words: [&[u8]; 5] =
            [b"REPLCONF", b"ACK", position.as_bytes(), b"FACK", durable.as_bytes()];
        let logs = self.engine.is_logging();
        command(&words[..if logs { 5 } else { 3 }], &mut bytes);
        connection.send(&bytes).map_err(|error| error.to_string())
    }
}
