//! Computes how long windows may be, so that a run takes the time it was given.

use std::time::{Duration, Instant};

/// A window is at least so long, however little time is left …
const SHORTEST: Duration = Duration::from_millis(100);

/// … and no longer than this: beyond it a longer window changes little.
const LONGEST: Duration = Duration::from_millis(600);

/// The time a window takes besides itself: connecting, and warming up for at least 100 ms.
const AROUND: Duration = Duration::from_millis(120);

/// Warm-up before a window: a quarter of it, at least 100 ms after the server was thawed.
pub fn warmup(window: Duration) -> Duration {
    (window / 4).clamp(Duration::from_millis(100), Duration::from_secs(2))
}

/// The available time, and the work to be done in it.
#[derive(Debug)]
pub struct Budget {
    started: Instant,
    total: Duration,
    fixed: Option<Duration>,
}

/// The plan for one task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allotment {
    /// Length of a window.
    pub window: Duration,
    /// Rounds.
    pub rounds: u32,
}

impl Budget {
    /// `total` from now on; `fixed` when the length of windows was asked for.
    pub fn new(total: Duration, fixed: Option<f64>) -> Budget {
        Budget { started: Instant::now(), total, fixed: fixed.map(Duration::from_secs_f64) }
    }

    /// Plans the task that has just been loaded, which took `loading`: `rounds` of `windows` each
    /// are wanted now, and `later` windows and `loads` further loadings after it. The number of
    /// rounds is reduced only if `flexible`, and only if even the shortest windows take too long.
    pub fn plan(
        &self,
        (rounds, flexible): (u32, bool),
        windows: u64,
        (later, loads): (u64, u32),
        loading: Duration,
    ) -> Allotment {
        if let Some(window) = self.fixed {
            return Allotment { window, rounds };
        }
        // Restarting with the data takes about as long as a third of loading it.
        let reserved = loading * loads + loading * (loads + 1) / 3;
        let left = self.total.saturating_sub(self.started.elapsed()).saturating_sub(reserved);
        let all = windows * u64::from(rounds) + later * u64::from(rounds);
        let each = left.div_f64(all.max(1) as f64).saturating_sub(AROUND);
        // Whole milliseconds, for those who read it.
        let window = Duration::from_millis(each.clamp(SHORTEST, LONGEST).as_millis() as u64);
        let round = (SHORTEST + AROUND).mul_f64((windows + later).max(1) as f64);
        let possible = (left.as_secs_f64() / round.as_secs_f64()) as u32;
        let rounds = if flexible { rounds.min(possible.max(1)) } else { rounds };
        Allotment { window, rounds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(seconds: u64, windows: u64) -> Allotment {
        let budget = Budget::new(Duration::from_secs(seconds), None);
        budget.plan((3, true), windows, (0, 0), Duration::ZERO)
    }

    #[test]
    fn windows_fill_the_time_there_is() {
        let Allotment { window, rounds } = plan(100, 100);
        assert_eq!(rounds, 3);
        assert!((0.19..0.22).contains(&window.as_secs_f64()), "{window:?}");
        assert_eq!(plan(100, 10).window, LONGEST);
    }

    #[test]
    fn rounds_go_before_windows_get_too_short_to_say_anything() {
        assert_eq!(plan(50, 100), Allotment { window: SHORTEST, rounds: 2 });
        assert_eq!(plan(1, 100), Allotment { window: SHORTEST, rounds: 1 });
        let fixed = Budget::new(Duration::from_secs(1), Some(0.5));
        let plan = fixed.plan((3, true), 100, (0, 0), Duration::ZERO);
        assert_eq!(plan, Allotment { window: Duration::from_millis(500), rounds: 3 });
    }
}
