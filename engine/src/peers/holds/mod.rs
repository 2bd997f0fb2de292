//! Keys that are on their way to another server.
//!
//! While `MIGRATE` waits for the other server, it holds its keys, not their shards: whoever wants
//! one of them waits in his session, as he would wait in Redis, and everybody else goes on. So
//! each key is on one server for all to see, and nobody changes it on both.
//!
//! Keys are held by name, whatever the database: `MOVE`, `COPY` and their kin reach into others.

mod engine;

use crate::clients::Client;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use std::sync::Arc;
use storage::Db;

/// The keys that are held, and who waits until they are not.
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
