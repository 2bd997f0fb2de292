//! `MONITOR`: clients that see every command that runs.

mod feed;

pub(crate) use feed::is_shown_first;

use crate::clients::Client;
use parking_lot::Mutex;
use std::sync::Arc;

/// The clients that monitor.
#[derive(Debug, Default)]
pub struct Monitors(Mutex<Vec<Arc<Client>>>);
