//! Listening sockets that outlive a process: those a supervisor gives to this one (systemd's socket activation), and
//! those that this one gives to the program that takes its place (SIGUSR2).
//!
//! Both use the protocol of `sd_listen_fds(3)`: descriptors from 3 on, and `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`.

use crate::system::cores;
use signal_hook::consts::{SIGHUP, SIGUSR2};
use socket2::Socket;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The first descriptor of the protocol.
const FIRST: RawFd = 3;
/// Above all descriptors that the protocol will use.
const ABOVE: RawFd = 256;
/// How long a new program may take to look at the configuration, and how often to look whether it has.
const TRIED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// By which this program knows sockets that it has given to itself.
const NAME: &str = "varve-upgrade";

/// Sockets that were there before this process.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// Bound and listening.
    pub sockets: Vec<Socket>,
    /// Whether an earlier version of this program gave them, in the same process.
    pub from_us: bool,
}

/// Takes over the sockets that were given to this process. To be called once, early, while there is
/// only one thread.
///
/// # Errors
/// Fails if the environment announces sockets that do not exist.
pub(crate) fn inherit() -> io::Result<Inherited> {
    let mut inherited = Inherited::default();
    for (fd, name) in sd_notify::listen_fds_with_names(true)? {
        inherited.from_us |= name == NAME;
        // SAFETY: whoever started this process says that the descriptor is open and this process's to use; it is
        // taken once, because the variables that announce it are gone now.
        let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(fd) });
        if !is_listening(&socket) {
            return Err(io::Error::other(format!("descriptor {fd} is no listening socket")));
        }
        socket.set_nonblocking(true)?;
        inherited.sockets.push(socket);
    }
    Ok(inherited)
}

fn is_listening(socket: &Socket) -> bool {
    socket.is_listener().unwrap_or(false)
}

/// The sockets among this process's descriptors that listen on `addresses` or at `path`,
/// duplicated. They go on listening when their other owner closes them, and clients that connect
/// wait in their queue.
///
/// # Errors
/// Fails if the descriptors cannot be listed.
pub(crate) fn listening(addresses: &[SocketAddr], path: &Path) -> io::Result<Vec<Socket>> {
    let listed = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok());
    let ours = |socket: &Socket| {
        let address = socket.local_addr().ok();
        is_listening(socket)
            && address.is_some_and(|address| match address.as_socket() {
                Some(address) => addresses.contains(&address),
                None => !path.as_os_str().is_empty() && address.as_pathname() == Some(path),
            })
    };
    let mut found: Vec<Socket> = Vec::new();
    for socket in listed.filter_map(duplicate).map(Socket::from).filter(ours) {
        let address = socket.local_addr()?;
        if found.iter().all(|other| other.local_addr().is_ok_and(|other| other != address)) {
            found.push(socket);
        }
    }
    Ok(found)
}

/// Another descriptor of the same file, above those of the protocol, closed by exec. None, if it is not open any more.
fn duplicate(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: fcntl takes numbers; a descriptor that is not open is an error.
    let other = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, ABOVE) };
    // SAFETY: it is new, and nobody else's.
    (other >= 0).then(|| unsafe { OwnedFd::from_raw_fd(other) })
}

/// Lets `program` check the configuration with this process's arguments, before this process is
/// replaced by it.
///
/// # Errors
/// Fails with the reason why the program cannot be used.
pub(crate) fn try_out(program: &Path) -> Result<(), String> {
    let name = program.display();
    let mut command = Command::new(program);
    command.args(["config", "check"]).args(std::env::args_os().skip(1));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
    let until = Instant::now() + TRIED_WITHIN;
    while child.try_wait().map_err(|error| format!("{name}: {error}"))?.is_none() {
        if Instant::now() >= until {
            // It may have ended just now.
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{name} does not say whether the configuration is right"));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let output = child.wait_with_output().map_err(|error| format!("{name}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim().to_owned()))
        }
    }
}

/// Puts `program`, with this process's arguments, in its place, and gives it `sockets`. Returns only if that fails.
pub(crate) fn begin_anew(program: &Path, sockets: Vec<Socket>) -> io::Error {
    cores::unpin();
    let names = vec![NAME; sockets.len()].join(":");
    let mut command = Command::new(program);
    command
        .args(std::env::args_os().skip(1))
        .env("LISTEN_FDS", sockets.len().to_string())
        .env("LISTEN_PID", std::process::id().to_string())
        .env("LISTEN_FDNAMES", names);
    let place = move || {
        for (socket, to) in sockets.iter().zip(FIRST..) {
            // SAFETY: dup2 takes numbers. What it closes at `to` is this process's, which ends with the next call.
            if unsafe { libc::dup2(socket.as_raw_fd(), to) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        for signal in [SIGHUP, SIGUSR2] {
            // SAFETY: it takes numbers. To be ignored survives exec, a handler does not: one that comes early ends nobody.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls only. It runs in this process, right before exec.
    unsafe { command.pre_exec(place) };
    command.exec()
}

/// The path from which this program was started, as it was given then; another program may be there
/// by now. To be called first at the start, while the working folder is still that one.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let named = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
        let found = if named.components().count() > 1 {
            std::path::absolute(&named).ok()
        } else {
            let folders = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&folders).map(|dir| dir.join(&named)).find(|path| path.is_file())
        };
        let found = found.filter(|path| path.is_file());
        found.or_else(|| std::env::current_exe().ok()).unwrap_or(named)
    })
}

/// Makes this process ignore the signals for a reload or an upgrade, until they are handled.
///
/// # Errors
/// Fails with the operating system's error.
pub(crate) fn ignore_signals() -> io::Result<()> {
    [SIGHUP, SIGUSR2]
        .into_iter()
        .try_for_each(|signal| signal_hook::flag::register(signal, Arc::default()).map(drop))
}
