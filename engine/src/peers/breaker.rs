//! [`Breaker`]: whether something that failed lately may be tried again.
//!
//! A state machine without clock and threads: each call is given the time. Closed, every attempt is
//! admitted. After some failures in a row it opens, and refuses attempts for a rest. Then one
//! attempt, the probe, is admitted (half-open): if it succeeds the breaker closes, otherwise it
//! opens again for twice as long, up to a longest rest.

use std::time::Duration;

/// When a breaker opens, and how long it rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Temper {
    /// The number of failures in a row at which it opens; at least one.
    pub failures: u32,
    /// How long it is open: at first, and at most. The latter also bounds how long a probe may take
    /// before another one is admitted in its place.
    pub rest: (Duration, Duration),
}

/// The state of a breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Every attempt is admitted.
    #[default]
    Closed,
    /// No attempt is admitted before this time.
    Open {
        /// Microseconds of the monotonic clock.
        until_us: u64,
    },
    /// A probe is under way, and no other attempt is admitted before this time.
    HalfOpen {
        /// Microseconds of the monotonic clock.
        until_us: u64,
    },
}

impl State {
    /// The state's name.
    pub fn name(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::Open { .. } => "open",
            State::HalfOpen { .. } => "half-open",
        }
    }

    /// The time until the next attempt is admitted, as far as it is known.
    pub fn wait(self, now_us: u64) -> Duration {
        match self {
            State::Closed => Duration::ZERO,
            State::Open { until_us } | State::HalfOpen { until_us } => {
                Duration::from_micros(until_us.saturating_sub(now_us))
            }
        }
    }
}

/// The counts since the breaker was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Failed attempts.
    pub failures: u64,
    /// How often it opened.
    pub opened: u64,
    /// Attempts that were refused.
    pub refused: u64,
}

/// A circuit breaker.
#[derive(Clone, Copy, Debug)]
pub struct Breaker {
    temper: Temper,
    state: State,
    /// Failures since the last success.
    in_a_row: u32,
    /// How long it rests the next time it opens.
    rest: Duration,
    tally: Tally,
}

impl Breaker {
    /// A closed one.
    pub fn new(temper: Temper) -> Breaker {
        let (rest, tally) = (temper.rest.0, Tally::default());
        Breaker { temper, state: State::Closed, in_a_row: 0, rest, tally }
    }

    /// The state. One that is open stays so until somebody asks for admission after its rest.
    pub fn state(&self) -> State {
        self.state
    }

    /// The counts.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Whether an attempt that began now would be refused. Counts it if so.
    pub fn refuses(&mut self, now_us: u64) -> bool {
        let refused = !self.state.wait(now_us).is_zero();
        self.tally.refused += u64::from(refused);
        refused
    }

    /// Whether an attempt may begin now, whose outcome is to be reported.
    pub fn admit(&mut self, now_us: u64) -> bool {
        if self.refuses(now_us) {
            return false;
        }
        if self.state != State::Closed {
            self.state = State::HalfOpen { until_us: after(now_us, self.temper.rest.1) };
        }
        true
    }

    /// An attempt succeeded, whenever it began: it closes.
    pub fn succeeded(&mut self) {
        (self.state, self.in_a_row, self.rest) = (State::Closed, 0, self.temper.rest.0);
    }

    /// An attempt failed. Returns whether it was closed and is no longer. One that is open does not
    /// rest any longer for attempts that had begun before.
    pub fn failed(&mut self, now_us: u64) -> bool {
        self.tally.failures += 1;
        self.in_a_row = self.in_a_row.saturating_add(1);
        let was_closed = self.state == State::Closed;
        let opens = match self.state {
            State::Closed => self.in_a_row >= self.temper.failures,
            State::HalfOpen { .. } => true,
            State::Open { .. } => false,
        };
        if opens {
            self.state = State::Open { until_us: after(now_us, self.rest) };
            self.rest = (self.rest * 2).min(self.temper.rest.1);
            self.tally.opened += 1;
        }
        opens && was_closed
    }
}

fn after(now_us: u64, time: Duration) -> u64 {
    now_us.saturating_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEMPER: Temper =
        Temper { failures: 3, rest: (Duration::from_micros(100), Duration::from_micros(350)) };

    #[test]
    fn it_opens_after_failures_in_a_row_rests_longer_each_time_and_closes_by_a_probe() {
        let mut breaker = Breaker::new(TEMPER);
        for now_us in [0, 1] {
            assert!(breaker.admit(now_us) && !breaker.failed(now_us));
        }
        breaker.succeeded();
        for now_us in [2, 3] {
            assert!(breaker.admit(now_us) && !breaker.failed(now_us));
        }
        assert!(breaker.failed(4), "the third in a row");
        assert!(!breaker.failed(50), "it had begun before");
        assert!(!breaker.admit(103));
        let mut now_us = 4;
        for rest in [100, 200, 350, 350] {
            assert_eq!(breaker.state(), State::Open { until_us: now_us + rest });
            now_us += rest;
            assert!(breaker.admit(now_us) && !breaker.admit(now_us), "one probe");
            assert!(!breaker.failed(now_us), "it was not closed");
        }
        assert!(breaker.admit(now_us + 350));
        breaker.succeeded();
        assert_eq!(breaker.state(), State::Closed);
        assert_eq!(breaker.tally(), Tally { failures: 10, opened: 5, refused: 5 });
    }

    #[test]
    fn a_probe_of_which_nothing_is_heard_is_replaced() {
        let mut breaker = Breaker::new(Temper { failures: 1, ..TEMPER });
        assert!(breaker.failed(0) && breaker.admit(100));
        assert!(!breaker.admit(449) && breaker.admit(450) && !breaker.admit(451));
        assert_eq!(breaker.state().wait(451), Duration::from_micros(349));
    }

    #[derive(Clone, Copy, Debug)]
    enum Deed {
        Admit,
        Succeed,
        Fail,
    }

    fn deeds() -> impl Strategy<Value = Vec<(u64, Deed)>> {
        let deed =
            prop_oneof![3 => Just(Deed::Admit), 1 => Just(Deed::Succeed), 3 => Just(Deed::Fail)];
        prop::collection::vec((0..200_u64, deed), 0..200)
    }

    proptest! {
        #[test]
        fn whatever_happens_it_follows_its_rules(deeds in deeds(), failures in 1..5_u32) {
            let temper = Temper { failures, ..TEMPER };
            let (mut breaker, mut now_us, mut in_a_row, mut probed) = (Breaker::new(temper), 0, 0, None);
            for (pause_us, deed) in deeds {
                now_us += pause_us;
                let before = breaker.state();
                match deed {
                    Deed::Admit => {
                        let admitted = breaker.admit(now_us);
                        prop_assert_eq!(admitted, before.wait(now_us).is_zero());
                        if admitted && before != State::Closed {
                            // Two probes are never closer to each other than the shortest rest.
                            let early = probed.is_some_and(|at| now_us - at < 100);
                            prop_assert!(!early);
                            probed = Some(now_us);
                        }
                    }
                    Deed::Succeed => {
                        breaker.succeeded();
                        (in_a_row, probed) = (0, None);
                        prop_assert_eq!(breaker.state(), State::Closed);
                    }
                    Deed::Fail => {
                        in_a_row += 1;
                        let opened = breaker.failed(now_us);
                        prop_assert!(!opened || in_a_row >= failures);
                    }
                }
                let is_closed = breaker.state() == State::Closed;
                prop_assert_eq!(is_closed, in_a_row < failures);
                // It is never shut for longer than the longest rest.
                prop_assert!(breaker.state().wait(now_us) <= temper.rest.1);
            }
        }
    }
}
