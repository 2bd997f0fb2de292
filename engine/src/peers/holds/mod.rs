//! Keys that are being sent to another server.
//!
//! While `MIGRATE` waits for the other server, it holds its keys rather than their shards: a
//! request for one of them waits in its session, as it would in Redis, and all others go on. So
//! clients see each key on one server only, and it is not changed on both.
//!
//! Keys are held by name, whatever the database, because `MOVE`, `COPY` and similar commands use
//! several databases.

mod waiting;

use crate::clients::Client;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use std::sync::Arc;
use storage::Db;

/// The keys that are held, and the requests that wait for them.
#[derive(Default)]
pub(crate) struct Holds(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    keys: HashSet<Box<[u8]>>,
    /// Sessions that try their request again, by client.
    sessions: HashMap<u64, Arc<Client>>,
    /// Keys of commands that were to be served on behalf of a parked session.
    ready: HashSet<(Db, Box<[u8]>)>,
}
