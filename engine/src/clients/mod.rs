//! [`Client`]: the part of a session that other threads may see, and the registry of all of them;
//! holding all of them back ([`pause`]), closing those that use too
//! much memory (`eviction`), and peers that are no clients ([`cross_protocol`]).

pub mod cross_protocol;
mod describe;
pub(crate) mod eviction;
mod load;
pub mod overload;
pub mod pause;
pub mod rate_limits;
pub mod unauthenticated;

pub use describe::{describe, local_address};

use crate::acl::Account;
use crate::command::CommandId;
use crate::notify::tracking::Notice;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use resp::{Output, Proto, Reply};
use runtime::Peer;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
use std::task::Waker;
use storage::Position;

use bytes::Bytes;
use cross_protocol::CrossProtocol;
use eviction::ClientEviction;
use overload::{Overload, Probe};
use pause::Pause;
use rate_limits::RateLimits;
use unauthenticated::Unauthenticated;

/// A message on its way to a subscriber.
#[derive(Clone, Debug)]
pub struct Message {
    /// `message`, `pmessage`, `smessage`.
    pub kind: &'static str,
    /// The pattern that matched, for `pmessage`.
    pub pattern: Option<Bytes>,
    /// The channel.
    pub channel: Bytes,
    /// The message's bytes.
    pub payload: Bytes,
}

impl Message {
    /// Writes the message as the protocol shows it.
    pub fn write(&self, reply: &mut Reply<'_>) {
        reply.push(3 + usize::from(self.pattern.is_some()));
        reply.bulk(self.kind.as_bytes());
        if let Some(pattern) = &self.pattern {
            reply.bulk(pattern);
        }
        reply.bulk(&self.channel);
        reply.bulk_shared(self.payload.clone());
    }

    /// Bytes it keeps alive, roughly.
    fn size(&self) -> usize {
        64 + self.channel.len() + self.payload.len()
    }
}

/// Something that reaches a session from outside.
#[derive(Debug)]
pub enum Event {
    /// A published message.
    Message(Message),
    /// The reply to a blocking command that was served by another client's write.
    Served {
        /// The reply.
        reply: Output,
        /// The journal position it depends on.
        position: Option<Position>,
    },
    /// The wait was ended: with an error, or as if the time were over.
    Unblocked {
        /// The error to reply with.
        error: Option<&'static str>,
    },
    /// Bytes to send as they are (`MONITOR` lines), unless the client wants no replies.
    Raw(Bytes),
    /// Bytes to send unchanged, even if the client's replies are off.
    Push(Bytes),
    /// A notice about the client's cache.
    Cache(Notice),
    /// Records of `CAPTURE` wait for the client.
    Captured,
    /// The shard channels are served elsewhere now, so nobody is subscribed to them here.
    Ousted,
    /// Keys for which the client waits may be served elsewhere now.
    Rerouted,
    /// The permissions of the client's user have changed.
    UserChanged,
    /// Look again: a pause ended, a journal position became durable.
    Poke,
    /// The session is to report how long it waits for its next turn.
    Probe(Arc<Probe>),
}

bitflags::bitflags! {
    /// The states of a client that other threads see: those of `CLIENT LIST`'s `flags=`, and a few more.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ClientFlags: u32 {
        /// In `MULTI`.
        const MULTI = 1;
        /// Parked by a blocking command.
        const BLOCKED = 1 << 1;
        /// Subscribed to something.
        const PUBSUB = 1 << 2;
        /// `CLIENT NO-EVICT on`.
        const NO_EVICT = 1 << 3;
        /// `CLIENT NO-TOUCH on`.
        const NO_TOUCH = 1 << 4;
        /// `MONITOR`.
        const MONITOR = 1 << 5;
        /// Connected through a Unix-domain socket.
        const UNIX = 1 << 6;
        /// Closing once its output is written.
        const CLOSING = 1 << 7;
        /// `CLIENT TRACKING on`.
        const TRACKING = 1 << 8;
        /// `CLIENT TRACKING on … BCAST`.
        const BROADCAST = 1 << 9;
        /// The client to which this one's cache notices are redirected is gone.
        const UNREACHABLE = 1 << 10;
        /// A replica of ours.
        const REPLICA = 1 << 14;
        /// The master that we follow.
        const MASTER = 1 << 15;
        /// Notices about its cache were left out, so it must be told that all keys have changed.
        const OUT_OF_TOUCH = 1 << 11;
        /// A request of its is held back by `CLIENT PAUSE`.
        const PAUSED = 1 << 12;
        /// Parked by a blocking command that ends at some time.
        const TIMED = 1 << 13;
    }
}

/// No command yet, in [`Client::last_command`].
pub const NO_COMMAND: u32 = u32::MAX;

/// Bytes that may wait for a client before notices about its cache are left out.
const NOTICES_MAX: usize = 16 << 20;

/// The reason why a session that could go on is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// `CLIENT KILL`, `maxmemory-clients`, a user that is gone.
    Killed = 1,
    /// Too much waits for it to be read.
    Overflow = 2,
}

/// A session as others see it. Numbers are kept with relaxed stores by the session itself.
#[derive(Debug)]
pub struct Client {
    /// Unique, growing.
    pub id: u64,
    /// The other end.
    pub peer: Peer,
    /// The time at which it connected, in Unix milliseconds.
    pub created_ms: u64,
    /// Names it gave itself, and its user.
    pub names: Mutex<BoxedNames>,
    /// Bits of [`ClientFlags`].
    flags: AtomicU32,
    /// Current database.
    pub db: AtomicU32,
    /// RESP version.
    pub resp: AtomicU8,
    /// The last command's number, or [`NO_COMMAND`].
    pub last_command: AtomicU32,
    /// Unix milliseconds of the last request.
    pub last_seen_ms: AtomicU64,
    /// Requests executed.
    pub commands: AtomicU64,
    /// Channels, patterns and shard channels subscribed to.
    pub subscriptions: [AtomicU32; 3],
    /// Commands queued in `MULTI`.
    pub queued: AtomicU32,
    /// Keys watched.
    pub watched: AtomicU32,
    /// Bytes of input not yet executed.
    pub input_bytes: AtomicUsize,
    /// Bytes of output not yet written.
    pub output_bytes: AtomicUsize,
    /// Bytes of it that a filter (TLS) holds, in either direction.
    pub outside_bytes: AtomicUsize,
    /// Bytes of the latest replies.
    pub reply_bytes: AtomicU32,
    /// Bytes of arguments: of the command that runs or waits, or of half a request.
    pub argument_bytes: AtomicU32,
    /// Bytes queued in `MULTI`.
    pub queued_bytes: AtomicU32,
    watch_failed: AtomicBool,
    /// An [`Ending`], or 0.
    ending: AtomicU8,
    waker: Waker,
    inbox: Mutex<Inbox>,
    has_events: AtomicBool,
}

/// The texts of a client, allocated once one of them is given: most clients never say a word about
/// themselves.
#[derive(Clone, Debug, Default)]
pub struct BoxedNames(Option<Box<Names>>);

/// The names of all clients that have given none.
static UNNAMED: LazyLock<Names> = LazyLock::new(Names::default);

impl Deref for BoxedNames {
    type Target = Names;

    fn deref(&self) -> &Names {
        self.0.as_deref().unwrap_or(&UNNAMED)
    }
}

impl DerefMut for BoxedNames {
    fn deref_mut(&mut self) -> &mut Names {
        self.0.get_or_insert_default()
    }
}

/// The texts of a client.
#[derive(Clone, Debug)]
pub struct Names {
    /// `CLIENT SETNAME`.
    pub name: String,
    /// `CLIENT SETINFO LIB-NAME`.
    pub lib_name: String,
    /// `CLIENT SETINFO LIB-VER`.
    pub lib_version: String,
    /// The authenticated user.
    pub user: String,
    /// The user's account; `None` for the default user.
    pub account: Option<Arc<Account>>,
}

impl Default for Names {
    fn default() -> Self {
        Names {
            name: String::new(),
            lib_name: String::new(),
            lib_version: String::new(),
            user: "default".into(),
            account: None,
        }
    }
}

#[derive(Debug, Default)]
struct Inbox {
    events: Vec<Event>,
    bytes: usize,
}

impl Client {
    pub(crate) fn new(id: u64, peer: Peer, waker: Waker, now_ms: u64) -> Self {
        let is_unix = matches!(peer, Peer::Unix(_));
        let unix = if is_unix { ClientFlags::UNIX } else { ClientFlags::empty() };
        Client {
            id,
            peer,
            created_ms: now_ms,
            names: Mutex::default(),
            flags: AtomicU32::new(unix.bits()),
            db: AtomicU32::new(0),
            resp: AtomicU8::new(2),
            last_command: AtomicU32::new(NO_COMMAND),
            last_seen_ms: AtomicU64::new(now_ms),
            commands: AtomicU64::new(0),
            subscriptions: Default::default(),
            queued: AtomicU32::new(0),
            watched: AtomicU32::new(0),
            input_bytes: AtomicUsize::new(0),
            output_bytes: AtomicUsize::new(0),
            outside_bytes: AtomicUsize::new(0),
            reply_bytes: AtomicU32::new(0),
            argument_bytes: AtomicU32::new(0),
            queued_bytes: AtomicU32::new(0),
            watch_failed: AtomicBool::new(false),
            ending: AtomicU8::new(0),
            waker,
            inbox: Mutex::default(),
            has_events: AtomicBool::new(false),
        }
    }

    /// Puts an event in the inbox and wakes the session. When what waits there exceeds
    /// `limit_bytes` (the output limit of the client's class; 0: none) the client is killed: it
    /// reads too slowly.
    pub fn send(&self, event: Event, limit_bytes: usize) {
        let size = match &event {
            Event::Message(message) => message.size(),
            Event::Raw(bytes) | Event::Push(bytes) => bytes.len(),
            Event::Cache(notice) => notice.size(),
            _ => 0,
        };
        let mut inbox = self.inbox.lock();
        inbox.bytes += size;
        if limit_bytes > 0 && inbox.bytes + self.unwritten_bytes() > limit_bytes {
            self.ending.store(Ending::Overflow as u8, Ordering::SeqCst);
        } else {
            inbox.events.push(event);
        }
        self.has_events.store(true, Ordering::Release);
        drop(inbox);
        self.waker.wake_by_ref();
    }

    /// [`Client::send`] for what concerns a cache. When too much waits already, this notice and all
    /// that follow become one: everything has changed.
    pub(crate) fn send_notice(&self, notice: Notice) {
        if self.waiting_bytes() <= NOTICES_MAX {
            return self.send(Event::Cache(notice), 0);
        }
        self.set_flag(ClientFlags::OUT_OF_TOUCH, true);
        self.waker.wake_by_ref();
    }

    /// Bytes of output that wait for the other end: in the session, and on their way to it.
    pub fn waiting_bytes(&self) -> usize {
        self.unwritten_bytes() + self.inbox.lock().bytes
    }

    fn unwritten_bytes(&self) -> usize {
        self.output_bytes.load(Ordering::Relaxed) + self.outside_bytes.load(Ordering::Relaxed)
    }

    /// Ends the session as soon as it looks.
    pub fn kill(&self) {
        self.end(Ending::Killed);
    }

    /// [`Client::kill`] with a reason.
    pub(crate) fn end(&self, why: Ending) {
        self.ending.store(why as u8, Ordering::SeqCst);
        self.waker.wake_by_ref();
    }

    /// Whether the other end is on this machine: a loopback address or a Unix-domain socket.
    pub fn is_local(&self) -> bool {
        match &self.peer {
            Peer::Tcp { remote, .. } => remote.ip().to_canonical().is_loopback(),
            Peer::Unix(_) => true,
        }
    }

    /// Whether the session must end, or has ended, because of a command or a limit.
    #[inline]
    pub fn is_killed(&self) -> bool {
        self.ending.load(Ordering::Relaxed) != 0
    }

    /// Whether that was because too much waits for it to be read.
    pub(crate) fn has_overflowed(&self) -> bool {
        self.ending.load(Ordering::Relaxed) == Ending::Overflow as u8
    }

    pub(crate) fn has_events(&self) -> bool {
        self.has_events.load(Ordering::Acquire)
    }

    pub(crate) fn take_events(&self) -> Vec<Event> {
        let mut inbox = self.inbox.lock();
        self.has_events.store(false, Ordering::Release);
        inbox.bytes = 0;
        std::mem::take(&mut inbox.events)
    }

    /// Wakes its session, which looks then whether what it waits for has come.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    pub(crate) fn fail_transaction(&self) {
        self.watch_failed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn transaction_failed(&self) -> bool {
        self.watch_failed.load(Ordering::SeqCst)
    }

    pub(crate) fn reset_transaction(&self) {
        self.watch_failed.store(false, Ordering::SeqCst);
    }

    /// Sets or clears flags.
    pub fn set_flag(&self, flags: ClientFlags, on: bool) {
        match on {
            true => self.flags.fetch_or(flags.bits(), Ordering::Relaxed),
            false => self.flags.fetch_and(!flags.bits(), Ordering::Relaxed),
        };
    }

    /// Whether any of some flags is set.
    pub fn has_flag(&self, any: ClientFlags) -> bool {
        self.flags.load(Ordering::Relaxed) & any.bits() != 0
    }

    /// The protocol in use.
    pub fn proto(&self) -> Proto {
        if self.resp.load(Ordering::Relaxed) == 3 { Proto::Resp3 } else { Proto::Resp2 }
    }

    /// The last command's number.
    pub fn last_command(&self) -> Option<CommandId> {
        CommandId::try_from(self.last_command.load(Ordering::Relaxed)).ok()
    }
}

/// A number of bytes for one of [`Client`]'s smaller counters, which end at 4 GiB.
pub fn capped(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// `DEBUG REPLYBUFFER`: the reported sizes of [`Client`]s' reply buffers. Clients have no buffers
/// of their own; active ones use their thread's.
#[derive(Debug)]
pub struct ReplyBuffers {
    /// Milliseconds of rest after which a client has none; negative for never.
    pub peak_reset_ms: AtomicI64,
    /// Whether it ever has none.
    pub resizing: AtomicBool,
}

impl ReplyBuffers {
    /// Redis's `REPLY_BUFFER_DEFAULT_PEAK_RESET_TIME`.
    pub const PEAK_RESET_MS: i64 = 5000;
    /// Redis's `PROTO_REPLY_CHUNK_BYTES`.
    pub const SIZE: usize = 16 * 1024;

    /// The size of a client's buffer, and the most that was in it lately.
    pub fn of(&self, client: &Client, now_ms: u64) -> (usize, usize) {
        let rested_ms = now_ms.saturating_sub(client.last_seen_ms.load(Ordering::Relaxed));
        let reset_ms = u64::try_from(self.peak_reset_ms.load(Ordering::Relaxed));
        let active = reset_ms.map_or(true, |reset_ms| rested_ms < reset_ms);
        let peak = (client.reply_bytes.load(Ordering::Relaxed) as usize).min(Self::SIZE);
        let keeps = !self.resizing.load(Ordering::Relaxed);
        (if active || keeps { Self::SIZE } else { 0 }, if active { peak } else { 0 })
    }
}

impl Default for ReplyBuffers {
    fn default() -> Self {
        let peak_reset_ms = AtomicI64::new(Self::PEAK_RESET_MS);
        ReplyBuffers { peak_reset_ms, resizing: AtomicBool::new(true) }
    }
}

/// All connected clients.
#[derive(Default)]
pub struct Clients {
    next_id: AtomicU64,
    all: RwLock<HashMap<u64, Arc<Client>>>,
    /// Connections accepted since start.
    pub accepted: AtomicU64,
    /// Connections refused because of `maxclients`.
    pub rejected: AtomicU64,
    /// The sizes that `CLIENT LIST` shows for buffers of replies.
    pub reply_buffers: ReplyBuffers,
    /// The rate limits.
    pub rate_limits: RateLimits,
    /// Load shedding.
    pub overload: Overload,
    /// Connections that have not authenticated yet.
    pub unauthenticated: Unauthenticated,
    /// Evicts clients when they use too much memory.
    pub(crate) eviction: ClientEviction,
    /// Warns of HTTP requests, and remembers when it did last.
    pub cross_protocol: CrossProtocol,
    /// `CLIENT PAUSE`.
    pub pause: Pause,
}

impl Clients {
    /// Registers a new connection.
    pub fn add(&self, peer: Peer, waker: Waker, now_ms: u64) -> Arc<Client> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let client = Arc::new(Client::new(id, peer, waker, now_ms));
        self.all.write().insert(id, client.clone());
        self.accepted.fetch_add(1, Ordering::Relaxed);
        client
    }

    /// A client without a connection (the replay of a log), which is not listed.
    pub(crate) fn unlisted(&self) -> Client {
        Client::new(0, Peer::Unix(String::new()), Waker::noop().clone(), 0)
    }

    /// Forgets a connection that has ended.
    pub fn remove(&self, id: u64) {
        self.all.write().remove(&id);
    }

    /// The number of connected clients.
    pub fn len(&self) -> usize {
        self.all.read().len()
    }

    /// Whether there are no clients.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The client with this id.
    pub fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.all.read().get(&id).cloned()
    }

    /// Has the sessions of all clients look around.
    pub(crate) fn wake_all(&self) {
        self.all.read().values().for_each(|client| client.waker.wake_by_ref());
    }

    /// The numbers of up to `count` clients, other ones for another `start`.
    pub(crate) fn some(&self, start: usize, count: usize) -> Vec<u64> {
        let all = self.all.read();
        let start = start % all.len().max(1);
        all.keys().cycle().skip(start).take(count.min(all.len())).copied().collect()
    }

    /// Collects a value for each client, in no particular order. No client connects or leaves
    /// meanwhile.
    pub fn survey<T>(&self, of: impl Fn(&Client) -> T) -> Vec<T> {
        self.all.read().values().map(|client| of(client)).collect()
    }

    /// All clients, by id.
    pub fn list(&self) -> Vec<Arc<Client>> {
        let mut all: Vec<_> = self.all.read().values().cloned().collect();
        all.sort_by_key(|client| client.id);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize as Count;

    #[test]
    fn names_cost_a_pointer_until_one_is_given() {
        let mut names = BoxedNames::default();
        assert_eq!((size_of::<BoxedNames>(), &*names.user), (8, "default"));
        assert!(names.0.is_none(), "reading allocates nothing");
        names.name = "worker".into();
        assert_eq!((&*names.name, &*names.user), ("worker", "default"));
    }

    #[test]
    fn a_client_fits_the_allocators_256_bytes() {
        // With the two counters of the `Arc` around it.
        let bytes = size_of::<Client>() + 2 * size_of::<Count>();
        assert!(bytes <= 256, "{bytes}");
    }
}
