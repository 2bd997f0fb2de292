//! A live server's traffic into a file: by `CAPTURE` from a Varve, by `MONITOR` from any Redis.
//!
//! | | `CAPTURE` | `MONITOR` |
//! | --- | --- | --- |
//! | times | when requests arrived | when they ran |
//! | pipelines | requests that arrived together have one time | recognized by times close together |
//! | connections | opened, used, closed | an address, open from the start to the end |
//! | unix sockets | as others | all clients of one socket look like one connection |
//! | what scripts do | left out | marked `lua`, and left out |
//! | a recorder that is slow | loses records, which are counted | is disconnected |
//! | cost to the server | a copy of each request | several times that |

mod count;
mod source;

use crate::format::{Arg, Header, Record, Writer};
use crate::monitor;
use crate::privacy::{Privacy, Roles, Veil};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use resp::{Batch, Limits, Parser, Request};
use source::{Filled, Source};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How the traffic is got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// `CAPTURE` where the server knows it, else `MONITOR`
    Auto,
    /// Only `CAPTURE`, of a Varve
    Capture,
    /// Only `MONITOR`, of any Redis
    Monitor,
}

/// Record a live server's traffic to a file, for `varve advise` and `cargo xtask bench --replay`.
///
/// The password is that of REDISCLI_AUTH (and the user that of REDISCLI_USER), or given here.
#[derive(Debug, Clone, Args)]
pub struct RecordArgs {
    /// The server, host:port
    #[arg(long, default_value = "127.0.0.1:6379")]
    pub from: String,
    /// How long to record
    #[arg(long, default_value_t = 60.0)]
    pub seconds: f64,
    /// The file to write
    #[arg(long, default_value = "work.varve")]
    pub out: PathBuf,
    /// How to record
    #[arg(long, default_value = "auto")]
    pub method: Method,
    /// User name
    #[arg(long, env = "REDISCLI_USER")]
    pub user: Option<String>,
    /// Password
    #[arg(long, env = "REDISCLI_AUTH", hide_env_values = true)]
    pub pass: Option<String>,
    /// Hash keys; equal keys stay equal within this capture
    #[arg(long)]
    pub hash_keys: bool,
    /// With --hash-keys: leave what stands before the first `:` as it is
    #[arg(long, requires = "hash_keys")]
    pub keep_prefixes: bool,
    /// Write down only the lengths of values; hash members, fields and channels
    #[arg(long)]
    pub scrub_values: bool,
    /// Record nothing: say what is in this file
    #[arg(long, value_name = "FILE", exclusive = true)]
    pub count: Option<PathBuf>,
    /// Bytes the server may keep for us before it drops records (CAPTURE)
    #[arg(long, default_value_t = 32 << 20)]
    pub buffer: u64,
}

/// The counts of a recording so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// `CAPTURE` or `MONITOR`.
    pub method: &'static str,
    /// Requests.
    pub requests: u64,
    /// Connections seen.
    pub connections: u64,
    /// Records the server had to drop.
    pub lost: u64,
    /// Counts of what could not be parsed.
    pub strange: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Time since the start.
    pub elapsed: Duration,
    /// The reason why it ended early.
    pub ended_early: Option<String>,
}

/// Records until the time is over, or `stop` is set; `progress` is called about four times a second.
///
/// # Errors
/// Fails if the server cannot be reached or refuses, or the file cannot be written.
pub fn record(
    args: &RecordArgs,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&Summary),
) -> Result<Summary> {
    if !(args.seconds > 0.0 && args.seconds <= 1e6) {
        bail!("--seconds must be positive");
    }
    let mut source = Source::connect(&args.from, args.user.as_deref(), args.pass.as_deref())?;
    let about = source.about()?;
    let method = begin(&mut source, args)?;
    let header = Header {
        method: method.into(),
        source: args.from.clone(),
        server: about.server,
        started_ms: SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64,
        keys_hashed: args.hash_keys,
        values_scrubbed: args.scrub_values,
        keys: about.keys,
        used_memory: about.used_memory,
    };
    let mut sink = Sink::create(&args.out, &header, args)?;
    sink.summary.method = method;
    let started = Instant::now();
    let length = Duration::from_secs_f64(args.seconds);
    let mut shown = Instant::now();
    while started.elapsed() < length && !stop.load(Ordering::Relaxed) {
        let filled = source.fill(Duration::from_millis(100))?;
        match method {
            "CAPTURE" => sink.take_records(&mut source)?,
            _ => sink.take_lines(&mut source)?,
        }
        sink.summary.elapsed = started.elapsed();
        if filled == Filled::Closed {
            sink.summary.ended_early = Some("the server closed the connection".into());
            break;
        }
        if shown.elapsed() > Duration::from_millis(250) {
            shown = Instant::now();
            // Whatever happens to us, the file is whole up to here.
            sink.writer.flush()?;
            progress(&sink.summary);
        }
    }
    sink.finish()
}

fn begin(source: &mut Source, args: &RecordArgs) -> Result<&'static str> {
    if args.method != Method::Monitor {
        let buffer = args.buffer.to_string();
        match source.ask(&["CAPTURE", "BUFFER", &buffer])? {
            Ok(()) => return Ok("CAPTURE"),
            Err(error) if args.method == Method::Auto && error.contains("unknown command") => {}
            Err(error) => bail!("CAPTURE is answered: {error}"),
        }
    }
    match source.ask(&["MONITOR"])? {
        Ok(()) => Ok("MONITOR"),
        Err(error) => bail!("MONITOR is answered: {error}"),
    }
}

/// The file, and the state for writing it.
struct Sink {
    writer: Writer<BufWriter<File>>,
    veil: Veil,
    roles: Roles,
    /// Where times begin, on the server's clock.
    zero_us: Option<u64>,
    /// Connections of `MONITOR`, by address.
    known: HashMap<String, u64>,
    parser: Parser,
    summary: Summary,
}

impl Sink {
    fn create(path: &Path, header: &Header, args: &RecordArgs) -> Result<Sink> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        let privacy = Privacy {
            hash_keys: args.hash_keys,
            keep_prefixes: args.keep_prefixes,
            scrub_values: args.scrub_values,
        };
        Ok(Sink {
            writer: Writer::new(BufWriter::new(file), header)?,
            veil: Veil::new(privacy),
            roles: Roles::default(),
            zero_us: None,
            known: HashMap::new(),
            parser: Parser::new(),
            summary: Summary::default(),
        })
    }

    /// Time on the server's clock as time since the capture began.
    fn time(&mut self, time_us: u64) -> u64 {
        time_us.saturating_sub(*self.zero_us.get_or_insert(time_us))
    }

    fn request(&mut self, time: u64, connection: u64, db: u32, args: &[&[u8]]) -> Result<()> {
        let args: Vec<Arg<'_>> = self.veil.apply(args, &mut self.roles);
        self.summary.requests += 1;
        Ok(self.writer.record(time, &Record::Request { connection, db, args })?)
    }

    /// Takes the whole lines of `MONITOR`.
    fn take_lines(&mut self, source: &mut Source) -> Result<()> {
        let mut at = 0;
        while let Some(length) = source.bytes()[at..].iter().position(|byte| *byte == b'\n') {
            let line = &source.bytes()[at..at + length];
            at += length + 1;
            let text = std::str::from_utf8(line).unwrap_or_default().trim_end();
            let Some(line) = text.strip_prefix('+').and_then(monitor::parse) else {
                self.summary.strange += 1;
                continue;
            };
            if line.source != "lua" {
                self.line(&line)?;
            }
        }
        source.consume(at);
        self.summary.bytes = self.writer.len();
        Ok(())
    }

    fn line(&mut self, line: &monitor::Line<'_>) -> Result<()> {
        let time = self.time(line.time_us);
        let next = self.known.len() as u64 + 1;
        let connection = match self.known.get(line.source) {
            Some(&connection) => connection,
            None => {
                self.known.insert(line.source.to_string(), next);
                self.summary.connections += 1;
                let (db, resp) = (line.db, 2);
                self.writer.record(time, &Record::Open { connection: next, db, resp })?;
                next
            }
        };
        let args: Vec<&[u8]> = line.args.iter().map(Vec::as_slice).collect();
        self.request(time, connection, line.db, &args)
    }

    /// Takes the whole records of `CAPTURE`.
    fn take_records(&mut self, source: &mut Source) -> Result<()> {
        let mut batch = Batch::new();
        let mut at = 0;
        loop {
            batch.clear();
            let bytes = &source.bytes()[at..];
            // A record is a request with a few words in front.
            let progress = self.parser.parse(bytes, 64, &Limits::default(), &mut batch);
            for request in batch.iter(bytes) {
                if self.one_record(request)?.is_none() {
                    self.summary.strange += 1;
                }
            }
            if progress.error.is_some() {
                bail!("the server sent something that is no record of CAPTURE");
            }
            at += progress.consumed;
            if !progress.more {
                break;
            }
        }
        source.consume(at);
        self.summary.bytes = self.writer.len();
        Ok(())
    }

    /// One record as the engine's `CAPTURE` documents them; `None` when it is none of those.
    fn one_record(&mut self, record: Request<'_>) -> Result<Option<()>> {
        let number =
            |at: usize| -> Option<u64> { std::str::from_utf8(record.get(at)?).ok()?.parse().ok() };
        let (Some(time), Some(name)) = (number(1), record.get(0)) else { return Ok(None) };
        let time = self.time(time);
        match (name, number(2), number(3), number(4)) {
            (b"open", Some(connection), Some(db), Some(resp)) => {
                self.summary.connections += 1;
                let (db, resp) = (db as u32, resp as u8);
                self.writer.record(time, &Record::Open { connection, db, resp })?;
            }
            (b"close", Some(connection), ..) => {
                self.writer.record(time, &Record::Close { connection })?;
            }
            (b"lost", Some(count), ..) => {
                self.summary.lost += count;
                self.writer.record(time, &Record::Lost { count })?;
            }
            (b"request", Some(connection), Some(db), _) => {
                let args: Vec<&[u8]> = record.iter().skip(4).collect();
                self.request(time, connection, db as u32, &args)?;
            }
            _ => return Ok(None),
        }
        Ok(Some(()))
    }

    fn finish(mut self) -> Result<Summary> {
        let file = self.writer.finish()?.into_inner().map_err(|error| error.into_error())?;
        self.summary.bytes = file.metadata()?.len();
        Ok(self.summary)
    }
}

/// A summary in one line.
impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} requests of {} connections in {:.1} s, {:.1} MB",
            self.method,
            self.requests,
            self.connections,
            self.elapsed.as_secs_f64(),
            self.bytes as f64 / 1e6
        )?;
        if self.lost > 0 {
            write!(f, "; {} records LOST: this machine reads too slowly", self.lost)?;
        }
        if self.strange > 0 {
            write!(f, "; {} things not understood", self.strange)?;
        }
        if let Some(reason) = &self.ended_early {
            write!(f, "; ended early: {reason}")?;
        }
        Ok(())
    }
}

/// Runs the subcommand until its time is over, or it is interrupted: progress on standard error, the summary on standard output.
///
/// # Errors
/// Fails like [`record`].
pub fn run(args: &RecordArgs) -> Result<()> {
    if let Some(file) = &args.count {
        return count::print(file);
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let mut terminal = std::io::stderr();
    let summary = record(args, &stop, &mut |summary| {
        let _ = write!(terminal, "\r{summary} ");
    })?;
    eprintln!();
    println!("{summary}, in {}", args.out.display());
    Ok(())
}
