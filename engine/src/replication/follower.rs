//! [`Follower`]: a session that is sent all data, and then the stream.

use super::Replication;
use crate::clients::{Client, ClientFlags};
use crate::config::OutputBufferLimit;
use bytes::Bytes;
use parking_lot::Mutex;
use replication::{Ack, Acks};
use resp::Output;
use runtime::Peer;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The number of bytes that are moved to a session's output before its peer has read the previous
/// ones.
const WINDOW: usize = 256 << 10;

/// The phase of a replica's synchronization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for a synchronization to begin.
    Waiting,
    /// It is being sent all data.
    Receiving,
    /// It has been sent all data, and is to say that it is ready for the stream.
    Unready,
    /// It is sent the stream.
    Online,
}

/// A replica's description of itself, before it asks to follow (`REPLCONF`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// The port it serves.
    pub port: u16,
    /// The address it wants to be shown with.
    pub ip: String,
    /// It finds the end of a file by a mark (`capa eof`).
    pub eof: bool,
    /// It understands a change of the history's name (`capa psync2`).
    pub psync2: bool,
    /// It wants the file and nothing else.
    pub rdb_only: bool,
    /// The part of the data that it wants.
    pub wanted: Wanted,
}

/// The part of the data that a replica wants (`REPLCONF rdb-filter-only`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    #[default]
    Everything,
    /// Function libraries.
    Functions,
    /// Nothing: the stream alone.
    Nothing,
}

/// The outcome of moving bytes to a replica's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fed {
    /// Everything was moved.
    All,
    /// More waits than fits.
    More,
    /// It has all it wanted, and the session ends.
    Over,
    /// It is too far behind.
    Lost,
}

/// A connected replica.
pub struct Follower {
    /// Its connection.
    pub client: Arc<Client>,
    /// Its description of itself.
    pub announced: Announced,
    /// Whether it began with `SYNC`: it is told no history, and does not acknowledge.
    pub is_legacy: bool,
    woken: AtomicBool,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    queue: VecDeque<Bytes>,
    queued: usize,
    /// The position that it is sent next, from the cut of its file on.
    position: Option<u64>,
    /// The file is complete in `queue`.
    is_file_whole: bool,
    ack: Ack,
    /// Since when more waits for it than the soft limit allows, Unix milliseconds.
    over_soft_since_ms: Option<u64>,
}

impl Follower {
    pub(super) fn new(
        client: Arc<Client>,
        announced: Announced,
        is_legacy: bool,
        now_ms: u64,
    ) -> Self {
        let state = State {
            phase: Phase::Waiting,
            queue: VecDeque::new(),
            queued: 0,
            position: None,
            is_file_whole: false,
            ack: Ack { at_ms: now_ms, ..Ack::default() },
            over_soft_since_ms: None,
        };
        let woken = AtomicBool::new(false);
        Follower { client, announced, is_legacy, woken, state: Mutex::new(state) }
    }

    /// The phase of its synchronization.
    pub fn phase(&self) -> Phase {
        self.state.lock().phase
    }

    /// The position that it acknowledged last, and when.
    pub fn ack(&self) -> Ack {
        self.state.lock().ack
    }

    /// Makes its session check for new bytes.
    pub fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.client.waker().wake_by_ref();
        }
    }

    /// The position that it is still to read from.
    pub(super) fn needs(&self) -> Option<u64> {
        self.state.lock().position
    }

    /// Bytes that wait for it, of its file.
    pub fn queued(&self) -> usize {
        self.state.lock().queued
    }

    /// Whether it is still there, and being sent its file.
    pub fn is_receiving(&self) -> bool {
        !self.client.is_killed() && self.phase() == Phase::Receiving
    }

    /// Begins to send its file, whose cut is at `position`.
    pub fn begin(&self, position: u64, head: Bytes) {
        let mut state = self.state.lock();
        state.phase = Phase::Receiving;
        state.position = Some(position);
        drop(state);
        self.send(head);
    }

    /// Sends bytes of the file, or signs of life before it.
    pub fn send(&self, bytes: Bytes) {
        let mut state = self.state.lock();
        state.queued += bytes.len();
        state.queue.push_back(bytes);
        drop(state);
        self.wake();
    }

    /// The file is complete. With `wait`, the stream begins when the replica says that it is ready.
    pub fn finish(&self, wait: bool, now_ms: u64) {
        let mut state = self.state.lock();
        state.is_file_whole = true;
        state.ack.at_ms = now_ms;
        state.phase = if wait { Phase::Unready } else { Phase::Online };
        drop(state);
        self.wake();
    }

    /// Its address: the announced one, or that of its connection.
    pub fn ip(&self) -> String {
        match &self.client.peer {
            _ if !self.announced.ip.is_empty() => self.announced.ip.clone(),
            Peer::Tcp { remote, .. } => remote.ip().to_canonical().to_string(),
            Peer::Unix(_) => "127.0.0.1".into(),
        }
    }

    /// It has all data up to `position`: it is sent the stream from there.
    pub(super) fn go_on(&self, position: u64) {
        let mut state = self.state.lock();
        (state.phase, state.position) = (Phase::Online, Some(position));
        state.ack.position = position;
    }

    pub(super) fn acknowledge(&self, position: u64, durable: Option<u64>, now_ms: u64) {
        let mut state = self.state.lock();
        let ack = &mut state.ack;
        ack.position = ack.position.max(position);
        ack.durable = durable.map_or(ack.durable, |durable| durable.max(ack.durable));
        ack.at_ms = now_ms;
        if state.phase == Phase::Unready {
            state.phase = Phase::Online;
        }
    }

    /// Moves what fits to the session's output.
    pub(super) fn pump(&self, replication: &Replication, out: &mut Output) -> Fed {
        self.woken.store(false, Ordering::Release);
        let mut state = self.state.lock();
        while out.len() < WINDOW
            && let Some(bytes) = state.queue.pop_front()
        {
            state.queued -= bytes.len();
            out.share(bytes);
        }
        if !state.queue.is_empty() || out.len() >= WINDOW {
            return Fed::More;
        }
        if state.is_file_whole && self.announced.rdb_only {
            return Fed::Over;
        }
        let Some(position) = state.position.filter(|_| state.phase == Phase::Online) else {
            return Fed::All;
        };
        let room = WINDOW - out.len();
        let Some(read) = replication.out.read(position, room, out.tail()) else {
            return Fed::Lost;
        };
        state.position = Some(position + read as u64);
        if read == room { Fed::More } else { Fed::All }
    }

    /// Shows that we are alive while it waits, unless it has not even read that we were.
    pub(super) fn send_sign_of_life(&self) {
        if self.queued() == 0 {
            self.send(Bytes::from_static(b"\n"));
        }
    }

    /// Whether this much has been waiting for it for longer than the soft limit permits.
    pub(super) fn is_over_soft(&self, behind: u64, limit: OutputBufferLimit, now_ms: u64) -> bool {
        let since = &mut self.state.lock().over_soft_since_ms;
        if limit.soft_bytes == 0 || behind < limit.soft_bytes {
            *since = None;
            return false;
        }
        now_ms.saturating_sub(*since.get_or_insert(now_ms)) / 1000 > limit.soft_seconds
    }

    /// Bytes of the stream that it has not been sent, from its position to `end`.
    pub(super) fn behind(&self, end: u64) -> u64 {
        self.needs().map_or(0, |position| end.saturating_sub(position))
    }

    /// The name of its phase in `INFO`.
    pub fn state_name(&self) -> &'static str {
        match self.phase() {
            Phase::Waiting => "wait_bgsave",
            Phase::Receiving | Phase::Unready => "send_bulk",
            Phase::Online => "online",
        }
    }
}

impl Replication {
    /// The last acknowledgements of all replicas that are sent the stream.
    pub fn acks(&self) -> Acks {
        let followers = self.followers.read();
        let online = followers.iter().filter(|follower| follower.phase() == Phase::Online);
        Acks(online.map(|follower| follower.ack()).collect())
    }

    /// Begins to send a file, cut at `position`, to some of the replicas. To be called under every lock.
    pub fn begin_file(
        &self,
        followers: &[Arc<Follower>],
        position: u64,
        head: impl Fn(&Follower) -> Bytes,
    ) {
        followers.iter().for_each(|follower| follower.begin(position, head(follower)));
        self.update_needed();
    }

    pub(super) fn add(&self, follower: &Arc<Follower>) {
        follower.client.set_flag(ClientFlags::REPLICA, true);
        self.followers.write().push(follower.clone());
        self.update_needed();
    }
}
