//! The process and its supervisor: going into the background, and notifying the supervisor.

use engine::config::{ConfigStore, Id};
use sd_notify::NotifyState;
use std::io;

/// Continues in a process of its own, without terminal, standard input and output. The first
/// process ends with exit code 0.
///
/// # Errors
/// Fails with the operating system's error.
///
/// To be called while there is only one thread, because other threads would not exist in the new
/// process.
pub(crate) fn daemonize() -> io::Result<()> {
    // SAFETY: daemon takes two numbers. There is no other thread whose locks could stay held: the allocator's own
    // prepares for a fork.
    match unsafe { libc::daemon(1, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The supervisor by name, as `INFO` says it: the one that is configured, or found.
pub(crate) fn supervisor(config: &ConfigStore) -> &'static str {
    let asked = config.choice(Id::Supervised);
    match asked {
        "systemd" | "auto" if std::env::var_os("NOTIFY_SOCKET").is_some() => "systemd",
        _ => "no",
    }
}

/// Tells the supervisor that clients are served now.
pub(crate) fn tell_ready(config: &ConfigStore) {
    tell(config, &[NotifyState::Ready, NotifyState::Status("Ready to accept connections")]);
}

/// Tells the supervisor that the server ends, or that another program continues in this process.
pub(crate) fn tell_stopping(config: &ConfigStore, goes_on: bool) {
    tell(config, &[if goes_on { NotifyState::Reloading } else { NotifyState::Stopping }]);
}

fn tell(config: &ConfigStore, states: &[NotifyState<'_>]) {
    if supervisor(config) == "systemd"
        && let Err(error) = sd_notify::notify(false, states)
    {
        tracing::warn!(%error, "systemd can't be told");
    }
}
