//! [`Parallel`]: a log's commands, applied on all cores while the file is read on.
//!
//! Shards are independent of each other, so a thread that applies the commands of its shards in the order
//! of the log gives what one thread alone would. A command that touches several shards, or something that is
//! no key, waits until all before it are applied, and all behind it wait for it.

use engine::Engine;
use engine::replay::Replayer;
use resp::{Range, Request};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope, available_parallelism};
use storage::{Db, Position};
use storage_aof::{Command, Refused};

/// Batches of a thread that are applied or wait for it: the reader does not get further ahead.
const AHEAD: usize = 4;

/// The division of the work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Threads that apply; with none, the reader does.
    pub threads: usize,
    /// Records after which a batch is handed over.
    pub records: usize,
    /// Bytes of arguments after which it is, too.
    pub bytes: usize,
}

impl Sizes {
    /// A thread for each core, up to eight, which is what one reader keeps busy. A storage that persists by
    /// itself remembers up to where it has the log, so there the order between shards matters.
    pub fn of_machine(engine: &Engine) -> Sizes {
        let cores = available_parallelism().map_or(1, |cores| cores.get());
        let threads = if cores == 1 || engine.backend.persistent() { 0 } else { cores.min(8) };
        Sizes { threads, records: 512, bytes: 128 << 10 }
    }
}

/// Records of a log, copied.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    ranges: Vec<Range>,
    /// Of each command: database, number of arguments.
    commands: Vec<(Db, usize)>,
    /// Of each record: position, offset of its start, number of commands.
    records: Vec<(Position, u64, usize)>,
}

impl Batch {
    /// Adds a record; false if offsets of 32 bits do not reach, and nothing was added.
    fn push(&mut self, at: Position, start: u64, commands: &[Command<'_>]) -> bool {
        let args = || commands.iter().flat_map(|command| command.request.iter());
        if self.bytes.len() + args().map(<[u8]>::len).sum::<usize>() > u32::MAX as usize {
            return false;
        }
        for arg in args() {
            self.ranges.push(Range { start: self.bytes.len() as u32, len: arg.len() as u32 });
            self.bytes.extend_from_slice(arg);
        }
        self.commands.extend(commands.iter().map(|command| (command.db, command.request.len())));
        self.records.push((at, start, commands.len()));
        true
    }

    /// Applies its records up to the first that fails.
    fn apply(&self, replayer: &mut Replayer<'_>) -> Result<(), Refused> {
        let (mut range, mut command) = (0, 0);
        for (at, start, count) in &self.records {
            let commands = &self.commands[command..command + count];
            let first = range;
            range += commands.iter().map(|(_, args)| args).sum::<usize>();
            command += count;
            let effects = commands.iter().scan(first, |from, (db, args)| {
                let ranges = &self.ranges[*from..*from + args];
                *from += args;
                Some((*db, Request::new(ranges, &self.bytes)))
            });
            let applied = replayer.record(Some(*at), effects);
            applied.map_err(|cause| Refused { start: *start, cause })?;
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ranges.clear();
        self.commands.clear();
        self.records.clear();
    }
}

/// A batch that was applied, to be filled again, and how that went.
type Applied = (Batch, Result<(), Refused>);

/// The reader's end of a thread.
struct Worker {
    /// Records of its shards that were not handed over yet.
    batch: Batch,
    sender: SyncSender<Batch>,
    applied: Receiver<Applied>,
    /// Batches handed over that did not come back.
    under_way: usize,
}

/// Applies commands: those of a shard always in the order in which they come.
pub(super) struct Parallel<'scope, 'e> {
    engine: &'e Engine,
    scope: &'scope Scope<'scope, 'e>,
    sizes: Sizes,
    /// For what one thread has to do; this one does it.
    replayer: Replayer<'e>,
    /// Made with the first record that has one shard.
    workers: Vec<Worker>,
    /// Of the records that could not be applied, the first.
    refused: Option<Refused>,
}

impl<'scope, 'e> Parallel<'scope, 'e> {
    /// Nothing is applied yet.
    pub fn new(engine: &'e Engine, scope: &'scope Scope<'scope, 'e>, sizes: Sizes) -> Self {
        let replayer = Replayer::new(engine);
        Parallel { engine, scope, sizes, replayer, workers: Vec::new(), refused: None }
    }

    /// Applies a record, in this call or later. A log in which many records touch several shards is applied by
    /// this thread: batches that were not handed over yet are not worth handing over then.
    ///
    /// # Errors
    /// Fails for the first record that cannot be applied, this one or an earlier one.
    pub fn record(
        &mut self,
        at: Position,
        start: u64,
        commands: &[Command<'_>],
    ) -> Result<(), Refused> {
        if self.sizes.threads > 0 {
            let shard = self.replayer.shard(effects(commands));
            if let Some(shard) = shard.filter(|_| self.has_workers()) {
                let number = shard as usize % self.workers.len();
                if self.workers[number].batch.push(at, start, commands) {
                    return self.hand_over_when_full(number);
                }
            }
            self.settle()?;
        }
        let applied = self.replayer.record(Some(at), effects(commands));
        applied.map_err(|cause| Refused { start, cause })
    }

    /// Returns when everything is applied.
    ///
    /// # Errors
    /// Fails like [`Parallel::record`].
    pub fn settle(&mut self) -> Result<(), Refused> {
        for number in 0..self.workers.len() {
            while self.workers[number].under_way > 0 {
                self.take_back(number);
            }
        }
        for worker in &mut self.workers {
            let applied = worker.batch.apply(&mut self.replayer);
            worker.batch.clear();
            note(&mut self.refused, applied);
        }
        self.refused.clone().map_or(Ok(()), Err)
    }

    fn hand_over_when_full(&mut self, number: usize) -> Result<(), Refused> {
        let batch = &self.workers[number].batch;
        if batch.records.len() < self.sizes.records && batch.bytes.len() < self.sizes.bytes {
            return Ok(());
        }
        let next = match self.workers[number].under_way {
            AHEAD => self.take_back(number),
            _ => Batch::default(),
        };
        let worker = &mut self.workers[number];
        let batch = std::mem::replace(&mut worker.batch, next);
        // If the thread has panicked, nothing comes back, which is noticed where it is waited for.
        worker.under_way += 1;
        let _ = worker.sender.send(batch);
        if self.refused.is_some() { self.settle() } else { Ok(()) }
    }

    /// Waits for a batch of a thread; the batch, empty.
    fn take_back(&mut self, number: usize) -> Batch {
        let worker = &mut self.workers[number];
        worker.under_way -= 1;
        let (mut batch, applied) = worker.applied.recv().unwrap_or_else(|_| {
            let cause = "a thread that applies the log panicked".into();
            (Batch::default(), Err(Refused { start: 0, cause }))
        });
        batch.clear();
        note(&mut self.refused, applied);
        batch
    }

    /// Starts the threads; false if there can be none.
    fn has_workers(&mut self) -> bool {
        if self.workers.is_empty() {
            self.workers = (0..self.sizes.threads).map_while(|_| self.start()).collect();
            // Without threads this one does it all, and does not try again.
            self.sizes.threads = self.workers.len();
        }
        !self.workers.is_empty()
    }

    fn start(&self) -> Option<Worker> {
        let (sender, batches) = sync_channel::<Batch>(AHEAD);
        let (back, applied) = sync_channel::<Applied>(AHEAD);
        let engine = self.engine;
        let work = move || apply_all(&mut Replayer::new(engine), &batches, &back);
        let thread = Builder::new().name("aof-replay".into()).spawn_scoped(self.scope, work);
        thread.ok().map(|_| Worker { batch: Batch::default(), sender, applied, under_way: 0 })
    }
}

/// Applies batches until there are no more; behind a record that fails, none.
fn apply_all(replayer: &mut Replayer<'_>, batches: &Receiver<Batch>, back: &SyncSender<Applied>) {
    let mut has_failed = false;
    for batch in batches {
        let applied = if has_failed { Ok(()) } else { batch.apply(replayer) };
        has_failed |= applied.is_err();
        if back.send((batch, applied)).is_err() {
            return;
        }
    }
}

fn effects<'r>(commands: &'r [Command<'r>]) -> impl Iterator<Item = (Db, Request<'r>)> {
    commands.iter().map(|command| (command.db, command.request))
}

/// Keeps the first record that was refused.
fn note(first: &mut Option<Refused>, applied: Result<(), Refused>) {
    if let Err(refused) = applied
        && first.as_ref().is_none_or(|first| refused.start < first.start)
    {
        *first = Some(refused);
    }
}
