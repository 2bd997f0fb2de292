//! [`Handshakes`]: the bounds on handshakes that are under way, in all and from one address.

use crate::{Now, Peer};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Between two lines of the log about refused handshakes, in microseconds.
const SAID_EVERY_US: u64 = 60_000_000;

/// The number of handshakes under way, and how many there may be.
///
/// A handshake costs more than any request, before anyone knows who the peer is. Those under way have work
/// waiting in each thread at most once, so their number bounds how long a turn of a thread takes because of them.
/// One address may have a share of them, so that others get in whatever it does.
#[derive(Debug, Default)]
pub struct Handshakes {
    under_way: AtomicUsize,
    /// 0: any number.
    max: AtomicUsize,
    /// 0: as many as `max` says.
    each: AtomicUsize,
    /// Those under way by address, while `each` is a bound. It has no more entries than handshakes are under way.
    addresses: Mutex<HashMap<IpAddr, usize>>,
    refused: AtomicU64,
    /// The time from which a refusal is logged again, in monotonic microseconds.
    quiet_until_us: AtomicU64,
}

/// One that is under way, until this is dropped.
pub(super) struct Handshake {
    all: Arc<Handshakes>,
    /// Where it is counted, if it is.
    address: Option<IpAddr>,
}

impl Handshakes {
    /// Sets how many may be under way at once (0: any number), and the percentage of them that one address may have
    /// (100: all), but at least one. Those that are under way go on.
    pub fn set_max(&self, max: usize, share: usize) {
        let each = (max.saturating_mul(share) / 100).max(1);
        self.each.store(if max == 0 || each >= max { 0 } else { each }, Relaxed);
        self.max.store(max, Relaxed);
    }

    /// The number of connections that were refused because there were too many.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Begins one, unless there are too many.
    pub(super) fn begin(self: &Arc<Self>, peer: &Peer, now: Now) -> Option<Handshake> {
        let max = self.max.load(Relaxed);
        let before = self.under_way.fetch_add(1, Relaxed);
        let mut begun = Handshake { all: self.clone(), address: None };
        if max != 0 && before >= max {
            self.refuse("too many handshakes are under way: new connections are closed", now);
            return None;
        }
        let each = self.each.load(Relaxed);
        if let Some(address) = peer.owner().filter(|_| each != 0) {
            let mut addresses = self.addresses.lock();
            let own = addresses.entry(address).or_default();
            if *own >= each {
                drop(addresses);
                self.refuse("too many handshakes of one address are under way: it is refused", now);
                return None;
            }
            *own += 1;
            begun.address = Some(address);
        }
        Some(begun)
    }

    fn refuse(&self, why: &str, now: Now) {
        self.refused.fetch_add(1, Relaxed);
        if self.quiet_until_us.load(Relaxed) <= now.mono_us {
            self.quiet_until_us.store(now.mono_us + SAID_EVERY_US, Relaxed);
            tracing::warn!("{why}");
        }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.all.under_way.fetch_sub(1, Relaxed);
        let Some(address) = self.address else { return };
        let mut addresses = self.all.addresses.lock();
        if let Some(own) = addresses.get_mut(&address) {
            *own -= 1;
            if *own == 0 {
                addresses.remove(&address);
            }
        }
    }
}
