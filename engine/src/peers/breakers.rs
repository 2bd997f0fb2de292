//! [`Breakers`]: the circuit breakers of a server, one for each thing that it depends on and that may
//! fail or hang.

use super::breaker::{Breaker, State, Tally, Temper};
use hashbrown::HashMap;
use parking_lot::Mutex;
use runtime::Now;
use std::time::Duration;

/// A kind of thing that a server depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Syncing the append-only file. Its probe is a rewrite into new files.
    Disk,
    /// The master of a replica. Attempts are connections.
    Master,
    /// A server to which `MIGRATE` sends keys. It fails by not answering: refusing a connection
    /// costs nobody any time.
    Migrate,
    /// Another node of the cluster. Attempts are connections.
    Node,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Kind::Disk => "disk",
            Kind::Master => "master",
            Kind::Migrate => "migrate",
            Kind::Node => "node",
        }
    }

    const fn temper(self) -> Temper {
        let (failures, first_ms, longest_ms) = match self {
            Kind::Disk => (1, 1_000, 60_000),
            Kind::Master => (3, 250, 1_000),
            // Each failure is as long as the client's timeout, which holds keys and a thread.
            Kind::Migrate => (1, 1_000, 10_000),
            Kind::Node => (3, 200, 1_000),
        };
        let rest = (Duration::from_millis(first_ms), Duration::from_millis(longest_ms));
        Temper { failures, rest }
    }
}

/// The highest number of breakers. Clients choose the targets of `MIGRATE`; beyond it the one that
/// was used least recently is forgotten, one that is closed first.
const BREAKERS_MAX: usize = 512;

/// The longest name of something that has a breaker, in bytes; longer ones are no names of hosts.
const NAME_MAX: usize = 300;

/// A breaker as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its kind and name: `migrate:10.0.0.7:6379`.
    pub name: String,
    /// Its state.
    pub state: State,
    /// Its counts.
    pub tally: Tally,
}

/// All breakers of a server.
#[derive(Debug, Default)]
pub struct Breakers(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    all: HashMap<(Kind, Box<str>), Used>,
    /// Counts of breakers that were forgotten.
    gone: Tally,
}

#[derive(Debug)]
struct Used {
    breaker: Breaker,
    at_us: u64,
}

impl Breakers {
    /// Whether an attempt may begin now. Its outcome is to be reported.
    pub fn admit(&self, kind: Kind, name: &str, now: Now) -> bool {
        self.with(kind, name, now, |breaker| breaker.admit(now.mono_us)).unwrap_or(true)
    }

    /// Whether an attempt that began now would be refused; it is counted then.
    pub fn refuses(&self, kind: Kind, name: &str, now: Now) -> bool {
        self.with(kind, name, now, |breaker| breaker.refuses(now.mono_us)).unwrap_or(false)
    }

    /// The time until an attempt would be admitted, as far as it is known.
    pub fn wait(&self, kind: Kind, name: &str, now: Now) -> Duration {
        self.state(kind, name).wait(now.mono_us)
    }

    /// The state of a breaker; closed, if there is none.
    pub fn state(&self, kind: Kind, name: &str) -> State {
        let table = self.0.lock();
        let known = table.all.get(&(kind, Box::from(name)));
        known.map_or(State::Closed, |used| used.breaker.state())
    }

    /// An attempt succeeded.
    pub fn succeeded(&self, kind: Kind, name: &str, now: Now) {
        self.with(kind, name, now, Breaker::succeeded);
    }

    /// An attempt failed. Returns whether the breaker was closed and is no longer.
    pub fn failed(&self, kind: Kind, name: &str, now: Now) -> bool {
        self.with(kind, name, now, |breaker| breaker.failed(now.mono_us)).unwrap_or(false)
    }

    /// Forgets a breaker, for something that is needed no longer.
    pub fn forget(&self, kind: Kind, name: &str) {
        self.0.lock().forget(&(kind, name.into()));
    }

    /// All breakers, in order of their names.
    pub fn all(&self) -> Vec<Shown> {
        let table = self.0.lock();
        let shown = |((kind, name), used): (&(Kind, Box<str>), &Used)| Shown {
            name: format!("{}:{name}", kind.name()),
            state: used.breaker.state(),
            tally: used.breaker.tally(),
        };
        let mut all: Vec<Shown> = table.all.iter().map(shown).collect();
        drop(table);
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// The counts of all breakers, forgotten ones too.
    pub fn tally(&self) -> Tally {
        let table = self.0.lock();
        table.all.values().fold(table.gone, |sum, used| plus(sum, used.breaker.tally()))
    }

    /// Does something with a breaker, which is made if there is none; `None` for an impossible name.
    fn with<R>(
        &self,
        kind: Kind,
        name: &str,
        now: Now,
        what: impl FnOnce(&mut Breaker) -> R,
    ) -> Option<R> {
        if name.len() > NAME_MAX {
            return None;
        }
        let mut table = self.0.lock();
        let key = (kind, Box::from(name));
        if table.all.len() >= BREAKERS_MAX && !table.all.contains_key(&key) {
            table.make_room();
        }
        let fresh = || Used { breaker: Breaker::new(kind.temper()), at_us: 0 };
        let used = table.all.entry(key).or_insert_with(fresh);
        used.at_us = now.mono_us;
        Some(what(&mut used.breaker))
    }
}

impl Table {
    fn make_room(&mut self) {
        let age = |(_, used): &(&(Kind, Box<str>), &Used)| {
            (used.breaker.state() != State::Closed, used.at_us)
        };
        if let Some(key) = self.all.iter().min_by_key(age).map(|(key, _)| key.clone()) {
            self.forget(&key);
        }
    }

    fn forget(&mut self, key: &(Kind, Box<str>)) {
        if let Some(used) = self.all.remove(key) {
            self.gone = plus(self.gone, used.breaker.tally());
        }
    }
}

fn plus(one: Tally, other: Tally) -> Tally {
    Tally {
        failures: one.failures + other.failures,
        opened: one.opened + other.opened,
        refused: one.refused + other.refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_us: u64) -> Now {
        Now { wall_ms: 0, mono_us }
    }

    #[test]
    fn each_has_its_own_and_all_are_shown_in_order() {
        let breakers = Breakers::default();
        assert!(breakers.failed(Kind::Migrate, "h:2", at(0)));
        assert!(!breakers.failed(Kind::Master, "h:2", at(0)), "one failure is not enough");
        assert!(breakers.admit(Kind::Migrate, "h:1", at(1)));
        assert!(!breakers.admit(Kind::Migrate, "h:2", at(1)));
        let shown: Vec<_> =
            breakers.all().into_iter().map(|it| (it.name, it.state.name())).collect();
        let expected =
            [("master:h:2", "closed"), ("migrate:h:1", "closed"), ("migrate:h:2", "open")];
        assert_eq!(shown, expected.map(|(name, state)| (name.to_owned(), state)));
        assert_eq!(breakers.tally(), Tally { failures: 2, opened: 1, refused: 1 });
        assert_eq!(breakers.wait(Kind::Migrate, "h:2", at(400_000)), Duration::from_millis(600));
        breakers.forget(Kind::Migrate, "h:2");
        assert!(breakers.admit(Kind::Migrate, "h:2", at(2)));
        assert_eq!(breakers.tally(), Tally { failures: 2, opened: 1, refused: 1 });
    }

    #[test]
    fn their_number_is_bounded_and_those_that_are_open_stay() {
        let breakers = Breakers::default();
        breakers.failed(Kind::Migrate, "silent", at(0));
        for number in 0..2 * BREAKERS_MAX as u64 {
            assert!(breakers.admit(Kind::Migrate, &number.to_string(), at(number)));
        }
        assert_eq!(breakers.all().len(), BREAKERS_MAX);
        assert_eq!(breakers.state(Kind::Migrate, "silent").name(), "open");
        assert!(breakers.admit(Kind::Migrate, &"x".repeat(NAME_MAX + 1), at(0)));
        assert_eq!(breakers.all().len(), BREAKERS_MAX);
    }
}
