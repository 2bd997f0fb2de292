//! `cargo xtask conformance`: golden scripts against a real Redis, answer by answer.
//!
//! Our side is an engine in this process over the memory backend; the other is a server that this
//! command starts, or one that is running already. Differences that are meant are listed, with
//! their reasons, in `golden/differences.txt`.

use anyhow::{Context, Result, bail};
use clap::Args;
use golden::{Driver, EngineDriver, Entry, Script, SocketDriver, record, scripts_under};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::backend::EncodingLimits;
use storage::memory::{Config, MemoryBackend};

/// Compare the golden scripts' answers with those of a real server
#[derive(Args)]
pub struct ConformanceArgs {
    /// The server program to start and compare with
    #[arg(long, default_value = "redis-server")]
    oracle: String,
    /// Compare with a running server instead (it will be flushed)
    #[arg(long, value_name = "HOST:PORT")]
    against: Option<SocketAddr>,
    /// The other side is as new as we are: steps marked `@newer` count, no difference is known
    #[arg(long)]
    ours: bool,
    /// Take our side's answers from a running Varve instead (with --against: compare the two)
    #[arg(long, value_name = "HOST:PORT")]
    mirror: Option<SocketAddr>,
    /// Only scripts whose name begins so
    only: Option<String>,
}

/// A server started for the comparison, ended when dropped.
struct Oracle {
    child: Option<Child>,
    address: SocketAddr,
}

impl Drop for Oracle {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start(args: &ConformanceArgs) -> Result<Oracle> {
    if let Some(address) = args.against {
        return Ok(Oracle { child: None, address });
    }
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let child = Command::new(&args.oracle)
        .args(["--port", &port.to_string(), "--dir", "/tmp", "--save", ""])
        .args(["--appendonly", "no", "--enable-debug-command", "yes"])
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("starting {}", args.oracle))?;
    let oracle = Oracle { child: Some(child), address: SocketAddr::from(([127, 0, 0, 1], port)) };
    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(oracle.address).is_err() {
        if Instant::now() > until {
            bail!("{} does not accept connections", args.oracle);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(oracle)
}

/// Differences that are meant: `family/name: command line` → reason.
fn known_differences(root: &Path) -> Result<BTreeMap<String, String>> {
    let path = root.join("golden/differences.txt");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let entry = |line: &str| {
        let (what, why) = line
            .split_once(" -- ")
            .with_context(|| format!("{}: `{line}`: no ` -- reason`", path.display()))?;
        Ok((what.trim().to_owned(), why.trim().to_owned()))
    };
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(entry).collect()
}

fn in_process() -> EngineDriver {
    EngineDriver::new(|| {
        let limits = EncodingLimits::default();
        Arc::new(MemoryBackend::new(Config { shards: 4, databases: 16, hash_seed: 7, limits }))
    })
}

/// What a comparison found.
#[derive(Default)]
struct Tally {
    compared: usize,
    left_out: usize,
    known: usize,
    differing: usize,
}

/// One run of the command.
struct Comparison<'a> {
    args: &'a ConformanceArgs,
    known: BTreeMap<String, String>,
    tally: Tally,
}

impl Comparison<'_> {
    fn script(&mut self, script: &Script, address: SocketAddr, protocol: u8) -> Result<()> {
        let mut ours: Box<dyn Driver> = match self.args.mirror {
            Some(address) => Box::new(SocketDriver::new(address)),
            None => Box::new(in_process()),
        };
        let mut theirs = SocketDriver::new(address);
        let answers =
            |driver: &mut dyn Driver| record(script, driver, protocol).map_err(anyhow::Error::msg);
        let (ours, theirs) = (answers(&mut *ours)?, answers(&mut theirs)?);
        for (our, their) in ours.iter().zip(&theirs) {
            self.answer(&script.name, protocol, our, their);
        }
        Ok(())
    }

    fn answer(&mut self, script: &str, protocol: u8, our: &Entry, their: &Entry) {
        if our.mark.ours || our.mark.newer && !self.args.ours {
            self.tally.left_out += 1;
            return;
        }
        self.tally.compared += usize::from(!our.answer.is_empty());
        if our.answer == their.answer {
            return;
        }
        if !self.args.ours && self.known.contains_key(&format!("{script}: {}", our.text)) {
            self.tally.known += 1;
            return;
        }
        self.tally.differing += 1;
        println!("{script}: > {}  (RESP{protocol})", our.text);
        print!("{}{}", indent("ours:   ", &our.answer), indent("theirs: ", &their.answer));
    }
}

fn indent(head: &str, answer: &str) -> String {
    answer.lines().map(|line| format!("    {head}{line}\n")).collect()
}

/// Runs the comparison.
///
/// # Errors
/// When a server or a script fails, or any answer differs without being listed.
pub fn run(args: &ConformanceArgs, root: &Path) -> Result<()> {
    let oracle = start(args)?;
    let folder = root.join("golden/scripts");
    let only = args.only.clone().unwrap_or_default();
    let mut comparison =
        Comparison { args, known: known_differences(root)?, tally: Tally::default() };
    for name in scripts_under(&folder)?.iter().filter(|name| name.starts_with(&only)) {
        let script = Script::read(&folder, name)?;
        for protocol in [2, 3] {
            comparison.script(&script, oracle.address, protocol)?;
        }
    }
    let Tally { compared, left_out, known, differing } = comparison.tally;
    println!(
        "{compared} answers compared, {differing} differing; {known} known differences, {left_out} steps not compared (marked)"
    );
    if differing > 0 {
        bail!("{differing} answers differ");
    }
    Ok(())
}
