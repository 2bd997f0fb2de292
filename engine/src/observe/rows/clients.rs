//! `INFO clients`.

use crate::clients::{Client, ClientFlags};
use crate::config::Id;
use crate::engine::Engine;
use crate::observe::figures::Value;
use crate::observe::row::{Reading, Row, level, shown, zero};
use std::sync::atomic::Ordering::Relaxed;

fn with(r: &Reading<'_>, any: ClientFlags) -> Value {
    counted(r, |client| client.has_flag(any))
}

fn counted(r: &Reading<'_>, is: impl Fn(&Client) -> bool) -> Value {
    r.engine.clients.survey(is).into_iter().filter(|is| *is).count().into()
}

fn most(r: &Reading<'_>, bytes: impl Fn(&Client) -> usize) -> Value {
    r.engine.clients.survey(bytes).into_iter().max().unwrap_or(0).into()
}

/// Bytes that connections hold in their buffers and descriptions.
pub fn clients_memory(engine: &Engine) -> usize {
    engine.clients.survey(Client::memory).into_iter().sum()
}

pub(super) const ROWS: &[Row] = &[
    level("connected_clients", "Clients connected", |r| r.engine.clients.len().into()),
    zero("cluster_connections"),
    Row::Host,
    level("maxclients", "The most clients that may be connected", |r| {
        r.engine.config.integer(Id::Maxclients).into()
    }),
    level("unauthenticated_clients", "Clients that have to authenticate and have not yet", |r| {
        r.engine.clients.unauthenticated.len().into()
    }),
    shown("client_recent_max_input_buffer", |r| most(r, |c| c.input_bytes.load(Relaxed))),
    shown("client_recent_max_output_buffer", |r| most(r, |c| c.output_bytes.load(Relaxed))),
    level("blocked_clients", "Clients that wait in a blocking command", |r| {
        with(r, ClientFlags::BLOCKED | ClientFlags::PAUSED)
    }),
    level("tracking_clients", "Clients with client-side caching", |r| {
        with(r, ClientFlags::TRACKING)
    }),
    level("pubsub_clients", "Clients that are subscribed", |r| with(r, ClientFlags::PUBSUB)),
    level("watching_clients", "Clients that watch a key", |r| {
        counted(r, |client| client.watched.load(Relaxed) > 0)
    }),
    // Every session keeps its own deadline; there is no table, but there are those who would be in it.
    shown("clients_in_timeout_table", |r| with(r, ClientFlags::TIMED)),
    level("total_watched_keys", "Keys that somebody watches", |r| {
        r.engine.notify.keyspace.watched_keys().into()
    }),
    level("total_blocking_keys", "Keys that somebody waits for", |r| {
        r.engine.notify.blocking.key_count().into()
    }),
    shown("total_blocking_keys_on_nokey", |r| r.engine.notify.blocking.needed_key_count().into()),
];
