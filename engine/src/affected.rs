//! [`Affected`]: who is to hear of a change once the locks are gone.

use crate::tracking::Stale;
use smallvec::SmallVec;
use storage::Db;

/// Keys that may serve somebody who waits, collected while locks were held.
pub(crate) type Ready = SmallVec<[(Db, Box<[u8]>); 1]>;

/// What changes leave to be done when the transaction has ended.
#[derive(Default)]
pub(crate) struct Affected {
    /// Keys that may serve somebody.
    pub ready: Ready,
    /// What caches are to be told.
    pub stale: Stale,
}

impl Affected {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.stale.is_empty()
    }

    /// Adds what came later.
    pub fn append(&mut self, mut later: Affected) {
        self.ready.append(&mut later.ready);
        self.stale.append(later.stale);
    }
}
