//! The contents of a backend, in a form that can be compared.

use std::collections::BTreeMap;
use std::sync::Arc;
use storage::backend::SnapshotSink;
use storage::rdb::{Object, decode_payload, seal_payload};
use storage::{Backend, Db, Error};

/// By database and key: expiry and value. Sets, hashes and sorted sets are sorted, so that equal
/// contents compare equal whatever their encoding; of streams, the times of consumers are left out.
pub type Contents = BTreeMap<(Db, Vec<u8>), (Option<u64>, Object)>;

struct Collector<'a>(&'a mut Contents);

impl SnapshotSink for Collector<'_> {
    fn entry(
        &mut self,
        db: Db,
        key: &[u8],
        expiry_ms: Option<u64>,
        value: &[u8],
    ) -> storage::Result<()> {
        let mut payload = value.to_vec();
        seal_payload(&mut payload);
        let mut object = decode_payload(&payload).map_err(Error::corrupt)?;
        sort(&mut object);
        self.0.insert((db, key.to_vec()), (expiry_ms, object));
        Ok(())
    }
}

fn sort(object: &mut Object) {
    match object {
        Object::Set(members) => members.sort(),
        Object::Hash(fields) => fields.sort_by(|a, b| a.field.cmp(&b.field)),
        Object::SortedSet(members) => members.sort_by(|a, b| a.0.cmp(&b.0)),
        // When a stream's consumer was seen is not logged: a replay cannot know.
        Object::Stream(stream) => {
            for consumer in stream.meta.groups.iter_mut().flat_map(|group| &mut group.consumers) {
                (consumer.seen_time_ms, consumer.active_time_ms) = (0, None);
            }
        }
        Object::String(_) | Object::List(_) => {}
    }
}

/// Everything in `backend`, by way of a snapshot.
///
/// # Panics
/// Panics if the snapshot fails.
pub fn contents(backend: Arc<dyn Backend>) -> Contents {
    let mut contents = Contents::new();
    let snapshot = backend.snapshot(&mut || {}).expect("a snapshot");
    snapshot.write(&mut Collector(&mut contents)).expect("a readable snapshot");
    contents
}
