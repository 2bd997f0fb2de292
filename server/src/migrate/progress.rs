//! How far a migration is: a bar on a terminal, lines elsewhere.

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Lines are written so often.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The progress bars, or lines where there is no terminal.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    said: Option<Instant>,
}

impl Progress {
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template(
                "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {msg}",
            );
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Progress { bar, said: None }
    }

    /// Prints a line.
    pub fn say(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// Prints the last line.
    pub fn done(&mut self, text: &str) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.say(text);
    }

    /// Data are being copied; `total` is zero where it is not known.
    pub fn copying(&mut self, read: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total.max(read));
            bar.set_position(read);
            bar.set_message("copying");
        } else if self.is_time() {
            eprintln!("{} copied", HumanBytes(read));
        }
    }

    /// The stream is followed.
    pub fn behind(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{} behind", HumanBytes(bytes)));
        } else if self.is_time() {
            eprintln!("{} behind", HumanBytes(bytes));
        }
    }

    fn is_time(&mut self) -> bool {
        let due = self.said.is_none_or(|said| said.elapsed() >= LINE_EVERY);
        if due {
            self.said = Some(Instant::now());
        }
        due
    }
}
