//! `MONITOR`: clients that see every command that runs.

pub(crate) mod engine;

use crate::clients::Client;
use parking_lot::Mutex;
use std::sync::Arc;

/// The clients that monitor.
#[derive(Debug, Default)]
pub struct Monitors(Mutex<Vec<Arc<Client>>>);
