//! Token buckets: limits to the requests of a client, a user, or an address (`rate-limit-…`).
//!
//! A bucket is one number: the time at which the requests so far will be covered by the rate (the
//! generic cell rate algorithm, ITU-T I.371). If this is more than `rate-limit-burst` ahead of now,
//! requests have to wait. A request is charged completely when it is admitted, even if it is larger
//! than the burst; then the next one waits longer.

use crate::config::{ConfigStore, Id};
use core::net::IpAddr;
use hashbrown::HashMap;
use parking_lot::Mutex;
use runtime::{Now, Peer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The number of addresses that are remembered. Those whose requests are covered are forgotten
/// first. If there are none, further addresses share one bucket.
const ADDRESSES_MAX: usize = 1 << 16;

const NANOS: u64 = 1_000_000_000;

/// No bucket is further ahead: one enormous request must not shut its user out for days.
const DEBT_MAX_NS: u64 = 60 * NANOS;

/// Between two looks for addresses that can be forgotten: each walks through all of them.
const SWEEP_NS: u64 = NANOS / 10;

/// A bucket of commands and one of bytes.
#[derive(Debug, Default)]
pub struct Buckets {
    /// The time at which the requests so far are covered, in nanoseconds of the monotonic clock.
    earned_ns: [AtomicU64; 2],
}

impl Buckets {
    /// Whether nothing was ever asked for.
    pub(crate) fn are_untouched(&self) -> bool {
        self.earned_ns.iter().all(|ns| ns.load(Ordering::Relaxed) == 0)
    }
}

/// A rate limit: commands per second and bytes per second; zero means no limit.
#[derive(Debug, Default)]
struct Rate {
    per_second: [AtomicU64; 2],
}

impl Rate {
    fn set(&self, commands: u64, bytes: u64) {
        self.per_second[0].store(commands, Ordering::Relaxed);
        self.per_second[1].store(bytes, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.per_second.iter().any(|rate| rate.load(Ordering::Relaxed) > 0)
    }

    /// The time until `buckets` admit another request, in nanoseconds.
    fn wait_ns(&self, buckets: &Buckets, now_ns: u64, burst_ns: u64) -> u64 {
        let wait_ns = |(rate, earned): (&AtomicU64, &AtomicU64)| match rate.load(Ordering::Relaxed)
        {
            0 => 0,
            _ => earned.load(Ordering::Relaxed).saturating_sub(now_ns.saturating_add(burst_ns)),
        };
        self.per_second.iter().zip(&buckets.earned_ns).map(wait_ns).max().unwrap_or(0)
    }

    /// Takes what one request of `bytes` costs.
    fn charge(&self, buckets: &Buckets, bytes: u64, now_ns: u64) {
        let costs = self.per_second.iter().zip(&buckets.earned_ns).zip([1, bytes]);
        for ((rate, earned), cost) in costs {
            let rate = rate.load(Ordering::Relaxed);
            if rate > 0 {
                let cost_ns = u128::from(cost) * u128::from(NANOS) / u128::from(rate);
                let cost_ns = u64::try_from(cost_ns).unwrap_or(u64::MAX);
                let latest_ns = now_ns.saturating_add(DEBT_MAX_NS);
                let add = |ns: u64| Some(ns.max(now_ns).saturating_add(cost_ns).min(latest_ns));
                // The closure refuses nothing.
                let _ = earned.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
            }
        }
    }
}

/// The action taken on a request that exceeds a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// It is refused, and may be repeated after this many milliseconds.
    Refuse(u64),
    /// It waits for this many milliseconds.
    Delay(u64),
}

/// All limits, and the buckets of addresses. Clients and users have their own buckets.
#[derive(Debug, Default)]
pub struct RateLimits {
    client: Rate,
    user: Rate,
    address: Rate,
    burst_ns: AtomicU64,
    delays: AtomicBool,
    addresses: Mutex<HashMap<IpAddr, Arc<Buckets>>>,
    /// The time of the last search for addresses that need no buckets any more.
    swept_ns: AtomicU64,
    /// The buckets of addresses beyond [`ADDRESSES_MAX`].
    others: Arc<Buckets>,
    /// Requests that were refused or had to wait.
    pub limited: AtomicU64,
}

impl RateLimits {
    /// Takes the limits from the configuration; whether there are any.
    pub(crate) fn follow(&self, config: &ConfigStore) -> bool {
        let number = |id| config.integer(id) as u64;
        let scopes = [
            (&self.client, Id::RateLimitClient, Id::RateLimitClientBytes),
            (&self.user, Id::RateLimitUser, Id::RateLimitUserBytes),
            (&self.address, Id::RateLimitAddress, Id::RateLimitAddressBytes),
        ];
        for (rate, commands, bytes) in scopes {
            rate.set(number(commands), config.memory(bytes));
        }
        let burst_ns = number(Id::RateLimitBurst).saturating_mul(NANOS / 1000);
        self.burst_ns.store(burst_ns, Ordering::Relaxed);
        self.delays.store(config.choice(Id::RateLimitAction) == "delay", Ordering::Relaxed);
        let any = scopes.iter().any(|(rate, ..)| rate.is_set());
        if !any {
            self.addresses.lock().clear();
        }
        any
    }

    /// Admits a request of `bytes` bytes, and charges it to its client, its user (if it has
    /// authenticated) and its address. If it is not admitted, returns what to do with it, and
    /// charges nothing.
    pub(crate) fn admit(
        &self,
        (client, user, peer): (&Buckets, Option<&Buckets>, &Peer),
        bytes: u64,
        now: Now,
    ) -> Result<(), Over> {
        let now_ns = now.mono_us.saturating_mul(1000);
        let burst_ns = self.burst_ns.load(Ordering::Relaxed);
        let address = self.address.is_set().then(|| self.of_address(peer, now_ns));
        let address = address.flatten();
        let scopes =
            [(&self.client, Some(client)), (&self.user, user), (&self.address, address.as_deref())];
        let scopes = scopes.iter().filter_map(|(rate, buckets)| Some((*rate, (*buckets)?)));
        let wait_ns = scopes.clone().map(|(rate, buckets)| rate.wait_ns(buckets, now_ns, burst_ns));
        match wait_ns.max().unwrap_or(0) {
            0 => {
                scopes.for_each(|(rate, buckets)| rate.charge(buckets, bytes, now_ns));
                Ok(())
            }
            wait_ns => {
                let wait_ms = wait_ns.div_ceil(NANOS / 1000);
                let delays = self.delays.load(Ordering::Relaxed);
                Err(if delays { Over::Delay(wait_ms) } else { Over::Refuse(wait_ms) })
            }
        }
    }

    /// The buckets of an address; none for a Unix socket.
    fn of_address(&self, peer: &Peer, now_ns: u64) -> Option<Arc<Buckets>> {
        let address = peer.owner()?;
        let mut addresses = self.addresses.lock();
        if let Some(buckets) = addresses.get(&address) {
            return Some(buckets.clone());
        }
        if addresses.len() >= ADDRESSES_MAX {
            // Under the lock: one thread at a time.
            if now_ns < self.swept_ns.load(Ordering::Relaxed).saturating_add(SWEEP_NS) {
                return Some(self.others.clone());
            }
            self.swept_ns.store(now_ns, Ordering::Relaxed);
            addresses.retain(|_, buckets| {
                buckets.earned_ns.iter().any(|ns| ns.load(Ordering::Relaxed) > now_ns)
            });
            if addresses.len() >= ADDRESSES_MAX {
                return Some(self.others.clone());
            }
        }
        Some(addresses.entry(address).or_default().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> u64 {
        ms * 1_000_000
    }

    #[test]
    fn the_rate_holds_over_any_time_and_the_burst_once() {
        let (rate, buckets) = (Rate::default(), Buckets::default());
        rate.set(1000, 0);
        let mut passed = 0;
        // Asked ten times in each of 10,000 milliseconds.
        for ms in 1..=10_000 {
            for _ in 0..10 {
                if rate.wait_ns(&buckets, at(ms), at(100)) == 0 {
                    rate.charge(&buckets, 1, at(ms));
                    passed += 1;
                }
            }
        }
        assert!((10_000..=10_102).contains(&passed), "{passed}");
    }

    #[test]
    fn what_is_larger_than_the_burst_passes_and_is_paid_for() {
        let (rate, buckets) = (Rate::default(), Buckets::default());
        rate.set(0, 1000);
        assert_eq!(rate.wait_ns(&buckets, at(1), at(100)), 0);
        rate.charge(&buckets, 5000, at(1));
        assert_eq!(rate.wait_ns(&buckets, at(1), at(100)), at(4900));
        assert_eq!(rate.wait_ns(&buckets, at(4901), at(100)), 0);
        // No debt is for ever.
        rate.charge(&buckets, u64::MAX, at(4901));
        assert_eq!(rate.wait_ns(&buckets, at(4901), at(100)), at(59_900));
    }

    #[test]
    fn an_address_has_one_bucket_and_the_unix_socket_none() {
        let limits = RateLimits::default();
        limits.address.set(10, 0);
        let now = Now { mono_us: 1_000_000, ..Now::default() };
        let ask = |peer: &Peer| limits.admit((&Buckets::default(), None, peer), 1, now);
        let tcp = |last, port| {
            let remote = (core::net::Ipv4Addr::new(10, 0, 0, last), port).into();
            Peer::Tcp { remote, local: remote }
        };
        assert_eq!(ask(&tcp(1, 1)), Ok(()));
        assert_eq!(ask(&tcp(1, 2)), Err(Over::Refuse(100)));
        assert_eq!(ask(&tcp(2, 1)), Ok(()));
        let unix = Peer::Unix("/s".into());
        assert_eq!((ask(&unix), ask(&unix)), (Ok(()), Ok(())));
    }

    #[test]
    fn addresses_are_bounded() {
        let limits = RateLimits::default();
        let peer = |n: u32| {
            let remote = (core::net::Ipv4Addr::from_bits(n), 1).into();
            Peer::Tcp { remote, local: remote }
        };
        limits.address.set(1, 0);
        let at = |ms: u64| at(ms + 1000);
        for n in 0..ADDRESSES_MAX as u32 + 10 {
            let buckets = limits.of_address(&peer(n), at(1)).unwrap();
            limits.address.charge(&buckets, 1, at(1));
        }
        assert_eq!(limits.addresses.lock().len(), ADDRESSES_MAX);
        assert!(Arc::ptr_eq(&limits.of_address(&peer(1 << 30), at(1)).unwrap(), &limits.others));
        // Two seconds later all have earned it.
        limits.of_address(&peer(1 << 30), at(2001)).unwrap();
        assert_eq!(limits.addresses.lock().len(), 1);
    }
}
