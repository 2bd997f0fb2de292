//! The text by which `CLIENT LIST` and `CLIENT INFO` describe a client.

use super::{Client, ClientFlags, ReplyBuffers};
use crate::engine::Engine;
use crate::notify::pubsub::Space;
use crate::session::Session;
use runtime::Peer;
use std::fmt::Write;
use std::sync::atomic::Ordering;

/// The letters of `flags=`.
fn flag_letters(client: &Client) -> String {
    let letters = [
        (ClientFlags::REPLICA, 'S'),
        (ClientFlags::MASTER, 'M'),
        (ClientFlags::MONITOR, 'O'),
        (ClientFlags::PUBSUB, 'P'),
        (ClientFlags::MULTI, 'x'),
        (ClientFlags::BLOCKED | ClientFlags::PAUSED, 'b'),
        (ClientFlags::TRACKING, 't'),
        (ClientFlags::UNREACHABLE, 'R'),
        (ClientFlags::BROADCAST, 'B'),
        (ClientFlags::CLOSING, 'c'),
        (ClientFlags::UNIX, 'U'),
        (ClientFlags::NO_EVICT, 'e'),
        (ClientFlags::NO_TOUCH, 'T'),
    ];
    let set = letters.iter().filter(|(bit, _)| client.has_flag(*bit));
    let text: String = set.map(|(_, letter)| letter).collect();
    if text.is_empty() { "N".into() } else { text }
}

/// The address of ours that a client came to, as `laddr=` shows it.
pub fn local_address(peer: &Peer) -> String {
    match peer {
        Peer::Tcp { local, .. } => local.to_string(),
        Peer::Unix(path) => format!("{path}:0"),
    }
}

/// One line of `CLIENT LIST`, in Redis's fields and order; `is_own` for the client that asks.
pub fn describe(engine: &Engine, client: &Client, is_own: bool, now_ms: u64) -> String {
    let names = client.names.lock().clone();
    let get = |n: &std::sync::atomic::AtomicU32| n.load(Ordering::Relaxed);
    let in_multi = client.has_flag(ClientFlags::MULTI);
    let multi = if in_multi { i64::from(get(&client.queued)) } else { -1 };
    let input = client.input_bytes.load(Ordering::Relaxed);
    let output = client.waiting_bytes();
    let (arguments, queued) = (get(&client.argument_bytes), get(&client.queued_bytes));
    // Redis has a buffer of this size for replies, and a list of further ones.
    let (fixed, list) = (output.min(ReplyBuffers::SIZE), output.saturating_sub(ReplyBuffers::SIZE));
    let (reply_buffer, peak) = engine.clients.reply_buffers.of(client, now_ms);
    let command = client.last_command().map_or("NULL", |id| &engine.commands.entry(id).full_name);
    let mut line = identity(client, &names.name, now_ms);
    let subscribed = |space: Space| get(&client.subscriptions[space as usize]);
    let _ = write!(
        line,
        " sub={} psub={} ssub={} multi={multi} watch={} qbuf={input} qbuf-free=0 argv-mem={arguments} multi-mem={queued} rbs={reply_buffer} rbp={peak} obl={fixed} oll={} omem={list} tot-mem={} events={} cmd={command} user={} redir={} resp={} lib-name={} lib-ver={}",
        subscribed(Space::Channel),
        subscribed(Space::Pattern),
        subscribed(Space::Shard),
        get(&client.watched),
        list.div_ceil(ReplyBuffers::SIZE),
        client.memory(),
        if output > 0 && !is_own { "rw" } else { "r" },
        names.user,
        crate::notify::tracking::redirection(engine.notify.tracking.of(client.id).as_deref()),
        client.resp.load(Ordering::Relaxed),
        names.lib_name,
        names.lib_version,
    );
    line
}

/// The client's identity, address and times, and its last command.
fn identity(client: &Client, name: &str, now_ms: u64) -> String {
    let seen_ms = client.last_seen_ms.load(Ordering::Relaxed);
    format!(
        "id={} addr={} laddr={} fd=0 name={name} age={} idle={} flags={} db={}",
        client.id,
        client.peer,
        local_address(&client.peer),
        now_ms.saturating_sub(client.created_ms) / 1000,
        now_ms.saturating_sub(seen_ms) / 1000,
        flag_letters(client),
        client.db.load(Ordering::Relaxed),
    )
}

impl Client {
    /// The memory that the server uses for the client in bytes, as shown by `CLIENT LIST` and
    /// counted by `maxmemory-clients`.
    pub fn memory(&self) -> usize {
        let small = [&self.argument_bytes, &self.queued_bytes].map(|n| n.load(Ordering::Relaxed));
        let buffered = self.input_bytes.load(Ordering::Relaxed) + self.waiting_bytes();
        let owned: u64 = small.into_iter().map(u64::from).sum();
        size_of::<Client>() + size_of::<Session>() + buffered + owned as usize
    }
}
