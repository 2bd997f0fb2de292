//! [`Scheduled`]: work in the background that waits for other work.

use parking_lot::Mutex;
use std::sync::atomic::AtomicBool;

/// Work that begins when nothing else is under way.
#[derive(Default)]
pub(crate) struct Scheduled {
    /// A snapshot.
    pub save: AtomicBool,
    /// A rewrite of the append-only file.
    pub rewrite: AtomicBool,
    /// The rewrite that a log begins with.
    pub log: AtomicBool,
    /// Held while it is decided what begins.
    pub deciding: Mutex<()>,
}
