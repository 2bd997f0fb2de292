//! Data from one server to another. `varve migrate --from redis://…` moves all data of a running Redis into a running server of ours, without
//! a stop: ours follows it, both are compared, ours becomes the master. `varve export` and `varve import` take keys through a file; `varve bigkeys` only looks at them.

pub(crate) mod bigkeys;
pub(crate) mod client;
pub(crate) mod export;
pub(crate) mod import;
mod keys;
mod progress;

use crate::error::StartError;
use clap::Args;
use client::{Client, Place, Reply};
use progress::Progress;
use std::time::{Duration, Instant};

/// The interval at which the progress is examined.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Moves the data of a running Redis (or Valkey, or Varve) into a running Varve, without a stop.
#[derive(Args, Debug)]
pub(crate) struct MigrateArgs {
    /// Where the data are: redis://[user:password@]host:port. All databases are moved.
    #[arg(long, value_name = "URL")]
    from: Place,
    /// The server that takes them; what it holds is replaced.
    #[arg(long, value_name = "URL", default_value = "redis://127.0.0.1:6379")]
    to: Place,
    /// Follow and compare, and go on following: nothing is cut over.
    #[arg(long)]
    no_cut_over: bool,
    /// Seconds until an attempt is given up that does not get on.
    #[arg(long, default_value_t = 600)]
    timeout: u64,
    /// Milliseconds for which writes may be held back at the source while both are compared.
    #[arg(long, default_value_t = 10_000)]
    pause: u64,
}

type Outcome<T> = Result<T, String>;

fn told(error: std::io::Error) -> String {
    crate::error::plain(&error)
}

/// Runs the subcommand.
///
/// # Errors
/// Fails with the reason why the data could not be moved. The server is then not a replica, unless
/// it was one before.
pub(crate) fn run(args: &MigrateArgs) -> Result<(), StartError> {
    Migration::begin(args).and_then(|mut all| all.run()).map_err(StartError::Other)
}

struct Migration<'a> {
    args: &'a MigrateArgs,
    source: Client,
    target: Client,
    progress: Progress,
}

impl<'a> Migration<'a> {
    fn begin(args: &'a MigrateArgs) -> Outcome<Self> {
        let named = |name: &str, place: &Place| {
            Client::connect(place)
                .map_err(|error| format!("{name} {}:{}: {error}", place.host, place.port))
        };
        let (source, target) = (named("the source", &args.from)?, named("the target", &args.to)?);
        Ok(Migration { args, source, target, progress: Progress::new() })
    }

    fn run(&mut self) -> Outcome<()> {
        self.check_roles()?;
        self.follow()?;
        let moved = self.move_all();
        if moved.is_err() {
            // A target that has only part of the data must not remain a replica. The original
            // reason is reported.
            let _ = self.target.ask(&["REPLICAOF", "NO", "ONE"]);
        }
        moved
    }

    fn move_all(&mut self) -> Outcome<()> {
        self.wait_for_link()?;
        self.wait_for_step(self.args.timeout)?;
        self.compare_and_cut_over()
    }

    fn check_roles(&mut self) -> Outcome<()> {
        if self.target.info("replication", "role")? != "master" {
            return Err("the target follows somebody else: REPLICAOF NO ONE there first".into());
        }
        let run_ids =
            (self.source.info("server", "run_id")?, self.target.info("server", "run_id")?);
        match run_ids.0 == run_ids.1 {
            true => Err("source and target are the same server".into()),
            false => Ok(()),
        }
    }

    fn follow(&mut self) -> Outcome<()> {
        let Place { host, port, user, password } = &self.args.from;
        for (name, value) in [("masteruser", user), ("masterauth", password)] {
            self.target.ask(&["CONFIG", "SET", name, value])?.ok()?;
        }
        self.progress.say(&format!("{host}:{port} is followed"));
        self.target.ask(&["REPLICAOF", host, &port.to_string()])?.ok()
    }

    /// Waits until all data have come; they are loaded in silence.
    fn wait_for_link(&mut self) -> Outcome<()> {
        let began = Instant::now();
        let mut best = 0;
        let mut since = began;
        loop {
            let (status, read, total) = match self.target.info_all("replication") {
                Ok(info) => {
                    let number = |name: &str| info.number(name);
                    let read = number("master_sync_read_bytes");
                    (info.text("master_link_status"), read, number("master_sync_total_bytes"))
                }
                // It is loading.
                Err(error) if error.starts_with("LOADING") => (String::new(), best + 1, 0),
                Err(error) => return Err(error),
            };
            if status == "up" {
                return Ok(());
            }
            if read > best {
                (best, since) = (read, Instant::now());
            }
            if since.elapsed().as_secs() > self.args.timeout {
                return Err("the target does not get the data: its log says why".into());
            }
            self.progress.copying(read, total);
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until the target has everything that the source has written.
    fn wait_for_step(&mut self, patience_s: u64) -> Outcome<()> {
        let began = Instant::now();
        loop {
            let end = self.source.info_all("replication")?.number("master_repl_offset");
            let have = self.target.info_all("replication")?.number("slave_repl_offset");
            self.progress.behind(end.saturating_sub(have));
            if have >= end {
                return Ok(());
            }
            if began.elapsed().as_secs() > patience_s {
                return Err(format!("the target stays {} bytes behind", end - have));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Holds writes back at the source, waits for the last of them, compares, and cuts over.
    fn compare_and_cut_over(&mut self) -> Outcome<()> {
        let pause = self.args.pause.to_string();
        self.source.ask(&["CLIENT", "PAUSE", &pause, "WRITE"])?.ok()?;
        let done = self.compare().and_then(|()| match self.args.no_cut_over {
            true => {
                self.progress.done("both are the same; the target goes on following");
                Ok(())
            }
            false => {
                self.target.ask(&["REPLICAOF", "NO", "ONE"])?.ok()?;
                self.progress.done("both are the same, and the target is a master now");
                self.progress.say("clients can be sent there; the source keeps its data");
                Ok(())
            }
        });
        if done.is_err() || self.args.no_cut_over {
            self.source.ask(&["CLIENT", "UNPAUSE"])?.ok()?;
        }
        // If this fails the pause ends by itself, and the target misses later writes.
        done
    }

    fn compare(&mut self) -> Outcome<()> {
        self.wait_for_step(self.args.pause / 1000 + 1)?;
        let digests = (self.digest(true)?, self.digest(false)?);
        if let (Some(source), Some(target)) = &digests {
            return match source == target {
                true => {
                    self.progress.say(&format!("digest {source} on both"));
                    Ok(())
                }
                false => Err(format!("the data differ: {source} there, {target} here")),
            };
        }
        let counts = (self.source.info_text("keyspace")?, self.target.info_text("keyspace")?);
        let keys = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.starts_with("db"));
            lines.filter_map(|line| Some(line.split(',').next()?.trim().to_owned())).collect()
        };
        match keys(&counts.0) == keys(&counts.1) {
            true => {
                self.progress.say(
                    "the same number of keys on both (DEBUG DIGEST is not allowed on one of them: \
                     enable-debug-command)",
                );
                Ok(())
            }
            false => Err("the numbers of keys differ".into()),
        }
    }

    /// The digest of all data; `None` where it may not be asked for.
    fn digest(&mut self, source: bool) -> Outcome<Option<String>> {
        let client = if source { &mut self.source } else { &mut self.target };
        Ok(match client.ask(&["DEBUG", "DIGEST"])? {
            Reply::Text(digest) => Some(digest),
            Reply::Error(_) => None,
        })
    }
}
