//! A `varve` process, and a client for it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
pub use storage::testing::free_port;
use storage::testing::{until, until_some};
use tempfile::TempDir;

/// Every runtime, with one thread for all clients.
pub const ONE_THREAD: &[&[&str]] = &[
    &["--runtime", "epoll", "--threads", "1"],
    &["--runtime", "epoll", "--threads", "1", "--epoll-execution", "pool"],
    &["--runtime", "tokio", "--threads", "1"],
    &["--runtime", "uring", "--threads", "1"],
    &["--runtime", "threads", "--threads", "1"],
];

/// Of these runtimes those that this system can have. If its kernel has no io_uring, that is said aloud.
pub fn possible<'a>(
    runtimes: &'a [&'a [&'a str]],
) -> impl Iterator<Item = &'a &'a [&'a str]> + Clone {
    runtimes.iter().filter(|runtime| !runtime.contains(&"uring") || kernel_has_uring())
}

fn kernel_has_uring() -> bool {
    #[cfg(target_os = "linux")]
    let refusal = runtime_uring::check_kernel().err();
    #[cfg(not(target_os = "linux"))]
    let refusal = Some("only Linux has it");
    if let Some(why) = &refusal {
        // Not by `eprintln!`, of which nobody sees anything if a test passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED: tests of the runtime uring: {why}");
    }
    refusal.is_none()
}

/// Longer than any start or stop takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server. Dropping it kills it.
pub struct Varve {
    child: Child,
    pub port: u16,
}

/// The result of a process that has ended.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// The binary, with an environment that cannot interfere.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_varve"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("VARVE_")) {
        command.env_remove(name);
    }
    command
}

/// Runs the binary to its end: for starts that fail.
pub fn run(args: &[&str]) -> Ended {
    let output = command(args).output().expect("the binary runs");
    Ended {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Varve {
    /// Starts a server with its data in `dir`, and waits until it serves.
    pub fn start(dir: &Path, args: &[&str]) -> Varve {
        let mut varve = Self::launch(dir, args);
        varve.wait_until_ready();
        varve
    }

    /// Starts a server on this port, and waits until it serves.
    pub fn start_at(dir: &Path, port: u16, args: &[&str]) -> Varve {
        let mut varve = Self::launch_at(dir, port, args);
        varve.wait_until_ready();
        varve
    }

    /// The same with variables in its environment.
    pub fn start_with(dir: &Path, args: &[&str], environment: &[(&str, &str)]) -> Varve {
        let port = free_port();
        let (port_text, dir) = (port.to_string(), dir.to_str().expect("a UTF-8 path"));
        let all = [&["--port", &port_text, "--dir", dir], args].concat();
        let child = command(&all).envs(environment.iter().copied()).spawn();
        let mut varve = Varve { child: child.expect("the binary starts"), port };
        varve.wait_until_ready();
        varve
    }

    /// Starts a server, and does not wait: it may still be loading.
    pub fn launch(dir: &Path, args: &[&str]) -> Varve {
        Self::launch_at(dir, free_port(), args)
    }

    fn launch_at(dir: &Path, port: u16, args: &[&str]) -> Varve {
        let (port_text, dir) = (port.to_string(), dir.to_str().expect("a UTF-8 path"));
        Self::spawn(&["--port", &port_text, "--dir", dir], args, port)
    }

    /// Starts a server with a configuration file, and waits until it serves.
    pub fn start_from(file: &Path, dir: &Path, args: &[&str]) -> Varve {
        let port = free_port();
        let (port_text, dir) = (port.to_string(), dir.to_str().expect("a UTF-8 path"));
        let file = file.to_str().expect("a UTF-8 path");
        let mut varve = Self::spawn(&[file, "--port", &port_text, "--dir", dir], args, port);
        varve.wait_until_ready();
        varve
    }

    fn spawn(first: &[&str], args: &[&str], port: u16) -> Varve {
        let all: Vec<&str> = first.iter().chain(args).copied().collect();
        let child = command(&all).spawn().expect("the binary starts");
        Varve { child, port }
    }

    fn wait_until_ready(&mut self) {
        until("it answers", || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("it ended with {status}: {}", read(self.child.stderr.take()));
            }
            self.ping().is_ok()
        });
    }

    /// Connections may be refused, or be reset when the start fails after listening.
    fn ping(&self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(self.address())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"PING\r\n")?;
        let mut reply = [0; 7];
        stream.read_exact(&mut reply)?;
        // The other answer is that it is loading.
        match &reply {
            b"+PONG\r\n" | b"-NOAUTH" => Ok(()),
            _ => Err(std::io::ErrorKind::WouldBlock.into()),
        }
    }

    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub fn connect(&self) -> redis::Connection {
        connect(self.address())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill takes two integers; the process is our child and not yet waited for, so
        // the id is still its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as libc::pid_t, signal) }, 0);
    }

    /// Stops it until it gets `SIGCONT`. Returns when none of its threads runs any more: until one of them has taken
    /// the signal, which on a busy machine takes a while, the others go on and answer.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
        let mut status = 0;
        // SAFETY: the process is our child and not yet waited for, and `status` lives until waitpid has written it.
        let stopped =
            unsafe { libc::waitpid(self.pid() as libc::pid_t, &mut status, libc::WUNTRACED) };
        assert_eq!(stopped, self.pid() as libc::pid_t);
        assert!(libc::WIFSTOPPED(status), "it ended instead: {status}");
    }

    /// SIGKILL: no farewell.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM, and what came of it.
    pub fn stop(self) -> Ended {
        self.signal(libc::SIGTERM);
        self.ended()
    }

    /// Waits for the end.
    pub fn ended(mut self) -> Ended {
        let status = until_some("it ends", || self.child.try_wait().expect("our child"));
        let stdout = read(self.child.stdout.take());
        Ended { status, stdout, stderr: read(self.child.stderr.take()) }
    }
}

impl Drop for Varve {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(stream: Option<impl Read>) -> String {
    let mut text = String::new();
    if let Some(mut stream) = stream {
        stream.read_to_string(&mut text).expect("UTF-8 output");
    }
    text
}

/// A client, as people write them.
pub fn connect(address: SocketAddr) -> redis::Connection {
    let client = redis::Client::open(format!("redis://{address}/")).expect("a valid address");
    let connection = client.get_connection().expect("it accepts connections");
    connection.set_read_timeout(Some(PATIENCE)).expect("a valid timeout");
    connection
}

/// A folder for one test, and the data folder in it, which does not exist yet.
pub fn folder() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let data = dir.path().join("data");
    (dir, data)
}
