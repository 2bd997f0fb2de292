//! The append path: two buffers and two locks.
//!
//! Appending takes the *tail* lock for as long as a copy takes. Writing takes the *file* lock,
//! swaps the full buffer for an empty one under the tail lock, and writes without it: an append
//! never waits for a write(2) under way. Lock order: file, then tail.
//!
//! A switch to another increment happens in the tail alone ([`Log::switch`]): bytes appended before
//! it are sealed for the old file, those after it are for the new one. The writer catches up.
//!
//! Marks (see [`super::seal`]) are appended here like records, so that positions count them.

use super::encode;
use super::file::LogFile;
use super::health::Health;
use super::moments::{Moment, Moments, SyncTimes};
use super::seal::{MARK_EVERY, Seal};
use parking_lot::{Mutex, MutexGuard};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use storage::journal::Position;
use storage::tx::Db;

/// If more bytes than this are not written yet, appending writes them itself, so that memory stays
/// bounded.
pub(super) const BACKLOG_MAX: usize = 64 << 20;
/// Bytes of capacity that an emptied buffer keeps.
const BUFFER_KEPT: usize = 1 << 20;

/// Bits of a [`Position`] that are the offset within an increment; the rest is its sequence number.
const OFFSET_BITS: u32 = 40;
/// An increment of this size is followed by a new one, long before offsets run out.
pub(super) const INCREMENT_LEN_MAX: u64 = 1 << (OFFSET_BITS - 1);

/// The position at `offset` of increment `seq`.
pub(super) fn position(seq: u64, offset: u64) -> Position {
    Position::log((seq << OFFSET_BITS) | offset)
}

/// The offset of a position in its increment.
fn offset_of(end: u64) -> u64 {
    end & ((1 << OFFSET_BITS) - 1)
}

/// The sequence number of the increment that a position is in.
pub(super) fn seq_of(position: Position) -> u64 {
    position.seq >> OFFSET_BITS
}

/// An increment that is open for appending.
pub(super) struct Increment {
    pub seq: u64,
    pub file: Arc<dyn LogFile>,
    /// Bytes of whole records in the file.
    pub len: u64,
    /// The marks it has up to there.
    pub seal: Option<Seal>,
}

/// The buffer to which effects are appended.
struct Tail {
    buffer: Vec<u8>,
    /// Bytes of the buffer that are whole records. Whatever is behind them was left by a panic.
    whole: usize,
    /// The position behind them.
    end: u64,
    /// The database that the last effect selected in this increment.
    db: Option<Db>,
    switch: Option<Switch>,
    /// The marks of this increment, from its first record on.
    seal: Option<Seal>,
    /// Bytes of the buffer that are in the seal's sum.
    summed: usize,
    /// The offset at which the next mark is due.
    mark_at: u64,
}

impl Tail {
    /// The offset for the next record. Drops an incomplete one that a panic left.
    #[inline]
    fn settled(&mut self) -> usize {
        if self.buffer.len() != self.whole {
            self.buffer.truncate(self.whole);
            self.db = None;
        }
        self.whole
    }

    /// Records that what was appended is complete.
    #[inline]
    fn count(&mut self) {
        self.end += (self.buffer.len() - self.whole) as u64;
        self.whole = self.buffer.len();
    }

    /// Begins the marks of an increment that has none.
    fn begin_seal(&mut self) {
        if self.seal.is_none() {
            self.settled();
            self.seal = Some(Seal::begin(offset_of(self.end), &mut self.buffer));
            self.count();
            self.summed = self.whole;
            self.mark_at = self.end + MARK_EVERY;
        }
    }

    /// Adds all of the buffer to the sum.
    fn sum(&mut self) {
        if let Some(seal) = &mut self.seal {
            seal.update(&self.buffer[self.summed..self.whole]);
        }
        self.summed = self.whole;
    }

    /// Appends a mark, if anything was appended since the last.
    #[cold]
    fn mark(&mut self) {
        self.settled();
        self.sum();
        let offset = offset_of(self.end);
        let Some(seal) = self.seal.as_mut().filter(|seal| seal.since() < offset) else { return };
        seal.mark(offset, &mut self.buffer);
        self.count();
        self.summed = self.whole;
        self.mark_at = self.end + MARK_EVERY;
    }

    /// Takes the buffer, all of it summed, and leaves `spare`, an empty one.
    fn take(&mut self, spare: Vec<u8>) -> Vec<u8> {
        self.settled();
        self.sum();
        (self.whole, self.summed) = (0, 0);
        std::mem::replace(&mut self.buffer, spare)
    }
}

/// A change of files that the writer has yet to follow.
struct Switch {
    sealed: Vec<u8>,
    sealed_end: u64,
    next: Increment,
}

/// The state of the writer.
struct Current {
    increment: Increment,
    /// Being written to the increment; not empty only while writing, or after it failed.
    pending: Vec<u8>,
    pending_end: u64,
    /// Bytes at the front of `pending` that are in the file although the rest did not fit, and
    /// that could not be cut away.
    torn: usize,
    next: Option<(Increment, Vec<u8>, u64)>,
}

/// The log being appended to.
pub(super) struct Log {
    tail: Mutex<Tail>,
    file: Mutex<Current>,
    written: AtomicU64,
    synced: AtomicU64,
    /// Bytes in `Current::pending` and behind it, for statistics.
    pending_bytes: AtomicU64,
    /// Length of the increment being written, for statistics.
    increment_len: AtomicU64,
    /// Whether some thread is inside fdatasync(2).
    syncing: AtomicBool,
    /// Before each write it is slept for so long, microseconds: for tests (`DEBUG AOF-FLUSH-SLEEP`).
    delay_us: AtomicU64,
    pub health: Health,
    pub moments: Moments,
    pub sync_times: SyncTimes,
}

impl Log {
    pub fn new(increment: Increment) -> Self {
        let end = position(increment.seq, increment.len).seq;
        let seal = increment.seal;
        let mark_at =
            seal.map_or(u64::MAX, |seal| position(increment.seq, seal.since()).seq + MARK_EVERY);
        Log {
            tail: Mutex::new(Tail {
                buffer: Vec::new(),
                whole: 0,
                end,
                db: None,
                switch: None,
                seal,
                summed: 0,
                mark_at,
            }),
            written: AtomicU64::new(end),
            synced: AtomicU64::new(end),
            pending_bytes: AtomicU64::new(0),
            increment_len: AtomicU64::new(increment.len),
            file: Mutex::new(Current {
                increment,
                pending: Vec::new(),
                pending_end: end,
                torn: 0,
                next: None,
            }),
            syncing: AtomicBool::new(false),
            delay_us: AtomicU64::new(0),
            health: Health::default(),
            moments: Moments::default(),
            sync_times: SyncTimes::default(),
        }
    }

    /// Delays every write by this time, for tests.
    pub fn set_delay(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.delay_us.store(micros, Ordering::Relaxed);
    }

    /// Whether some thread is inside fdatasync(2).
    pub fn is_syncing(&self) -> bool {
        self.syncing.load(Ordering::Relaxed)
    }

    /// Runs `encode` on the tail, after a `SELECT` when `db` is not the current database.
    #[inline]
    pub fn append(&self, db: Db, encode: impl FnOnce(&mut Vec<u8>)) -> Position {
        let mut tail = self.tail.lock();
        tail.settled();
        select(&mut tail, db);
        encode(&mut tail.buffer);
        self.appended(tail)
    }

    /// Appends effects between `MULTI` and `EXEC`.
    pub fn append_atomic(&self, effects: &[(Db, Vec<Vec<u8>>)]) -> Position {
        let mut tail = self.tail.lock();
        tail.settled();
        tail.begin_seal();
        encode::command(&mut tail.buffer, &[b"MULTI"]);
        for (db, effect) in effects {
            select(&mut tail, *db);
            encode::command(&mut tail.buffer, effect);
        }
        encode::command(&mut tail.buffer, &[b"EXEC"]);
        self.appended(tail)
    }

    /// Appends an annotation that is given back when the file is read.
    pub fn note(&self, text: &str) {
        let mut tail = self.tail.lock();
        tail.settled();
        tail.begin_seal();
        encode::note(&mut tail.buffer, text);
        self.appended(tail);
    }

    /// Counts a record. Nothing between the moment it counts and the end of its append may panic.
    #[inline]
    fn appended(&self, mut tail: MutexGuard<'_, Tail>) -> Position {
        tail.count();
        let end = Position::log(tail.end);
        if tail.end >= tail.mark_at {
            tail.mark();
        }
        let full = tail.buffer.len() > BACKLOG_MAX;
        drop(tail);
        if full {
            self.write_up_to(end);
        }
        end
    }

    /// Writes a mark behind everything appended so far, because nothing may follow for a while.
    pub fn mark(&self) {
        self.tail.lock().mark();
    }

    /// The position behind everything appended.
    pub fn end(&self) -> Position {
        Position::log(self.tail.lock().end)
    }

    /// The position up to which the operating system has everything.
    #[inline]
    pub fn written(&self) -> Position {
        Position::log(self.written.load(Ordering::Acquire))
    }

    /// The position up to which everything survives power loss.
    #[inline]
    pub fn synced(&self) -> Position {
        Position::log(self.synced.load(Ordering::Acquire))
    }

    /// Bytes appended and not written.
    pub fn backlog_bytes(&self) -> u64 {
        let tail = self.tail.lock();
        let sealed = tail.switch.as_ref().map_or(0, |switch| switch.sealed.len());
        (tail.buffer.len() + sealed) as u64 + self.pending_bytes.load(Ordering::Relaxed)
    }

    /// Length of the increment being written, bytes.
    pub fn increment_len(&self) -> u64 {
        self.increment_len.load(Ordering::Relaxed)
    }

    /// Writes until `position` is covered, unless writing fails at the moment: it is then tried again
    /// by [`Log::retry`], not by every session.
    #[inline]
    pub fn write_up_to(&self, position: Position) {
        if self.written() < position && !self.health.cannot_write() {
            self.write_unless_covered(position);
        }
    }

    #[cold]
    #[inline(never)]
    fn write_unless_covered(&self, position: Position) {
        let mut current = self.file.lock();
        if self.written() < position && !self.health.cannot_write() {
            let delay_us = self.delay_us.load(Ordering::Relaxed);
            if delay_us > 0 {
                std::thread::sleep(Duration::from_micros(delay_us));
            }
            self.write(&mut current);
        }
    }

    /// Writes everything appended so far, also after failures.
    pub fn retry(&self) {
        self.write(&mut self.file.lock());
    }

    fn write(&self, current: &mut Current) {
        let what = Moment::Write { syncing: self.is_syncing() };
        let outcome = self.moments.of(what, || {
            self.write_pending(current)?;
            self.take_tail(current);
            self.write_pending(current)
        });
        let left = current.pending.len() + current.next.as_ref().map_or(0, |next| next.1.len());
        self.pending_bytes.store(left as u64, Ordering::Relaxed);
        self.increment_len.store(current.increment.len, Ordering::Relaxed);
        match outcome {
            Ok(()) => self.health.write_succeeded(),
            Err(error) => self.health.write_failed(&error),
        }
    }

    /// Takes what was appended, and leaves an empty buffer. Everything taken before must be
    /// written.
    fn take_tail(&self, current: &mut Current) {
        let spare = std::mem::take(&mut current.pending);
        let mut tail = self.tail.lock();
        let buffer = tail.take(spare);
        match tail.switch.take() {
            Some(Switch { sealed, sealed_end, next }) => {
                (current.pending, current.pending_end) = (sealed, sealed_end);
                current.next = Some((next, buffer, tail.end));
            }
            None => (current.pending, current.pending_end) = (buffer, tail.end),
        }
        let taken = current.pending.len() + current.next.as_ref().map_or(0, |next| next.1.len());
        self.pending_bytes.store(taken as u64, Ordering::Relaxed);
    }

    /// Writes what was taken: first to the current increment, then to the next one.
    fn write_pending(&self, current: &mut Current) -> io::Result<()> {
        self.write_to_increment(current)?;
        if let Some((next, bytes, end)) = current.next.take() {
            // Nothing may be in a file whose predecessor could still lose its end.
            if let Err(error) = current.increment.file.sync() {
                self.health.sync_failed(&error);
            }
            current.increment = next;
            (current.pending, current.pending_end) = (bytes, end);
            self.write_to_increment(current)?;
        }
        Ok(())
    }

    fn write_to_increment(&self, current: &mut Current) -> io::Result<()> {
        let Current { increment, pending, torn, .. } = current;
        while *torn < pending.len() {
            match increment.file.write(&pending[*torn..]) {
                Ok(0) => return cut_back(current, io::ErrorKind::WriteZero.into()),
                Ok(count) => *torn += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return cut_back(current, error),
            }
        }
        *torn = 0;
        increment.len += pending.len() as u64;
        pending.clear();
        if pending.capacity() > BUFFER_KEPT {
            *pending = Vec::new();
        }
        self.written.store(current.pending_end, Ordering::Release);
        Ok(())
    }

    /// Makes everything written survive a power failure, but not what is appended meanwhile.
    pub fn sync(&self) {
        let (file, up_to) = {
            let current = self.file.lock();
            (current.increment.file.clone(), self.written())
        };
        if up_to <= self.synced() || self.health.cannot_sync() {
            return;
        }
        self.syncing.store(true, Ordering::Relaxed);
        let began = Instant::now();
        let synced = file.sync();
        self.sync_times.add(began.elapsed());
        self.syncing.store(false, Ordering::Relaxed);
        match synced {
            // An earlier increment may have failed to sync while this one was synced.
            Ok(()) if self.health.cannot_sync() => {}
            Ok(()) => {
                self.synced.fetch_max(up_to.seq, Ordering::AcqRel);
            }
            Err(error) => self.health.sync_failed(&error),
        }
    }

    /// Whether a switch has happened that the writer has not followed.
    pub fn is_switching(&self) -> bool {
        let current = self.file.lock();
        current.next.is_some() || self.tail.lock().switch.is_some()
    }

    /// Directs everything appended from here on to `next`, an empty increment. This only swaps
    /// buffers. Returns the position of the switch. Must not be called while [`Log::is_switching`].
    pub fn switch(&self, next: Increment) -> Position {
        let mut tail = self.tail.lock();
        debug_assert!(tail.switch.is_none(), "one switch at a time");
        tail.mark();
        let sealed = tail.take(Vec::new());
        let sealed_end = tail.end;
        tail.seal = None;
        tail.mark_at = u64::MAX;
        tail.end = position(next.seq, 0).seq;
        tail.db = None;
        tail.switch = Some(Switch { sealed, sealed_end, next });
        Position::log(tail.end)
    }

    /// Everything before increment `seq` is safe elsewhere: drops what could not be written to
    /// earlier files, and forgives their failures if `seq` can be written and synced.
    pub fn replaced_before(&self, seq: u64) {
        let mut current = self.file.lock();
        if current.increment.seq < seq && current.next.is_none() {
            self.take_tail_behind(&mut current);
        }
        if let Some((next, bytes, end)) = current.next.take() {
            current.increment = next;
            current.torn = 0;
            (current.pending, current.pending_end) = (bytes, end);
        }
        self.health.forgive();
        self.write(&mut current);
        drop(current);
        self.sync();
    }

    /// Like [`Log::take_tail`], but drops what is pending for the old increment.
    fn take_tail_behind(&self, current: &mut Current) {
        current.pending.clear();
        self.take_tail(current);
    }
}

/// Selects `db` in the log if another one is.
#[inline]
fn select(tail: &mut Tail, db: Db) {
    if tail.db != Some(db) {
        tail.begin_seal();
        tail.db = Some(db);
        encode::select(&mut tail.buffer, db);
    }
}

/// After a write that did not take everything: cuts the file back to whole records, or if that
/// fails remembers how much of the record is there.
fn cut_back(current: &mut Current, error: io::Error) -> io::Result<()> {
    if current.torn > 0 && current.increment.file.truncate(current.increment.len).is_ok() {
        current.torn = 0;
    }
    Err(error)
}
