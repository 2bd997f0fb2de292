//! How far loading is: a line on a terminal that is written over, lines in the log elsewhere.

use indicatif::ProgressBar;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// The interval of the lines; loading that takes less has none.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// The interval at which the line on a terminal changes.
const CHANGE_EVERY: Duration = Duration::from_millis(100);

/// Entries between two looks at the clock.
const LOOK_EVERY: u64 = 256;

/// The number of entries that were loaded so far.
pub(crate) struct Progress {
    what: &'static str,
    entries: u64,
    said: Instant,
    /// On a terminal.
    line: Option<ProgressBar>,
}

impl Progress {
    /// Nothing of `what` is loaded yet.
    pub fn new(what: &'static str) -> Self {
        Progress { what, entries: 0, said: Instant::now(), line: None }
    }

    /// One more entry.
    #[inline]
    pub fn count(&mut self) {
        self.entries += 1;
        if self.entries.is_multiple_of(LOOK_EVERY) {
            self.tell();
        }
    }

    fn tell(&mut self) {
        let since = self.said.elapsed();
        if let Some(line) = self.line.as_ref().filter(|_| since >= CHANGE_EVERY) {
            line.set_message(self.text());
            line.tick();
            self.said = Instant::now();
        } else if let Some(text) = self.due(since) {
            match std::io::stderr().is_terminal() {
                true => self.line = Some(ProgressBar::new_spinner().with_message(text)),
                false => tracing::info!("{text}"),
            }
            self.said = Instant::now();
        }
    }

    /// The line to write, `since` the last one.
    fn due(&self, since: Duration) -> Option<String> {
        (self.line.is_none() && since >= LINE_EVERY).then(|| self.text())
    }

    fn text(&self) -> String {
        format!("loading the {}: {} entries so far", self.what, self.entries)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_loading_says_how_far_it_is() {
        let mut progress = Progress::new("snapshot");
        (0..3 * LOOK_EVERY).for_each(|_| progress.count());
        assert_eq!(progress.due(LINE_EVERY / 2), None);
        let line = progress.due(LINE_EVERY).unwrap();
        assert_eq!(line, format!("loading the snapshot: {} entries so far", 3 * LOOK_EVERY));
    }
}
