//! [`Switches`]: what `DEBUG` turns on and off for test suites.

use std::sync::atomic::{AtomicBool, Ordering};
use storage::rdb::Checksum;

/// All of them, off at first.
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
    /// What becomes of checksums in snapshots and payloads.
    pub fn checksum(&self) -> Checksum {
        match self.ignores_checksums.load(Ordering::Relaxed) {
            true => Checksum::Ignored,
            false => Checksum::Compared,
        }
    }
}
