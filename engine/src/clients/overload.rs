//! Load shedding (`overload-delay-target`): if connections wait too long for their turns, a share of the requests
//! is refused.
//!
//! The measure is CoDel's (RFC 8289): not how long the longest wait was, which any burst raises, but the shortest
//! within an interval. A queue whose shortest wait is too long is a standing one, which only grows. Several
//! connections are observed at once ([`Probe`]), because each runtime has queues of another kind, and a
//! connection waits for its own slow command, too. What counts is the connection in the middle.
//!
//! If the memory that the process may use is about to run out, a share of those requests is refused that may need
//! more of it ([`Overload::note_memory`]), whatever the waits are.
//!
//! CoDel drops packets ever more often until the wait falls. Here the share of refused requests grows with every
//! interval in which it does not ([`share_after`]).

use parking_lot::Mutex;
use runtime::Now;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// A share of one: shares are counted in 1024ths.
pub(crate) const WHOLE: u32 = 1024;

/// The share by which each interval of too long waits adds to what is refused.
const STEP: u32 = WHOLE / 16;

/// The greatest share that is refused: something always passes.
const SHARE_MAX: u32 = WHOLE - WHOLE / 64;

/// A share that has fallen below this is none.
const SHARE_MIN: u32 = WHOLE / 64;

/// The number of times that a connection is observed in an interval.
const LOOKS: u64 = 4;

/// The time between two decisions about memory, in microseconds.
const MEMORY_INTERVAL_US: u64 = 100_000;

/// The share of requests to refuse after an interval in which `seen` was measured and no more than `target` is wanted
/// (a wait in microseconds, memory in percent), if it was `share` before.
pub(crate) fn share_after(share: u32, seen: u64, target: u64) -> u32 {
    if seen > target {
        return (share + STEP).min(SHARE_MAX);
    }
    let less = share - share / 4;
    if less < SHARE_MIN { 0 } else { less }
}

/// A share of requests to refuse, evenly.
#[derive(Debug, Default)]
pub(crate) struct Share {
    /// In 1024ths.
    of_whole: AtomicU32,
    /// Sum of the shares of all requests so far; it wraps.
    sum: AtomicU32,
}

impl Share {
    fn get(&self) -> u32 {
        self.of_whole.load(Ordering::Relaxed)
    }

    fn set(&self, share: u32) {
        self.of_whole.store(share, Ordering::Relaxed);
    }

    /// Whether to refuse the next request.
    fn refuses(&self) -> bool {
        let share = self.get();
        let before = self.sum.fetch_add(share, Ordering::Relaxed);
        before % WHOLE + share >= WHOLE
    }
}

/// The memory in use, and how much of it is too much.
#[derive(Debug, Default)]
struct MemoryLoad {
    /// In percent; 0: it is not looked at.
    target: AtomicU32,
    percent: AtomicU32,
    share: Share,
    /// The time of the next decision, in monotonic microseconds.
    due_us: AtomicU64,
}

/// How long one connection waits for its turns, observed several times in an interval. Each time the connection
/// is woken, and passes through one turn of its thread ([`Passage`]).
#[derive(Debug)]
pub struct Probe {
    /// The time at which it was sent last, in monotonic microseconds.
    sent_us: AtomicU64,
    /// The shortest wait so far in microseconds; [`u64::MAX`] if there is none.
    lowest_us: AtomicU64,
    under_way: AtomicBool,
}

impl Default for Probe {
    fn default() -> Self {
        let (sent_us, lowest_us) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        Probe { sent_us, lowest_us, under_way: AtomicBool::new(false) }
    }
}

impl Probe {
    /// Whether it is to be sent now: not if it is still under way.
    fn send(&self, now: Now) -> bool {
        if self.under_way.swap(true, Ordering::AcqRel) {
            return false;
        }
        self.sent_us.store(now.mono_us, Ordering::Relaxed);
        true
    }

    /// The connection's shortest wait. One that has not ended is as long as it has taken so far.
    fn delay_us(&self, now: Now) -> u64 {
        match self.lowest_us.load(Ordering::Acquire) {
            u64::MAX => now.mono_us.saturating_sub(self.sent_us.load(Ordering::Relaxed)),
            lowest_us => lowest_us,
        }
    }
}

/// A probe that has arrived at its session, and passes through a turn.
///
/// It was sent while the thread was in the middle of a turn, so that the time until it arrived is only the rest of
/// that. The turn that follows is a whole one.
#[derive(Debug)]
pub(crate) struct Passage {
    probe: Arc<Probe>,
    arrived_us: u64,
}

impl Passage {
    pub(crate) fn new(probe: Arc<Probe>, now: Now) -> Self {
        Passage { probe, arrived_us: now.mono_us }
    }

    /// The time at which the session must be resumed: as soon as it is its turn again.
    pub(crate) fn due_us(&self) -> u64 {
        self.arrived_us + 1
    }

    /// Ends with a later turn. Returns false if this is still the same one.
    pub(crate) fn end(&self, now: Now) -> bool {
        if now.mono_us <= self.arrived_us {
            return false;
        }
        let sent_us = self.probe.sent_us.load(Ordering::Relaxed);
        let until_arrived_us = self.arrived_us.saturating_sub(sent_us);
        let delay_us = until_arrived_us.max(now.mono_us - self.arrived_us);
        self.probe.lowest_us.fetch_min(delay_us, Ordering::AcqRel);
        self.probe.under_way.store(false, Ordering::Release);
        true
    }
}

/// The connections that are observed in this interval.
#[derive(Debug, Default)]
struct Watch {
    ends_us: u64,
    /// Each client's number, and its probe.
    probes: Vec<(u64, Arc<Probe>)>,
}

/// The limit, the share of requests that is refused now, and the observations.
#[derive(Debug, Default)]
pub struct Overload {
    target_us: AtomicU64,
    interval_us: AtomicU64,
    share: Share,
    memory: MemoryLoad,
    /// The wait in the last interval, in microseconds.
    pub delay_us: AtomicU64,
    /// Requests that were refused.
    pub refused: AtomicU64,
    watch: Mutex<Watch>,
}

impl Overload {
    /// The number of connections that are observed at once.
    pub(crate) const CLIENTS: usize = 8;

    /// Sets the wait that is too long (0: none is) and the interval, both in milliseconds. An interval must be long
    /// enough for a wait that is too long.
    pub(crate) fn set(&self, target_ms: u64, interval_ms: u64) {
        let target_us = target_ms.saturating_mul(1000);
        let interval_us = interval_ms.saturating_mul(1000).max(2 * target_us);
        self.interval_us.store(interval_us, Ordering::Relaxed);
        self.target_us.store(target_us, Ordering::Relaxed);
    }

    /// Whether there is a limit.
    pub(crate) fn is_on(&self) -> bool {
        self.target_us.load(Ordering::Relaxed) > 0
    }

    /// The share of requests that is refused, in 1024ths.
    pub fn share(&self) -> u32 {
        self.share.get()
    }

    /// The share of requests that may need memory which is refused for that, in 1024ths.
    pub fn memory_share(&self) -> u32 {
        self.memory.share.get()
    }

    /// The memory in use, in percent of what the process may use; 0 while it is not looked at.
    pub fn memory_percent(&self) -> u32 {
        self.memory.percent.load(Ordering::Relaxed)
    }

    /// Sets the percentage of the memory above which requests are refused; 0: none is.
    pub(crate) fn set_memory_target(&self, percent: u32) {
        self.memory.target.store(percent, Ordering::Relaxed);
        if percent == 0 {
            // Nobody notes the use any more, which would have ended it.
            self.forget_memory();
        }
    }

    fn forget_memory(&self) {
        self.memory.percent.store(0, Ordering::Relaxed);
        self.memory.share.set(0);
    }

    /// Whether the use of memory is to be noted.
    pub(crate) fn looks_at_memory(&self) -> bool {
        self.is_on() && self.memory.target.load(Ordering::Relaxed) > 0
    }

    /// Notes how much of the memory is in use; `None` if nobody can tell. Decides on the share once in an interval.
    pub(crate) fn note_memory(&self, percent: Option<u32>, now: Now) {
        let memory = &self.memory;
        let (true, Some(percent)) = (self.looks_at_memory(), percent) else {
            return self.forget_memory();
        };
        memory.percent.store(percent, Ordering::Relaxed);
        if now.mono_us < memory.due_us.load(Ordering::Relaxed) {
            return;
        }
        memory.due_us.store(now.mono_us + MEMORY_INTERVAL_US, Ordering::Relaxed);
        let target = memory.target.load(Ordering::Relaxed);
        memory.share.set(share_after(memory.share.get(), percent.into(), target.into()));
    }

    /// Whether some requests are refused.
    pub(crate) fn refuses_any(&self) -> bool {
        self.share() > 0 || self.memory_share() > 0
    }

    /// Forgets all observations, and refuses nothing any more.
    pub(crate) fn end(&self) {
        *self.watch.lock() = Watch::default();
        self.share.set(0);
        self.forget_memory();
        self.delay_us.store(0, Ordering::Relaxed);
    }

    /// The time between two observations, in microseconds.
    pub(crate) fn pause_us(&self) -> u64 {
        (self.interval_us.load(Ordering::Relaxed) / LOOKS).max(1000)
    }

    /// If the interval is over, decides on the share, and returns true: then [`Overload::begin`] must follow.
    /// `is_there` tells whether a client is still connected.
    pub(crate) fn judge(&self, now: Now, is_there: impl Fn(u64) -> bool) -> bool {
        let watch = self.watch.lock();
        if now.mono_us < watch.ends_us {
            return false;
        }
        let there = watch.probes.iter().filter(|(client, _)| is_there(*client));
        let mut delays: Vec<u64> = there.map(|(_, probe)| probe.delay_us(now)).collect();
        delays.sort_unstable();
        // Of two, the one that waits less.
        let middle = delays.len().saturating_sub(1) / 2;
        let delay_us = delays.get(middle).copied().unwrap_or(0);
        let target_us = self.target_us.load(Ordering::Relaxed);
        self.delay_us.store(delay_us, Ordering::Relaxed);
        self.share.set(share_after(self.share(), delay_us, target_us));
        true
    }

    /// Begins an interval in which these clients are observed.
    pub(crate) fn begin(&self, clients: impl Iterator<Item = u64>, now: Now) {
        let mut watch = self.watch.lock();
        watch.ends_us = now.mono_us + self.interval_us.load(Ordering::Relaxed);
        watch.probes = clients.map(|client| (client, Arc::default())).collect();
    }

    /// The probes to send now, with their clients.
    pub(crate) fn due(&self, now: Now) -> Vec<(u64, Arc<Probe>)> {
        let watch = self.watch.lock();
        watch.probes.iter().filter(|(_, probe)| probe.send(now)).cloned().collect()
    }

    /// Whether to refuse the next request; `grows` tells whether it may need more memory.
    pub(crate) fn refuses(&self, grows: bool) -> bool {
        grows && self.memory.share.refuses() || self.share.refuses()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TARGET_US: u64 = 20_000;
    /// A tick of the simulation below, and an interval, in microseconds.
    const TICK_US: u64 = 1000;
    const INTERVAL_US: u64 = 100_000;

    fn at(us: u64) -> Now {
        Now { wall_ms: 0, mono_us: us }
    }

    /// A queue that serves `capacity` requests per tick, in order.
    struct Queue {
        capacity: u64,
        waiting: u64,
        served: u64,
        overload: Overload,
        lowest_us: u64,
        now_us: u64,
    }

    impl Queue {
        fn new(capacity: u64) -> Self {
            let overload = Overload::default();
            overload.set(TARGET_US / 1000, INTERVAL_US / 1000);
            Queue { capacity, waiting: 0, served: 0, overload, lowest_us: u64::MAX, now_us: 0 }
        }

        /// Passes `ticks`, in each of which `arrivals` requests come.
        fn run(&mut self, ticks: u64, arrivals: u64) {
            for _ in 0..ticks {
                self.waiting +=
                    (0..arrivals).filter(|_| !self.overload.refuses(false)).count() as u64;
                let served = self.waiting.min(self.capacity);
                self.waiting -= served;
                self.served += served;
                self.now_us += TICK_US;
                self.lowest_us = self.lowest_us.min(self.waiting * TICK_US / self.capacity);
                if self.now_us.is_multiple_of(INTERVAL_US) {
                    let (share, delay_us) = (self.overload.share(), self.lowest_us);
                    let next = share_after(share, delay_us, TARGET_US);
                    self.overload.share.set(next);
                    self.lowest_us = u64::MAX;
                }
            }
        }

        fn delay_us(&self) -> u64 {
            self.waiting * TICK_US / self.capacity
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn what_can_be_served_is_never_refused(capacity in 1..50_u64, burst in 1..60_u64) {
            let mut queue = Queue::new(capacity);
            // Bursts that are longer than the target, but over within an interval.
            for _ in 0..20 {
                queue.run(1, capacity * burst);
                queue.run(2 * burst, capacity / 2);
                prop_assert_eq!(queue.overload.share(), 0);
            }
        }

        #[test]
        fn an_overload_is_refused_until_the_wait_is_short_and_ends_with_it(
            capacity in 10..30_u64,
            tenths in 12..80_u64,
        ) {
            let mut queue = Queue::new(capacity);
            let arrivals = capacity * tenths / 10;
            queue.run(5000, arrivals);
            // From now on the queue stays bounded, and what the server can do is done.
            let (before, mut longest_us) = (queue.served, 0);
            for _ in 0..100 {
                queue.run(100, arrivals);
                longest_us = longest_us.max(queue.delay_us());
            }
            prop_assert!(longest_us < 5_000_000, "{}", longest_us);
            let done = queue.served - before;
            prop_assert!(done * 10 >= capacity * 10_000 * 6, "{} of {}", done, capacity * 10_000);
            queue.run(15_000, capacity / 2);
            prop_assert_eq!(queue.overload.share(), 0);
        }
    }

    #[test]
    fn the_share_is_refused_evenly() {
        let overload = Overload::default();
        overload.share.set(WHOLE / 4);
        let refused: Vec<_> = (1..=12).filter(|_| overload.refuses(true)).collect();
        assert_eq!(refused, [4, 8, 12]);
        overload.share.set(0);
        assert!((0..5000).all(|_| !overload.refuses(true)));
    }

    #[test]
    fn memory_is_looked_at_once_in_an_interval_and_only_where_it_is_wanted() {
        let overload = Overload::default();
        overload.set_memory_target(90);
        overload.note_memory(Some(99), at(0));
        assert_eq!((overload.memory_percent(), overload.memory_share()), (0, 0), "all is off");
        overload.set(20, 100);
        for us in [0, 1, 99_999, 100_000] {
            overload.note_memory(Some(99), at(us));
        }
        assert_eq!((overload.memory_percent(), overload.memory_share()), (99, 2 * STEP));
        assert!(overload.refuses_any() && overload.share() == 0);
        overload.note_memory(Some(90), at(200_000));
        assert_eq!(overload.memory_share(), 2 * STEP - STEP / 2, "it falls at the target");
        overload.note_memory(None, at(200_001));
        assert!(!overload.refuses_any(), "nobody can tell");
        overload.note_memory(Some(91), at(400_000));
        assert!(
            (0..64).any(|_| overload.refuses(true)) && (0..64).all(|_| !overload.refuses(false))
        );
    }

    #[test]
    fn a_wait_is_the_longer_of_the_rest_of_a_turn_and_a_whole_one() {
        let probe = Arc::new(Probe::default());
        let wait = |sent: u64, arrived: u64, left: u64| {
            assert!(probe.send(at(sent)));
            assert!(!probe.send(at(sent)), "only one at a time");
            let passage = Passage::new(probe.clone(), at(arrived));
            assert!(!passage.end(at(arrived)), "still the same turn");
            assert_eq!(passage.due_us(), arrived + 1);
            assert!(passage.end(at(left)));
            probe.delay_us(at(left))
        };
        assert_eq!(wait(1000, 1010, 1500), 490);
        assert_eq!(wait(2000, 2300, 2400), 300);
        assert_eq!(wait(3000, 3000, 9000), 300, "the shortest counts");
        let other = Probe::default();
        assert!(other.send(at(100)));
        assert_eq!(other.delay_us(at(700)), 600, "it has not come back yet");
    }

    #[test]
    fn the_connection_in_the_middle_counts() {
        let overload = Overload::default();
        overload.set(20, 100);
        let judged = |delays: &[u64]| {
            overload.begin(0..delays.len() as u64, at(0));
            let sent = overload.due(at(0));
            for ((_, probe), delay_us) in sent.iter().zip(delays) {
                assert!(Passage::new(probe.clone(), at(0)).end(at(*delay_us)));
            }
            assert!(!overload.judge(at(99_999), |_| true), "the interval is not over");
            assert!(overload.judge(at(100_000), |client| client != 9));
            overload.delay_us.load(Ordering::Relaxed)
        };
        assert_eq!(judged(&[70, 50, 60]), 60);
        assert_eq!(judged(&[90_000, 10]), 10);
        assert_eq!(judged(&[30_000, 40_000, 10, 50_000]), 30_000);
        assert_eq!(overload.share(), STEP);
        // Of the last, whose wait is the longest, the connection is gone.
        assert_eq!(judged(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), 5);
        assert_eq!(judged(&[]), 0);
    }

    #[test]
    fn an_interval_has_room_for_the_waits_that_are_looked_for() {
        let overload = Overload::default();
        assert!(!overload.is_on());
        overload.set(500, 100);
        overload.begin(0..1, at(0));
        assert!(overload.is_on() && overload.due(at(0)).len() == 1);
        assert!(!overload.judge(at(999_999), |_| true));
        assert!(overload.judge(at(1_000_000), |_| true));
        assert_eq!(overload.share(), STEP, "it did not come back at all");
        overload.end();
        assert_eq!((overload.share(), overload.due(at(0)).len()), (0, 0));
    }
}
