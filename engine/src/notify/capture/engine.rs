//! Creates the records for clients that capture traffic, and delivers them.

use super::{LOST_BYTES, Reader, bulk, head};
use crate::clients::Client;
use crate::command::{CommandEntry, Flag};
use crate::engine::Engine;
use crate::gate::Gate;
use bytes::Bytes;
use resp::Request;
use runtime::Now;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use storage::Db;

impl Engine {
    /// Sends a client every request from now on, with at most `limit` bytes waiting for it.
    pub fn begin_capture(&self, client: &Arc<Client>, limit: usize, now: Now) {
        self.end_capture(client);
        let mut state = self.notify.captures.0.lock();
        let mut reader = Reader::new(client.clone(), limit);
        for other in self.clients.list().iter().filter(|other| other.id != client.id) {
            let mut record = Vec::new();
            encode_open(&mut record, other, now);
            reader.offer(&record, now);
        }
        state.readers.push(reader);
        self.set_gate(Gate::CAPTURED, true);
    }

    /// Ends capturing by a client (`RESET`, the end of the connection).
    pub fn end_capture(&self, client: &Arc<Client>) {
        if !self.gate().contains(Gate::CAPTURED) {
            return;
        }
        let mut state = self.notify.captures.0.lock();
        state.readers.retain(|reader| !Arc::ptr_eq(&reader.client, client));
        self.set_gate(Gate::CAPTURED, !state.readers.is_empty());
    }

    /// The records that wait for a client that captures; `unwritten` bytes of output wait before them.
    pub(crate) fn take_captured(&self, client: &Client, unwritten: usize, now: Now) -> Bytes {
        let mut state = self.notify.captures.0.lock();
        let readers = &mut state.readers;
        let Some(reader) = readers.iter_mut().find(|reader| reader.client.id == client.id) else {
            return Bytes::new();
        };
        reader.told = false;
        client.output_bytes.store(unwritten, Ordering::Relaxed);
        if reader.has_room(LOST_BYTES) {
            reader.say_lost(now);
        }
        let records = std::mem::take(&mut reader.records);
        client.output_bytes.store(unwritten + records.len(), Ordering::Relaxed);
        records.into()
    }

    /// Records a request that was admitted.
    pub(crate) fn capture_request(
        &self,
        entry: &CommandEntry,
        request: Request<'_>,
        client: &Client,
        db: Db,
        now: Now,
    ) {
        if !self.gate().contains(Gate::CAPTURED) || entry.has(Flag::Admin) {
            return;
        }
        self.notify.captures.0.lock().tell(client.id, now, |out| {
            head(out, "request", &[now.mono_us, client.id], 1 + request.len());
            bulk(out, db.to_string().as_bytes());
            self.commands.shown(entry, request).for_each(|arg| bulk(out, arg));
        });
    }

    /// Records that a client connected.
    pub(crate) fn capture_open(&self, client: &Client, now: Now) {
        if self.gate().contains(Gate::CAPTURED) {
            self.notify.captures.0.lock().tell(client.id, now, |out| encode_open(out, client, now));
        }
    }

    /// Records that a client is gone.
    pub(crate) fn capture_close(&self, client: &Client, now: Now) {
        if self.gate().contains(Gate::CAPTURED) {
            let times = [now.mono_us, client.id];
            self.notify.captures.0.lock().tell(client.id, now, |out| head(out, "close", &times, 0));
        }
    }
}

fn encode_open(out: &mut Vec<u8>, client: &Client, now: Now) {
    head(out, "open", &[now.mono_us, client.id], 2);
    bulk(out, client.db.load(Ordering::Relaxed).to_string().as_bytes());
    bulk(out, client.resp.load(Ordering::Relaxed).to_string().as_bytes());
}
