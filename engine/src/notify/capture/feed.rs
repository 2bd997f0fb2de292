//! Creates the records for clients that capture traffic, and delivers them.

use super::{Captures, LOST_BYTES, Reader, bulk, head};
use crate::clients::{Client, Clients};
use crate::command::{CommandEntry, CommandTable, Flag};
use crate::gate::{Gate, Gates};
use bytes::Bytes;
use resp::Request;
use runtime::Now;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use storage::Db;

impl Captures {
    /// Sends a client every request from now on, with at most `limit` bytes waiting for it.
    pub fn begin(
        &self,
        client: &Arc<Client>,
        limit: usize,
        (clients, gates): (&Clients, &Gates),
        now: Now,
    ) {
        self.end(client, gates);
        let mut state = self.0.lock();
        let mut reader = Reader::new(client.clone(), limit);
        for other in clients.list().iter().filter(|other| other.id != client.id) {
            let mut record = Vec::new();
            encode_open(&mut record, other, now);
            reader.offer(&record, now);
        }
        state.readers.push(reader);
        gates.set(Gate::CAPTURED, true);
    }

    /// Ends capturing by a client (`RESET`, the end of the connection).
    pub fn end(&self, client: &Arc<Client>, gates: &Gates) {
        if !gates.any(Gate::CAPTURED) {
            return;
        }
        let mut state = self.0.lock();
        state.readers.retain(|reader| !Arc::ptr_eq(&reader.client, client));
        gates.set(Gate::CAPTURED, !state.readers.is_empty());
    }

    /// The records that wait for a client that captures; `unwritten` bytes of output wait before them.
    pub(crate) fn take(&self, client: &Client, unwritten: usize, now: Now) -> Bytes {
        let mut state = self.0.lock();
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

    /// Records a request that was admitted, while clients capture.
    pub(crate) fn request(
        &self,
        commands: &CommandTable,
        entry: &CommandEntry,
        request: Request<'_>,
        client: &Client,
        db: Db,
        now: Now,
    ) {
        if entry.has(Flag::Admin) {
            return;
        }
        self.0.lock().tell(client.id, now, |out| {
            head(out, "request", &[now.mono_us, client.id], 1 + request.len());
            bulk(out, db.to_string().as_bytes());
            commands.shown(entry, request).for_each(|arg| bulk(out, arg));
        });
    }

    /// Records that a client connected.
    pub(crate) fn open(&self, client: &Client, gates: &Gates, now: Now) {
        if gates.any(Gate::CAPTURED) {
            self.0.lock().tell(client.id, now, |out| encode_open(out, client, now));
        }
    }

    /// Records that a client is gone.
    pub(crate) fn close(&self, client: &Client, gates: &Gates, now: Now) {
        if gates.any(Gate::CAPTURED) {
            let times = [now.mono_us, client.id];
            self.0.lock().tell(client.id, now, |out| head(out, "close", &times, 0));
        }
    }
}

fn encode_open(out: &mut Vec<u8>, client: &Client, now: Now) {
    head(out, "open", &[now.mono_us, client.id], 2);
    bulk(out, client.db.load(Ordering::Relaxed).to_string().as_bytes());
    bulk(out, client.resp.load(Ordering::Relaxed).to_string().as_bytes());
}
