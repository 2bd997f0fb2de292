//! The immediate end of the process, when a panic has left half a transaction: see the engine's
//! `containment`.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;
use storage::Journal;

/// `EX_SOFTWARE`: an internal error was found.
const EXIT_CODE: i32 = 70;

/// The time that a disk gets to sync the log.
const PATIENCE: Duration = Duration::from_secs(3);

/// Ends the process. Everything acknowledged has been written to the kernel or synced, as the
/// policy demands. The rest of the log is synced, too, if the disk is fast enough.
pub(crate) fn end(journal: Option<Arc<dyn Journal>>) {
    let (done, synced) = channel();
    let sync = move || {
        if let Some(Err(error)) = journal.map(|journal| journal.sync()) {
            tracing::error!(%error, "the append-only file could not be synced at the end");
        }
        // After the time-out nobody receives this.
        let _ = done.send(());
    };
    // Not in this thread: it holds shards, and may be within the log.
    let thread = std::thread::Builder::new().name("fail-stop".into()).spawn(sync);
    if thread.is_ok() && synced.recv_timeout(PATIENCE).is_err() {
        tracing::error!("syncing the append-only file takes too long");
    }
    // SAFETY: `_exit` takes a number and does not return. Unlike `exit` it runs nothing of this
    // process, which might wait for a lock that a panic has left held.
    unsafe { libc::_exit(EXIT_CODE) }
}
