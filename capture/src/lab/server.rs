//! Starting, freezing, restarting and stopping one server of the comparison.

use super::client::Client;
use super::cpu;
use super::limit::MemoryLimit;
use anyhow::{Context, Result, anyhow, bail};
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A server that does not answer PING after so long will not.
const START_MAX: Duration = Duration::from_secs(60);

/// A server that has not ended so long after SIGTERM is killed.
const STOP_MAX: Duration = Duration::from_secs(20);

/// The settings with which a server is started.
pub struct Launch<'a> {
    /// Its binary.
    pub program: &'a Path,
    /// Its options, given the port and the data directory.
    pub options: &'a dyn Fn(u16, &Path) -> Vec<String>,
    /// Its cores; none for no pinning.
    pub cores: &'a [usize],
    /// The folder in which its directory is created.
    pub dir: &'a Path,
    /// Memory it may use, bytes.
    pub memory: Option<u64>,
}

/// A running server. Dropping it kills it and deletes its data.
pub struct Server {
    addr: SocketAddr,
    process: Option<Process>,
    /// From starting the process to the first answered PING.
    pub start_time: Option<Duration>,
}

struct Process {
    child: Child,
    program: PathBuf,
    options: Vec<String>,
    cores: Vec<usize>,
    dir: TempDir,
    limit: Option<MemoryLimit>,
}

impl Server {
    /// Starts a server and waits until it answers PING.
    pub fn start(launch: &Launch<'_>) -> Result<Server> {
        let dir = tempfile::Builder::new().prefix("server-").tempdir_in(launch.dir)?;
        let addr = free_port()?;
        let data = dir.path().join("data");
        fs::create_dir(&data)?;
        let options = (launch.options)(addr.port(), &data);
        let (program, cores) = (launch.program.to_path_buf(), launch.cores.to_vec());
        let limit = launch.memory.map(MemoryLimit::new).transpose()?;
        let started = Instant::now();
        let child = spawn(&program, &options, &cores, dir.path(), limit.as_ref())?;
        let process = Some(Process { child, program, options, cores, dir, limit });
        let mut server = Server { addr, process, start_time: None };
        server.start_time = Some(server.wait_until_ready(started)?);
        Ok(server)
    }

    /// A server that was started elsewhere, once it has answered PING.
    pub fn running(addr: SocketAddr) -> Result<Server> {
        Client::connect(addr)?.is_ready()?;
        Ok(Server { addr, process: None, start_time: None })
    }

    /// The address at which it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its process, unless it was started elsewhere.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.child.id())
    }

    /// Stops the process completely until [`Server::thaw`], so that the background work of an idle
    /// server does not disturb the measurement of another.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets it run again.
    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Ends it as an operator would, starts it with the same data, returns how long it took
    /// until it served, and how many keys it then has.
    pub fn restart(&mut self) -> Result<(Duration, u64)> {
        self.thaw();
        self.signal(libc::SIGTERM);
        let took = self.start_again().context("after SIGTERM")?;
        Ok((took, Client::connect(self.addr)?.key_count()?))
    }

    /// Starts it with the same data, once it has ended, for which it was sent a signal. Returns how
    /// long it took until it served.
    pub fn start_again(&mut self) -> Result<Duration> {
        let process = self.process.as_mut().context("not ours to restart")?;
        wait_for_end(&mut process.child, STOP_MAX).context("it does not end")?;
        let started = Instant::now();
        process.child = spawn(
            &process.program,
            &process.options,
            &process.cores,
            process.dir.path(),
            process.limit.as_ref(),
        )?;
        self.wait_until_ready(started)
    }

    /// The reason why it does not run any more; `None` while it runs.
    pub fn end(&mut self) -> Option<String> {
        let process = self.process.as_mut()?;
        let status = process.child.try_wait().ok()??;
        let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(libc::SIGKILL);
        // A killed process leaves no message.
        let why = match (killed, &process.limit) {
            (true, Some(_)) => "it needs more memory than it is given".to_string(),
            (true, None) => String::new(),
            (false, _) => last_words(process.dir.path()).unwrap_or_default(),
        };
        Some(format!("the server ended, {status}: {why}").trim_end_matches([':', ' ']).to_string())
    }

    /// Bytes in its data folder.
    pub fn disk_bytes(&self) -> Option<u64> {
        let process = self.process.as_ref()?;
        Some(folder_bytes(&process.dir.path().join("data")))
    }

    /// Sends its process a signal.
    pub fn signal(&self, signal: libc::c_int) {
        if let Some(pid) = self.pid() {
            // SAFETY: kill takes two integers; the process is our child and not yet waited for,
            // so the id cannot have been given to another one.
            unsafe { libc::kill(pid as libc::pid_t, signal) };
        }
    }

    fn wait_until_ready(&mut self, started: Instant) -> Result<Duration> {
        let mut last = String::new();
        while started.elapsed() < START_MAX {
            if let Some(process) = &mut self.process
                && let Some(status) = process.child.try_wait()?
            {
                bail!("{}", last_words(process.dir.path()).unwrap_or_else(|| status.to_string()));
            }
            match Client::connect(self.addr).and_then(|mut client| client.is_ready()) {
                Ok(true) => return Ok(started.elapsed()),
                Ok(false) => last = "it is loading".to_string(),
                Err(error) => last = format!("{error:#}"),
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        bail!("not ready after {} s: {last}", START_MAX.as_secs())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // Nothing to be done about a failure here: the process has ended already.
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

fn spawn(
    program: &Path,
    options: &[String],
    cores: &[usize],
    dir: &Path,
    limit: Option<&MemoryLimit>,
) -> Result<Child> {
    let log = |name| File::options().append(true).create(true).open(dir.join(name));
    let mut command = Command::new(program);
    command.args(options).current_dir(dir).stdin(Stdio::null());
    command.stdout(log("stdout")?).stderr(log("stderr")?);
    end_with_us(&mut command);
    let mut child = cpu::pinned(cores, || command.spawn())?
        .with_context(|| format!("starting {}", program.display()))?;
    if let Some(Err(error)) = limit.map(|limit| limit.hold(child.id())) {
        child.kill()?;
        child.wait()?;
        return Err(error);
    }
    Ok(child)
}

/// Servers must not outlive an interrupted bench, frozen ones least of all.
#[cfg(target_os = "linux")]
fn end_with_us(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let arm = || {
        // SAFETY: prctl with these constants takes integers only and is async-signal-safe.
        let rc = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        if rc == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: the closure only makes a system call; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(arm) };
}

#[cfg(not(target_os = "linux"))]
fn end_with_us(_command: &mut Command) {}

fn wait_for_end(child: &mut Child, limit: Duration) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < limit {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill()?;
    child.wait()?;
    Err(anyhow!("killed after {} s", limit.as_secs()))
}

/// The line in which a server reported why it ended: the last on stderr, or else on stdout.
fn last_words(dir: &Path) -> Option<String> {
    ["stderr", "stdout"].iter().find_map(|name| {
        let text = fs::read_to_string(dir.join(name)).ok()?;
        let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
        Some(line.trim().chars().take(200).collect())
    })
}

/// Bytes of all files under `dir`; what disappears meanwhile does not count.
fn folder_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => folder_bytes(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// An address of this machine at which nobody listens at the moment.
///
/// # Errors
/// Fails if there is none.
pub fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_refuses_to_start_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("refuses");
        fs::write(&program, "#!/bin/sh\necho starting\necho 'no such feature: x' >&2\nexit 1\n")
            .unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&program, mode).unwrap();
        let options = |_: u16, _: &Path| Vec::new();
        let launch = Launch {
            program: &program,
            options: &options,
            cores: &[],
            dir: dir.path(),
            memory: None,
        };
        let error = Server::start(&launch).err().unwrap();
        assert_eq!(error.to_string(), "no such feature: x");
    }
}
