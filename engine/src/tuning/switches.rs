//! [`Switches`]: what `DEBUG` turns on and off for test suites.

use std::sync::atomic::{AtomicBool, Ordering};
use storage::rdb::Checksum;

/// All switches, which are off at first.
#[derive(Debug, Default)]
pub struct Switches {
    /// `PAUSE-CRON`: nothing is done between requests.
    pub pauses_housekeeping: AtomicBool,
    /// `SET-SKIP-CHECKSUM-VALIDATION`.
    pub ignores_checksums: AtomicBool,
    /// `SET-DISABLE-DENY-SCRIPTS`: scripts may use `DEBUG`.
    pub scripts_may_more: AtomicBool,
}

impl Switches {
    /// Whether checksums of snapshots and payloads are compared.
    pub fn checksum(&self) -> Checksum {
        match self.ignores_checksums.load(Ordering::Relaxed) {
            true => Checksum::Ignored,
            false => Checksum::Compared,
        }
    }
}

/// `DEBUG SET-ACTIVE-EXPIRE`.
#[derive(Debug)]
pub struct ActiveExpire(AtomicBool);

impl Default for ActiveExpire {
    fn default() -> Self {
        ActiveExpire(AtomicBool::new(true))
    }
}

impl ActiveExpire {
    /// Turns active expiry on or off; keys met expired are deleted either way.
    pub fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
