//! `varve cluster try`: three nodes on this machine, to be played with. They end with it.

use super::form::{self, FormArgs, Forming};
use crate::error::StartError;
use crate::migrate::client::{Client, Place, Reply};
use clap::{Args, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{IsTerminal, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// From a node's port to the one where other nodes connect.
const BUS_OFFSET: u16 = 1_000;

/// Nodes.
const NODES: u16 = 3;

/// Where ports are looked for.
const FIRST_PORT: u16 = 7_000;

/// Until the cluster serves, at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// A write of which nothing was heard for so long is given up.
const WRITE_PATIENCE: Duration = Duration::from_secs(1);

/// Between two lines.
const LINE: Duration = Duration::from_millis(200);

/// `varve cluster …`: nodes that agree on every write.
#[derive(Args, Debug)]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    what: Task,
}

#[derive(Subcommand, Debug)]
enum Task {
    /// Starts three nodes on this machine, until Ctrl-C.
    Try(TryArgs),
    /// Makes a cluster of servers that run with `cluster-enabled yes`, or completes one.
    Form(FormArgs),
}

#[derive(Args, Debug)]
struct TryArgs {
    /// The first node's port; those behind it are the others'. Free ones from 7000 on, unless given.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Kills the leader again and again, and shows how long nobody could write.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    kill_leader_every: Option<Duration>,
    /// Where the nodes keep their data. A folder that goes with them, unless given.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// `10` or `10s`.
fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text).parse::<u64>();
    number
        .ok()
        .filter(|number| *number > 0)
        .map(Duration::from_secs)
        .ok_or_else(|| format!("'{text}' is no number of seconds"))
}

/// Runs `varve cluster …`.
///
/// # Errors
/// Fails if the nodes do not form a cluster.
pub(crate) fn run(args: &ClusterArgs) -> Result<(), StartError> {
    let args = match &args.what {
        Task::Form(args) => return form::run(args),
        Task::Try(args) => args,
    };
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, ended.clone()).map_err(StartError::other)?;
    }
    let mut nodes = Nodes::start(args)?;
    if nodes.found(&ended)? {
        nodes.announce();
        match args.kill_leader_every {
            Some(every) => nodes.torment(every, &ended)?,
            None => nodes.watch(&ended)?,
        }
    }
    Ok(())
}

/// The processes of the nodes. Dropping this ends them, and removes their data unless the user
/// named the folder.
struct Nodes {
    children: Vec<(u16, Child)>,
    dir: PathBuf,
    is_ours: bool,
}

impl Nodes {
    fn start(args: &TryArgs) -> Result<Nodes, StartError> {
        let ports = ports(args.port)?;
        let ours = std::env::temp_dir().join(format!("varve-cluster-{}", std::process::id()));
        let dir = args.dir.clone().unwrap_or(ours);
        let mut nodes = Nodes { children: Vec::new(), dir, is_ours: args.dir.is_none() };
        for port in ports {
            let child = nodes.spawn(port)?;
            nodes.children.push((port, child));
        }
        Ok(nodes)
    }

    fn spawn(&self, port: u16) -> Result<Child, StartError> {
        let folder = self.dir.join(port.to_string());
        let failed = |error| StartError::file("prepare", &folder, error);
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let log = std::fs::File::create(folder.join("log")).map_err(failed)?;
        let errors = log.try_clone().map_err(failed)?;
        let program = std::env::current_exe().map_err(StartError::other)?;
        let mut command = Command::new(program);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--cluster-enabled", "yes", "--dir"]).arg(&folder);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        command.spawn().map_err(StartError::other)
    }

    /// The nodes become a cluster, unless that is one already; whether they did before the end.
    fn found(&mut self, ended: &AtomicBool) -> Result<bool, StartError> {
        let ports: Vec<u16> = self.children.iter().map(|(port, _)| *port).collect();
        for port in &ports {
            let up = || ask(*port, &["PING"]).is_ok_and(|reply| reply == "PONG");
            if !self.wait(ended, up)? {
                return Ok(false);
            }
        }
        let mut forming = Forming::new(ports.iter().map(|port| place(*port)).collect());
        let mut refused = None;
        let whole = || match forming.advance() {
            Ok(missing) => missing.is_none() && leader(&ports).is_some(),
            Err(error) => {
                refused = Some(error);
                true
            }
        };
        let is_whole = self.wait(ended, whole)?;
        refused.map_or(Ok(is_whole), |error| Err(StartError::Other(error)))
    }

    fn announce(&self) {
        let ports: Vec<String> = self.children.iter().map(|(port, _)| port.to_string()).collect();
        say(&format!(
            "A cluster of {NODES}: ports {} (Ctrl-C ends it)\n  \
             redis-cli -c -p {} set greeting hello\n  data and logs in {}\n",
            ports.join(" "),
            ports[0],
            self.dir.display()
        ));
    }

    /// Waits until something is so; whether that was before the end.
    fn wait(
        &mut self,
        ended: &AtomicBool,
        mut so: impl FnMut() -> bool,
    ) -> Result<bool, StartError> {
        let began = Instant::now();
        while !so() {
            if ended.load(Ordering::SeqCst) {
                return Ok(false);
            }
            self.check()?;
            if began.elapsed() > PATIENCE {
                let text = "the nodes did not become a cluster in time: see their logs in";
                return Err(StartError::Other(format!("{text} {}", self.dir.display())));
            }
            std::thread::sleep(LOOK);
        }
        Ok(true)
    }

    /// Whether all nodes run.
    fn check(&mut self) -> Result<(), StartError> {
        for (port, child) in &mut self.children {
            if let Ok(Some(status)) = child.try_wait() {
                let log = self.dir.join(port.to_string()).join("log");
                let text = std::fs::read_to_string(log).unwrap_or_default();
                let last = text.lines().last().unwrap_or_default().to_owned();
                return Err(StartError::Other(format!("node {port} ended ({status}): {last}")));
            }
        }
        Ok(())
    }

    fn watch(&mut self, ended: &AtomicBool) -> Result<(), StartError> {
        while !ended.load(Ordering::SeqCst) {
            std::thread::sleep(LOOK);
            if !ended.load(Ordering::SeqCst) {
                self.check()?;
            }
        }
        Ok(())
    }

    /// Writes all the time, kills the leader now and then, and starts it again when another leads.
    fn torment(&mut self, every: Duration, ended: &AtomicBool) -> Result<(), StartError> {
        let ports: Vec<u16> = self.children.iter().map(|(port, _)| *port).collect();
        let mut writer = Writer::new(ports.clone());
        let (mut killed, mut shown) = (Instant::now(), Instant::now());
        let mut dead: Option<u16> = None;
        while !ended.load(Ordering::SeqCst) {
            let written = writer.write();
            if let Some(port) = dead.take_if(|_| written) {
                self.restart(port)?;
            }
            if dead.is_none() && killed.elapsed() >= every {
                dead = leader(&ports);
                dead.into_iter().for_each(|port| self.kill(port));
                (killed, writer.longest) = (Instant::now(), Duration::ZERO);
                writer.kills += u64::from(dead.is_some());
            }
            if shown.elapsed() >= LINE {
                writer.show(shown.elapsed());
                shown = Instant::now();
            }
        }
        say("\n");
        Ok(())
    }

    fn kill(&mut self, port: u16) {
        for (_, child) in self.children.iter_mut().filter(|(of, _)| *of == port) {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn restart(&mut self, port: u16) -> Result<(), StartError> {
        let again = self.spawn(port)?;
        if let Some((_, child)) = self.children.iter_mut().find(|(of, _)| *of == port) {
            *child = again;
        }
        Ok(())
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // Everything acknowledged is on their disks, so they need not end in an orderly way.
        for (_, child) in &mut self.children {
            let _ = child.kill(); // it may have ended by itself
        }
        for (_, child) in &mut self.children {
            let _ = child.wait(); // it was waited for already
        }
        if self.is_ours {
            let _ = std::fs::remove_dir_all(&self.dir); // it may not have been made
        }
    }
}

/// Prints something at once. If nobody reads it, the cluster runs nevertheless.
fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The ports of the nodes: free ones, beginning with the first if it is given.
fn ports(first: Option<u16>) -> Result<Vec<u16>, StartError> {
    let free = |port: &u16| {
        let bus = port.checked_add(BUS_OFFSET);
        [Some(*port), bus]
            .iter()
            .all(|port| port.is_some_and(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()))
    };
    let found: Vec<u16> = match first {
        Some(first) => (first..=u16::MAX).take(NODES.into()).collect(),
        None => (FIRST_PORT..FIRST_PORT + BUS_OFFSET).filter(free).take(NODES.into()).collect(),
    };
    match found.len() == usize::from(NODES) {
        true => Ok(found),
        false => Err(StartError::other("no ports are free: name one with --port")),
    }
}

fn place(port: u16) -> Place {
    Place { host: "127.0.0.1".into(), port, user: String::new(), password: String::new() }
}

fn connect(port: u16) -> Result<Client, String> {
    let client = Client::connect(&place(port))?;
    client.set_patience(WRITE_PATIENCE)?;
    Ok(client)
}

fn ask(port: u16, words: &[&str]) -> Result<String, String> {
    connect(port)?.text(words)
}

/// A line of `CLUSTER INFO`.
fn figure(port: u16, name: &str) -> Result<String, String> {
    let text = ask(port, &["CLUSTER", "INFO"])?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map(|value| value.trim().to_owned()).ok_or_else(|| format!("there is no {name}"))
}

/// The leader, according to itself.
fn leader(ports: &[u16]) -> Option<u16> {
    let leads = |port: &&u16| {
        let ok = figure(**port, "cluster_state").is_ok_and(|state| state == "ok");
        let nodes = ask(**port, &["CLUSTER", "NODES"]).unwrap_or_default();
        ok && nodes.lines().any(|line| line.contains("myself,master") && line.ends_with(" 0-16383"))
    };
    ports.iter().find(leads).copied()
}

/// A client that writes one value after the other, wherever it is served.
struct Writer {
    ports: Vec<u16>,
    client: Option<Client>,
    /// Which of the ports it talks to, or would.
    at: usize,
    last: Instant,
    longest: Duration,
    written: u64,
    kills: u64,
}

impl Writer {
    fn new(ports: Vec<u16>) -> Writer {
        let (last, longest) = (Instant::now(), Duration::ZERO);
        Writer { ports, client: None, at: 0, last, longest, written: 0, kills: 0 }
    }

    /// Writes once; whether that was acknowledged.
    fn write(&mut self) -> bool {
        let client = match self.client.take() {
            Some(client) => Ok(client),
            None => connect(self.ports[self.at]),
        };
        let asked = client.and_then(|mut client| {
            let reply = client.ask(&["SET", "varve:try", &self.written.to_string()])?;
            Ok((client, reply))
        });
        match asked {
            Ok((client, Reply::Text(_))) => {
                self.client = Some(client);
                self.longest = self.longest.max(self.last.elapsed());
                self.last = Instant::now();
                self.written += 1;
                return true;
            }
            Ok((client, Reply::Error(error))) => self.follow(client, &error),
            Err(_) => self.elsewhere(),
        }
        false
    }

    /// Goes where it is sent, or waits a moment.
    fn follow(&mut self, client: Client, error: &str) {
        let to = error.strip_prefix("MOVED ").and_then(|rest| rest.rsplit_once(':'));
        let to = to.and_then(|(_, port)| port.parse().ok());
        match self.ports.iter().position(|port| Some(*port) == to) {
            Some(at) => self.at = at,
            None if error.starts_with("TRYAGAIN") => self.client = Some(client),
            None => self.elsewhere(),
        }
    }

    fn elsewhere(&mut self) {
        self.at = (self.at + 1) % self.ports.len();
        std::thread::sleep(LOOK);
    }

    fn show(&mut self, time: Duration) {
        let rate = self.written as f64 / time.as_secs_f64();
        self.written = 0;
        let gap = self.longest.max(self.last.elapsed()).as_secs_f64();
        let port = self.ports[self.at];
        let text = format!(
            "{rate:7.0} writes/s at {port}; leader killed {} times, longest pause since: {gap:.2} s",
            self.kills
        );
        match std::io::stdout().is_terminal() {
            true => say(&format!("\r{text}  ")),
            false => say(&format!("{text}\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_say_so_and_ports_follow_each_other() {
        assert_eq!(seconds("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(seconds("3"), Ok(Duration::from_secs(3)));
        assert!(["0", "s", "1m", ""].iter().all(|text| seconds(text).is_err()));
        assert_eq!(ports(Some(100)).unwrap(), [100, 101, 102]);
        assert!(ports(Some(65_534)).is_err());
    }
}
