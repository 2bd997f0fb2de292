//! `HOTKEYS`: the keys on which most time is spent, and the most bytes, for as long as somebody wants to know.

pub(crate) mod profile;
mod sketch;

use parking_lot::Mutex;
use runtime::Now;
use sketch::Sketch;
use std::ops::Range;
use storage::random::mix;

/// A key with what was spent on it.
pub type Hot = (Box<[u8]>, u64);

/// The options of a measurement.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether by time.
    pub time: bool,
    /// Whether by bytes.
    pub bytes: bool,
    /// The number of keys to name.
    pub count: usize,
    /// The time after which it ends, in milliseconds; 0 for none.
    pub duration_ms: u64,
    /// One of so many commands is looked at.
    pub ratio: u64,
    /// The only slots of a cluster whose keys are looked at, in ascending order; none for all.
    pub slots: Vec<Range<u16>>,
}

impl Options {
    fn selects(&self, slot: u16) -> bool {
        self.slots.is_empty() || self.slots.iter().any(|range| range.contains(&slot))
    }
}

/// The results so far.
#[derive(Debug)]
pub struct Report {
    /// Whether more is to come.
    pub is_active: bool,
    /// One of so many commands was looked at.
    pub ratio: u64,
    /// The time of the start, in Unix milliseconds.
    pub started_ms: u64,
    /// The time since then, or up to its end, in milliseconds.
    pub duration_ms: u64,
    /// The time of all commands in microseconds, whether looked at or not.
    pub total_us: u64,
    /// The bytes of their arguments and replies.
    pub total_bytes: u64,
    /// The slots that were selected, and what was spent on commands with keys in them; none if all are.
    pub selected: Option<Selected>,
    /// The bytes of the commands looked at.
    pub seen_bytes: u64,
    /// The keys of those looked at, with microseconds, most first.
    pub by_time_us: Option<Vec<Hot>>,
    /// The keys of those looked at, with bytes, most first.
    pub by_bytes: Option<Vec<Hot>>,
    /// The cost of each shard's keys, in the commands looked at.
    pub shards: Vec<Spent>,
}

/// The cost of the commands with keys in selected slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// The slots.
    pub slots: Vec<Range<u16>>,
    /// The time of all of these commands, in microseconds.
    pub us: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The time of those looked at, in microseconds.
    pub seen_us: u64,
}

/// The cost of a shard's keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// The number of uses of its keys.
    pub uses: u64,
    /// The time in microseconds.
    pub us: u64,
    /// The bytes.
    pub bytes: u64,
}

/// A key of a command, with its shard.
type Used<'k> = (&'k [u8], u32);

/// The cost of one command.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    nanos: u64,
    bytes: u64,
}

impl Cost {
    fn add(&mut self, other: Cost) {
        self.nanos += other.nanos;
        self.bytes += other.bytes;
    }
}

/// One observation, from its start to `HOTKEYS RESET`.
#[derive(Debug)]
struct Measurement {
    options: Options,
    started: Now,
    /// The time at which it ends or has ended, in monotonic milliseconds.
    ends_ms: u64,
    is_active: bool,
    commands: u64,
    total: Cost,
    /// That of the commands with keys in selected slots.
    selected: Cost,
    /// That of those among them that were looked at.
    seen: Cost,
    nanos: Option<Sketch>,
    bytes: Option<Sketch>,
    /// By shard: uses, and their costs.
    shards: Vec<(u64, Cost)>,
}

impl Measurement {
    fn new(options: Options, now: Now) -> Self {
        let ends_ms = match options.duration_ms {
            0 => u64::MAX,
            ms => now.mono_ms().saturating_add(ms),
        };
        let sketch = |wanted: bool| wanted.then(|| Sketch::for_top(options.count));
        Measurement {
            started: now,
            ends_ms,
            is_active: true,
            commands: 0,
            total: Cost::default(),
            selected: Cost::default(),
            seen: Cost::default(),
            nanos: sketch(options.time),
            bytes: sketch(options.bytes),
            shards: Vec::new(),
            options,
        }
    }

    fn stop_when_over(&mut self, now: Now) {
        self.is_active &= now.mono_ms() < self.ends_ms;
    }

    fn note(&mut self, cost: Cost, keys: &[Used<'_>], slot: u16) {
        self.commands += 1;
        self.total.add(cost);
        if keys.is_empty() || !self.options.selects(slot) {
            return;
        }
        self.selected.add(cost);
        // At random, so that commands in a pattern are not missed.
        if !mix(self.commands).is_multiple_of(self.options.ratio) {
            return;
        }
        self.seen.add(cost);
        let number = keys.len() as u64;
        let each = Cost { nanos: cost.nanos / number, bytes: cost.bytes / number };
        for (key, shard) in keys {
            self.nanos.iter_mut().for_each(|sketch| sketch.add(key, each.nanos));
            self.bytes.iter_mut().for_each(|sketch| sketch.add(key, each.bytes));
            self.note_shard(*shard as usize, each);
        }
    }

    fn note_shard(&mut self, shard: usize, cost: Cost) {
        if self.shards.len() <= shard {
            self.shards.resize(shard + 1, (0, Cost::default()));
        }
        let (uses, spent) = &mut self.shards[shard];
        *uses += 1;
        spent.add(cost);
    }

    fn selected(&self) -> Option<Selected> {
        let slots = Some(self.options.slots.clone()).filter(|slots| !slots.is_empty())?;
        let (us, seen_us) = (self.selected.nanos / 1000, self.seen.nanos / 1000);
        Some(Selected { slots, us, bytes: self.selected.bytes, seen_us })
    }

    fn report(&self, now: Now) -> Report {
        let top = |sketch: &Sketch| sketch.top(self.options.count);
        let in_us = |(key, nanos): Hot| (key, nanos / 1000);
        let spent = |(uses, cost): &(u64, Cost)| Spent {
            uses: *uses,
            us: cost.nanos / 1000,
            bytes: cost.bytes,
        };
        Report {
            is_active: self.is_active,
            ratio: self.options.ratio,
            started_ms: self.started.wall_ms,
            duration_ms: now.mono_ms().min(self.ends_ms).saturating_sub(self.started.mono_ms()),
            total_us: self.total.nanos / 1000,
            total_bytes: self.total.bytes,
            selected: self.selected(),
            seen_bytes: self.seen.bytes,
            by_time_us: self.nanos.as_ref().map(|it| top(it).into_iter().map(in_us).collect()),
            by_bytes: self.bytes.as_ref().map(top),
            shards: self.shards.iter().map(spent).collect(),
        }
    }
}

/// The observation in progress, or the last one.
#[derive(Debug, Default)]
pub struct HotKeys(Mutex<Option<Measurement>>);

impl HotKeys {
    /// The numbers of keys that one may ask for.
    pub const COUNT_MAX: usize = 64;

    /// The results; `None` if no measurement was begun, or it was reset.
    pub fn report(&self, now: Now) -> Option<Report> {
        let mut tracking = self.0.lock();
        let tracking = tracking.as_mut()?;
        tracking.stop_when_over(now);
        Some(tracking.report(now))
    }

    /// Begins; not if one is in progress.
    fn start(&self, options: Options, now: Now) -> bool {
        let mut tracking = self.0.lock();
        tracking.iter_mut().for_each(|tracking| tracking.stop_when_over(now));
        let starts = !tracking.as_ref().is_some_and(|tracking| tracking.is_active);
        if starts {
            *tracking = Some(Measurement::new(options, now));
        }
        starts
    }

    /// Ends the observation in progress, and keeps its results. Returns false if there is none.
    fn stop(&self, now: Now) -> bool {
        let mut tracking = self.0.lock();
        let Some(tracking) = tracking.as_mut() else { return false };
        tracking.stop_when_over(now);
        let stops = std::mem::take(&mut tracking.is_active);
        if stops {
            tracking.ends_ms = now.mono_ms();
        }
        stops
    }

    /// Forgets the results. Returns false, and forgets nothing, if the observation is still in progress.
    pub fn reset(&self, now: Now) -> bool {
        let mut tracking = self.0.lock();
        tracking.iter_mut().for_each(|tracking| tracking.stop_when_over(now));
        let resets = !tracking.as_ref().is_some_and(|tracking| tracking.is_active);
        if resets {
            *tracking = None;
        }
        resets
    }

    /// Tells whether an observation is in progress, which changes only afterwards.
    fn while_still(&self, tell: impl FnOnce(bool)) {
        let tracking = self.0.lock();
        tell(tracking.as_ref().is_some_and(|tracking| tracking.is_active));
    }

    /// Records a command whose keys are in `slot`. Returns false if the observation is over.
    fn note(&self, cost: Cost, keys: &[Used<'_>], slot: u16, now: Now) -> bool {
        let mut tracking = self.0.lock();
        let Some(tracking) = tracking.as_mut() else { return false };
        tracking.stop_when_over(now);
        if tracking.is_active {
            tracking.note(cost, keys, slot);
        }
        tracking.is_active
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Options =
        Options { time: true, bytes: true, count: 2, duration_ms: 0, ratio: 1, slots: Vec::new() };

    fn at(ms: u64) -> Now {
        Now { wall_ms: 5000 + ms, mono_us: ms * 1000 }
    }

    fn cost(us: u64, bytes: u64) -> Cost {
        Cost { nanos: us * 1000, bytes }
    }

    fn names(hot: Option<Vec<Hot>>) -> Vec<(String, u64)> {
        let text = |(key, spent): Hot| (String::from_utf8(key.into()).unwrap(), spent);
        hot.unwrap().into_iter().map(text).collect()
    }

    #[test]
    fn keys_are_in_order_of_what_is_spent_on_them() {
        let keys = HotKeys::default();
        assert!(keys.report(at(0)).is_none());
        assert!(!keys.note(cost(1, 1), &[(b"early", 0)], 0, at(0)) && keys.start(ALL, at(10)));
        assert!(!keys.start(ALL, at(11)), "one at a time");
        assert!(keys.note(cost(10, 300), &[(b"a", 0), (b"b", 1), (b"c", 1)], 0, at(20)));
        assert!(keys.note(cost(50, 1), &[(b"b", 1)], 0, at(20)));
        assert!(keys.note(cost(7, 1000), &[(b"c", 1)], 0, at(30)));
        assert!(keys.note(cost(1000, 7), &[], 0, at(30)), "without a key");
        let report = keys.report(at(40)).unwrap();
        assert_eq!((report.total_us, report.total_bytes), (1067, 1308));
        assert_eq!((report.started_ms, report.duration_ms), (5010, 30));
        assert_eq!(names(report.by_time_us), [("b".into(), 53), ("c".into(), 10)]);
        assert_eq!(names(report.by_bytes), [("c".into(), 1100), ("b".into(), 101)]);
        let second = Spent { uses: 4, us: 63, bytes: 1201 };
        assert_eq!(report.shards, [Spent { uses: 1, us: 3, bytes: 100 }, second]);
    }

    #[test]
    fn it_ends_in_time_or_when_told_and_keeps_what_it_has() {
        let keys = HotKeys::default();
        assert!(keys.start(Options { duration_ms: 100, bytes: false, ..ALL }, at(0)));
        assert!(keys.note(cost(5, 5), &[(b"k", 3)], 0, at(99)));
        assert!(!keys.reset(at(99)), "it is in progress");
        assert!(!keys.note(cost(5, 5), &[(b"k", 3)], 0, at(100)));
        let report = keys.report(at(500)).unwrap();
        assert!(!report.is_active && report.by_bytes.is_none());
        assert_eq!((report.duration_ms, report.total_us), (100, 5));
        assert!(!keys.stop(at(500)));
        assert!(keys.start(ALL, at(600)) && keys.stop(at(650)));
        assert_eq!(keys.report(at(900)).unwrap().duration_ms, 50);
        assert!(keys.reset(at(900)) && keys.report(at(900)).is_none());
    }

    #[test]
    fn a_sample_is_about_as_large_as_asked_for() {
        let keys = HotKeys::default();
        assert!(keys.start(Options { ratio: 10, ..ALL }, at(0)));
        for _ in 0..10_000 {
            assert!(keys.note(cost(1, 1), &[(b"k", 3)], 0, at(1)));
        }
        let report = keys.report(at(2)).unwrap();
        let [(_, seen)] = names(report.by_bytes).try_into().unwrap();
        assert!((900..1100).contains(&seen), "{seen}");
        assert_eq!((report.ratio, report.total_bytes), (10, 10_000));
    }

    #[test]
    fn only_keys_of_selected_slots_are_looked_at() {
        let keys = HotKeys::default();
        let slots = vec![3..4, 7..9];
        assert!(keys.start(Options { slots: slots.clone(), ..ALL }, at(0)));
        for (slot, key) in [(3, b"a"), (4, b"b"), (8, b"c"), (9, b"d"), (8, b"c")] {
            assert!(keys.note(cost(10, 100), &[(key, 0)], slot, at(1)));
        }
        assert!(keys.note(cost(1000, 1000), &[], 3, at(1)), "without a key");
        let report = keys.report(at(2)).unwrap();
        assert_eq!((report.total_us, report.total_bytes, report.seen_bytes), (1050, 1500, 300));
        assert_eq!(report.selected, Some(Selected { slots, us: 30, bytes: 300, seen_us: 30 }));
        assert_eq!(names(report.by_bytes), [("c".into(), 200), ("a".into(), 100)]);
        assert!(keys.stop(at(3)) && keys.start(ALL, at(4)));
        assert_eq!(keys.report(at(5)).unwrap().selected, None);
    }
}
