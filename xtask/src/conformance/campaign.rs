//! Generated programs, run by both sides: `conformance --generate N`.

use super::compare::Comparer;
use super::generate::{Catalog, Command, Family, Program, generate, preparation, suits_older};
use super::known::Known;
use super::scripts::indent;
use super::shrink::shrink;
use super::side::{Ours, Side, Theirs};
use super::state::{content_commands, keys_commands, wall_ms};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use engine::command::CommandTable;
use golden::{Shape, render};
use resp::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::Backend;
use storage_memory::MemoryBackend;
use storage_ordered::OrderedBackend;
use tempfile::TempDir;

/// Trials that making one program small may take.
const ATTEMPTS: usize = 600;

/// Programs of a family when only a time was asked for.
const UNLIMITED: u64 = u64::MAX;

/// Options of generated programs.
#[derive(Args)]
pub struct GenerateArgs {
    /// Make up N programs per family and storage instead of running golden scripts
    #[arg(long, value_name = "N")]
    generate: Option<u64>,
    /// The first program's seed, the next ones' follow it (default: from the clock)
    #[arg(long)]
    seed: Option<u64>,
    /// Only this family (may be given again)
    #[arg(long)]
    family: Vec<Family>,
    /// Only on this storage (may be given again)
    #[arg(long)]
    storage: Vec<Storage>,
    /// Stop after this many seconds, shared out evenly (with no N: as many programs as that takes)
    #[arg(long, value_name = "LIMIT")]
    seconds: Option<u64>,
    /// How many different findings to make small and show, for each family and storage
    #[arg(long, value_name = "N", default_value_t = 3)]
    findings: usize,
}

impl GenerateArgs {
    /// Whether anything is to be generated.
    pub fn asked(&self) -> bool {
        self.generate.is_some() || self.seconds.is_some()
    }
}

/// The storage of our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "each is the storage of its name")]
pub enum Storage {
    Memory,
    Sled,
    Fjall,
}

impl Storage {
    const ALL: [Storage; 3] = [Storage::Memory, Storage::Sled, Storage::Fjall];

    /// An empty backend, and the folder it lives in.
    pub fn open(self) -> Result<(Arc<dyn Backend>, Option<TempDir>)> {
        let engine = match self {
            Storage::Memory => {
                let config = storage_memory::Config {
                    shards: 4,
                    databases: 16,
                    hash_seed: 7,
                    limits: memory_limits(),
                };
                return Ok((Arc::new(MemoryBackend::new(config)), None));
            }
            Storage::Sled => storage_ordered::Engine::Sled,
            Storage::Fjall => storage_ordered::Engine::Fjall,
        };
        let folder = tempfile::tempdir()?;
        let dir = folder.path().join("db");
        let config = storage_ordered::Config {
            dir,
            shards: 4,
            databases: 16,
            engine,
            cache_bytes: 16 << 20,
        };
        let backend = OrderedBackend::open(&config).context("opening the storage")?;
        Ok((Arc::new(backend), Some(folder)))
    }
}

fn memory_limits() -> storage::EncodingLimits {
    storage::EncodingLimits::default()
}

/// Two sides that should answer alike.
pub struct Pair<'a> {
    /// Names of commands and what their answers are like.
    pub table: &'a CommandTable,
    /// The side under test.
    pub ours: Box<dyn Side + 'a>,
    /// The reference side.
    pub theirs: Box<dyn Side + 'a>,
    /// Whether encodings are compared.
    pub encodings: bool,
    /// Whether the other side is as new as ours.
    pub newer: bool,
}

/// The first answers of a program that are not alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The request: a command of the program, or one that reads the resulting data.
    pub command: Command,
    /// Our answer.
    pub ours: Value,
    /// The other.
    pub theirs: Value,
}

impl Difference {
    /// A text that findings of one cause mostly share.
    fn signature(&self) -> String {
        let error = |value: &Value| match value.as_error() {
            Some(text) => String::from_utf8_lossy(text).chars().take(24).collect(),
            None => render(value, Shape::Type),
        };
        let name = super::generate::word(&self.command.args, 0);
        format!("{name} {} {}", error(&self.ours), error(&self.theirs))
    }
}

impl Pair<'_> {
    /// Runs commands on both sides, beginning with empty data, and then compares the resulting
    /// data.
    ///
    /// # Errors
    /// Fails if a side does not answer.
    pub fn run(&mut self, protocol: u8, commands: &[Command]) -> Result<Option<Difference>> {
        let now_ms = wall_ms();
        self.ours.set_clock(now_ms);
        self.theirs.set_clock(now_ms);
        let mut all = preparation(protocol);
        let prepared = all.len();
        all.extend_from_slice(commands);
        all.push(Command::new(&["DISCARD"]));
        all.extend(keys_commands());
        let (ours, theirs) = (self.ours.answers(&all)?, self.theirs.answers(&all)?);
        let mut comparer = Comparer::new(self.table, self.encodings, self.newer);
        let found = first(&mut comparer, &all, &ours, &theirs, prepared);
        if found.is_some() {
            return Ok(found);
        }
        let keys = &ours[prepared + commands.len() + 1..];
        let asked = content_commands(&mut *self.ours, keys)?;
        let (ours, theirs) = (self.ours.answers(&asked)?, self.theirs.answers(&asked)?);
        Ok(first(&mut comparer, &asked, &ours, &theirs, 0))
    }

    /// A smaller program with a difference at the same command.
    pub fn smaller(&mut self, program: &Program, found: &Difference) -> Vec<Command> {
        let name = |found: &Difference| super::generate::word(&found.command.args, 0);
        let (wanted, newer) = (name(found), self.newer);
        shrink(program.commands.clone(), ATTEMPTS, |commands| {
            if !newer && !suits_older(commands) {
                return false;
            }
            let found = self.run(program.protocol, commands);
            matches!(found, Ok(Some(found)) if name(&found) == wanted)
        })
    }
}

/// The first of the answers from `from` on that are not alike.
fn first(
    comparer: &mut Comparer<'_>,
    commands: &[Command],
    ours: &[Value],
    theirs: &[Value],
    from: usize,
) -> Option<Difference> {
    let answered = commands.iter().zip(ours.iter().zip(theirs)).skip(from);
    for (command, (ours, theirs)) in answered {
        if !comparer.alike(command, ours, theirs) {
            let (command, ours, theirs) = (command.clone(), ours.clone(), theirs.clone());
            return Some(Difference { command, ours, theirs });
        }
    }
    None
}

/// Counts of programs, commands, known differences and findings.
#[derive(Default)]
struct Tally {
    programs: u64,
    commands: usize,
    known: usize,
    findings: usize,
}

/// One family on one storage.
struct Share<'a, 'p> {
    family: Family,
    storage: Storage,
    catalog: &'a Catalog,
    known: &'a Known,
    pair: &'a mut Pair<'p>,
    tally: &'a mut Tally,
}

impl Share<'_, '_> {
    /// Runs up to `programs` programs until `until`, showing up to `findings` different findings.
    fn run(
        &mut self,
        seed: u64,
        programs: u64,
        until: Option<Instant>,
        findings: usize,
    ) -> Result<()> {
        let mut seen = BTreeSet::new();
        for number in 0..programs {
            if seen.len() >= findings || until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
            let seed = seed.wrapping_add(number);
            let program = generate(self.catalog, self.family, seed);
            let asked = || {
                let family = self.family.name();
                format!("--family {family} --storage {:?} --seed {seed}", self.storage)
            };
            let mut found =
                self.pair.run(program.protocol, &program.commands).with_context(asked)?;
            if found.is_some() {
                // Machines are late at times: what counts differs again.
                found = self.pair.run(program.protocol, &program.commands).with_context(asked)?;
            }
            self.tally.programs += 1;
            self.tally.commands += program.commands.len();
            let Some(found) = found else { continue };
            if self.known.generated(
                &self.family.name(),
                &found.command.line(),
                &render(&found.ours, Shape::Full),
            ) {
                self.tally.known += 1;
            } else if seen.insert(found.signature()) {
                self.tally.findings += 1;
                self.show(seed, &program, &found)?;
            }
        }
        Ok(())
    }

    /// Makes the program small, and shows it as a golden script would have it.
    fn show(&mut self, seed: u64, program: &Program, found: &Difference) -> Result<()> {
        let commands = self.pair.smaller(program, found);
        let protocol = program.protocol;
        let now = self.pair.run(protocol, &commands)?;
        println!(
            "# generated: --family {} --storage {} --seed {seed} (RESP{protocol})",
            self.family.name(),
            format!("{:?}", self.storage).to_lowercase(),
        );
        commands.iter().for_each(|command| println!("{}", command.line()));
        let found = now.as_ref().unwrap_or(found);
        println!("    at `{}`", found.command.line());
        print!("{}", indent("ours:   ", &render(&found.ours, Shape::Full)));
        println!("{}", indent("theirs: ", &render(&found.theirs, Shape::Full)));
        Ok(())
    }
}

/// Runs generated programs on every storage and family that was asked for.
///
/// # Errors
/// Fails if a side fails, or answers differ that are not known to.
pub fn run(args: &GenerateArgs, newer: bool, address: SocketAddr, root: &Path) -> Result<()> {
    let table = CommandTable::new(commands::all())?;
    let catalog = Catalog::new(&table, newer);
    let known = if newer { Known::nothing() } else { Known::read(root)? };
    let families = if args.family.is_empty() { &Family::ALL[..] } else { &args.family };
    let storages = if args.storage.is_empty() { &Storage::ALL[..] } else { &args.storage };
    let seed = args.seed.unwrap_or_else(|| wall_ms() % 1_000_000_000);
    println!("seed {seed}");
    let mut clock = Clock::new(args.seconds, families.len() * storages.len());
    let mut tally = Tally::default();
    for &storage in storages {
        let (backend, _folder) = storage.open()?;
        let ours = Box::new(Ours::new(backend)?);
        let theirs = Box::new(Theirs::connect(address)?);
        let encodings = storage == Storage::Memory;
        let mut pair = Pair { table: &table, ours, theirs, encodings, newer };
        for &family in families {
            let (catalog, known, pair, tally) = (&catalog, &known, &mut pair, &mut tally);
            let mut share = Share { family, storage, catalog, known, pair, tally };
            share.run(seed, args.generate.unwrap_or(UNLIMITED), clock.share(), args.findings)?;
        }
    }
    let Tally { programs, commands, known, findings } = tally;
    println!(
        "{programs} generated programs ({commands} commands), {findings} findings; {known} known differences"
    );
    if findings > 0 {
        bail!("{findings} generated programs differ");
    }
    Ok(())
}

/// Time shared out evenly: what one share leaves goes to the next ones.
struct Clock {
    until: Option<Instant>,
    shares: usize,
}

impl Clock {
    fn new(seconds: Option<u64>, shares: usize) -> Self {
        let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        Clock { until, shares }
    }

    /// When the next share ends.
    fn share(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let left = self.until?.saturating_duration_since(now);
        let share = left / self.shares.max(1) as u32;
        self.shares = self.shares.saturating_sub(1);
        Some(now + share)
    }
}
