//! SIGTERM and SIGINT: the first asks the server to finish, the second ends it at once. SIGHUP has the
//! configuration and the files of certificates read again. SIGUSR2 has the program that is installed now go on in this
//! process, with the same listening sockets.

use crate::config::Reloaded;
use crate::listening::handover;
use crate::process::Process;
use engine::config::Id;
use engine::host::End;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::{Handle, Signals};
use socket2::Socket;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// The bits of `shutdown-on-sigterm` and `shutdown-on-sigint`.
mod bits {
    pub const SAVE: i64 = 1;
    pub const NOSAVE: i64 = 2;
    pub const NOW: i64 = 4;
    pub const FORCE: i64 = 8;
}

/// The thread that waits for signals. Dropping it ends the thread.
pub(crate) struct SignalWatch {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl SignalWatch {
    /// Takes over SIGTERM, SIGINT, SIGHUP and SIGUSR2.
    pub fn start(process: Arc<Process>) -> io::Result<Self> {
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR2])?;
        let handle = signals.handle();
        let work = move || {
            let asked = Arc::new(AtomicBool::new(false));
            for signal in signals.forever() {
                if signal == SIGHUP {
                    reload(&process);
                    continue;
                }
                if asked.swap(true, Ordering::SeqCst) {
                    if signal == SIGUSR2 {
                        continue;
                    }
                    // Asked to end while it was to go on in another program, it ends; what that takes is under way.
                    if process.successor.lock().take().is_some() {
                        tracing::info!("the server ends, and no other program goes on");
                        continue;
                    }
                    tracing::warn!("a second signal: ending at once");
                    std::process::exit(1);
                }
                if signal == SIGUSR2 {
                    *process.successor.lock() = Some(Vec::new());
                }
                finish(&process, signal, &asked);
            }
        };
        let thread = std::thread::Builder::new().name("signals".into()).spawn(work)?;
        Ok(SignalWatch { handle, thread: Some(thread) })
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It holds nothing that a panic could have broken.
            let _ = thread.join();
        }
    }
}

/// Reads the configuration and the certificates again. Redis ignores SIGHUP. It does no harm here:
/// an invalid configuration changes nothing, and is logged.
fn reload(process: &Process) {
    match process.reloader.reload(&process.config) {
        Err(error) => tracing::warn!(error, "SIGHUP: the configuration stays as it was"),
        Ok(Reloaded { applied, restart, warnings }) => {
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            let list = |names: &[&str]| match names {
                [] => "nothing".to_owned(),
                names => names.join(", "),
            };
            tracing::info!("SIGHUP: the configuration was read again; applied: {}", list(&applied));
            if !restart.is_empty() {
                tracing::warn!("after the next start only: {}", list(&restart));
            }
        }
    }
    #[cfg(feature = "tls")]
    match process.encryption.reload(&process.config) {
        Ok(false) => {}
        Ok(true) => tracing::info!("SIGHUP: the files of certificates were read again"),
        Err(error) => tracing::warn!(error, "SIGHUP: the TLS settings stay as they were"),
    }
}

/// Asks for the end, in a thread of its own: saving may take long, and a second signal must be
/// heard meanwhile.
fn finish(process: &Arc<Process>, signal: i32, asked: &Arc<AtomicBool>) {
    let name = match signal {
        SIGINT => "SIGINT",
        SIGUSR2 => "SIGUSR2",
        _ => "SIGTERM",
    };
    tracing::info!("{name}: finishing what is under way");
    let (process, asked) = (process.clone(), asked.clone());
    std::thread::spawn(move || {
        let begun = match signal {
            SIGINT => end(&process, Id::ShutdownOnSigint),
            SIGUSR2 => give_way(&process),
            _ => end(&process, Id::ShutdownOnSigterm),
        };
        if let Err(error) = begun {
            tracing::error!(error, "{name} came, but the server goes on");
            asked.store(false, Ordering::SeqCst);
        }
    });
}

/// Ends as the directive says.
fn end(process: &Process, directive: Id) -> Result<(), String> {
    let how = process.config.integer(directive);
    let has = |bit| how & bit != 0;
    let save = match (has(bits::SAVE), has(bits::NOSAVE)) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    process.end(End { save, now: has(bits::NOW), force: has(bits::FORCE) })
}

/// Ends, and has the program that is installed now go on with the listening sockets. When it was asked to end meanwhile,
/// it ends as for SIGTERM.
fn give_way(process: &Process) -> Result<(), String> {
    let prepared = prepare(process);
    {
        let mut successor = process.successor.lock();
        match (successor.is_some(), prepared) {
            (false, _) => {
                drop(successor);
                return end(process, Id::ShutdownOnSigterm);
            }
            (true, Ok(sockets)) => *successor = Some(sockets),
            (true, Err(error)) => {
                successor.take();
                return Err(error);
            }
        }
    }
    // Saved now, to know that it is possible, and again when no client writes any more.
    let save = process.is_in_memory_only().then_some(true);
    let begun = process.end(End { save, ..End::default() });
    if begun.is_err() {
        process.successor.lock().take();
    }
    begun
}

/// The sockets to go on with, after a look at whether the program that is installed now would be the same server.
fn prepare(process: &Process) -> Result<Vec<Socket>, String> {
    let engine = process.engine().ok_or("the server is stopping")?;
    if process.supervised_sockets {
        return Err("a supervisor holds the sockets: restart the service, they stay open".into());
    }
    let changed = process.reloader.changed_by_a_start(&process.config)?;
    if !changed.is_empty() {
        return Err(format!("a start would change {}: restart the server", changed.join(", ")));
    }
    if process.users_at_start.get().is_some_and(|users| *users != engine.acl.user_lines()) {
        return Err("the users of the ACL have changed since the start: restart the server".into());
    }
    handover::try_out(handover::program())?;
    let path = process.config.text(Id::Unixsocket);
    let sockets = handover::listening(&process.addresses, Path::new(&*path));
    let sockets = sockets.map_err(|error| error.to_string())?;
    match process.addresses.len() + usize::from(!path.is_empty()) {
        expected if sockets.len() == expected => Ok(sockets),
        _ => Err("not all sockets can be kept: there are too few descriptors".into()),
    }
}
