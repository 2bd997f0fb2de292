//! The stream that replicas read: [`Outgoing`], and [`Tee`], the journal that writes it.

use super::trail::PositionMarks;
use parking_lot::Mutex;
use replication::{Answer, Backlog, History, Id, Resume, command};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;
use storage::journal::Durability;
use storage::{Appended, Db, Fate, Journal, Position, Refusal, Withholds};

bitflags::bitflags! {
    /// The places where effects are recorded.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Recording: u8 {
        /// Effects are logged.
        const LOGGED = 1;
        /// Effects go into the stream.
        const FED = 1 << 1;
        /// Effects that do not enter the stream must be logged as such, because the log has recorded
        /// the position of the data in the stream.
        const APART = 1 << 2;
    }
}

/// A moment in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The history.
    pub id: Id,
    /// The position in it.
    pub position: u64,
    /// The database that the stream is in there.
    pub db: Db,
}

/// The stream, its history, and the part of it that is held.
pub struct Outgoing {
    inner: Mutex<Inner>,
    /// The position behind the last byte, for those who only look.
    end: AtomicU64,
    needed: AtomicU64,
    /// Bytes kept for replicas that come back.
    size: AtomicU64,
}

struct Inner {
    history: History,
    backlog: Option<Backlog>,
    /// The position, while there is no backlog.
    position: u64,
    /// The database that the last effect was in; unknown after a cut.
    db: Option<Db>,
    /// The position behind the last request for acknowledgements.
    asked_at: u64,
    /// The state of the marks by which the log records the replication position.
    marks: PositionMarks,
    /// Whether the replication id was told to a replica.
    is_shared: bool,
}

impl Inner {
    fn cut(&self) -> Cut {
        Cut { id: self.history.id, position: self.position, db: self.db.unwrap_or(0) }
    }

    fn append(&mut self, bytes: &[u8], needed: u64) {
        if let Some(backlog) = &mut self.backlog {
            backlog.append(bytes, needed);
            self.position = backlog.end();
        }
    }

    fn turn_to(&mut self, db: Db, needed: u64) {
        if self.db != Some(db) {
            self.db = Some(db);
            let mut bytes = Vec::with_capacity(32);
            select(db, &mut bytes);
            self.append(&bytes, needed);
        }
    }

    /// Records in the log that an effect is about to enter the stream, which is then `bytes`
    /// further and in database `db`. `record` is the length of that record if it is a single
    /// command.
    fn logged(
        &mut self,
        journal: Option<&dyn Journal>,
        bytes: u64,
        record: Option<u64>,
        db: Db,
        append: impl FnOnce(&dyn Journal) -> Appended,
    ) -> Appended {
        let Some(journal) = journal else {
            self.marks.renew();
            return Ok(Position::log(0));
        };
        let after = self.position + if self.backlog.is_some() { bytes } else { 0 };
        self.marks.before(journal, self.cut(), after, record, db);
        let appended = append(journal);
        if appended.is_err() {
            // The annotation that was just written belongs to a record that does not follow.
            self.marks.renew();
        }
        appended
    }
}

/// Appends the command that turns the stream to a database.
fn select(db: Db, bytes: &mut Vec<u8>) {
    command(&[b"SELECT", itoa::Buffer::new().format(db).as_bytes()], bytes);
}

impl Outgoing {
    pub(crate) fn new(id: Id) -> Self {
        Outgoing {
            inner: Mutex::new(Inner {
                history: History::new(id),
                backlog: None,
                position: 0,
                db: None,
                asked_at: 0,
                marks: PositionMarks::Off,
                is_shared: false,
            }),
            end: AtomicU64::new(0),
            needed: AtomicU64::new(u64::MAX),
            size: AtomicU64::new(0),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner, u64) -> T) -> T {
        let mut inner = self.inner.lock();
        let result = work(&mut inner, self.needed.load(Ordering::Relaxed));
        self.end.store(inner.position, Ordering::Release);
        result
    }

    /// The position behind the last byte (`master_repl_offset`).
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Which history it is.
    pub fn history(&self) -> History {
        self.inner.lock().history
    }

    /// Whether bytes are held. If not, what is appended is dropped.
    pub fn is_active(&self) -> bool {
        self.inner.lock().backlog.is_some()
    }

    /// The first position held and how many bytes are behind it, if any are kept.
    pub fn held(&self) -> Option<(u64, u64)> {
        let inner = self.inner.lock();
        inner.backlog.as_ref().map(|backlog| (backlog.first(), backlog.end() - backlog.first()))
    }

    /// Bytes of memory held.
    pub fn held_bytes(&self) -> u64 {
        self.inner.lock().backlog.as_ref().map_or(0, Backlog::held_bytes)
    }

    /// Appends an effect in `db`, already encoded, to the log and to the stream: in the same order,
    /// and to the stream only what the log has accepted.
    pub(crate) fn append(
        &self,
        slot: u16,
        db: Db,
        encoded: &[u8],
        journal: Option<&dyn Journal>,
    ) -> Appended {
        self.with(|inner, needed| {
            inner.turn_to(db, needed);
            let len = encoded.len() as u64;
            let position = inner.logged(journal, len, Some(len), db, |journal| {
                journal.append_encoded(slot, db, encoded)
            })?;
            inner.append(encoded, needed);
            Ok(position)
        })
    }

    /// Appends bytes to the stream that are not an effect, and are not logged.
    pub(crate) fn append_message(&self, db: Db, encoded: &[u8]) {
        self.with(|inner, needed| {
            inner.turn_to(db, needed);
            inner.append(encoded, needed);
        });
    }

    /// As [`Outgoing::append`], for effects that belong together.
    fn append_atomic(
        &self,
        slot: u16,
        effects: &[(Db, Vec<Vec<u8>>)],
        journal: Option<&dyn Journal>,
    ) -> Appended {
        let (Some((first, _)), Some((last, _))) = (effects.first(), effects.last()) else {
            return Ok(Position::log(0));
        };
        self.with(|inner, needed| {
            inner.turn_to(*first, needed);
            let (mut bytes, mut current) = (b"*1\r\n$5\r\nMULTI\r\n".to_vec(), *first);
            for (db, effect) in effects {
                if std::mem::replace(&mut current, *db) != *db {
                    select(*db, &mut bytes);
                }
                resp::encode_command(effect.iter().map(Vec::as_slice), &mut bytes);
            }
            bytes.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
            let position = inner.logged(journal, bytes.len() as u64, None, *last, |journal| {
                journal.append_atomic(slot, effects)
            })?;
            inner.append(&bytes, needed);
            inner.db = Some(*last);
            Ok(position)
        })
    }

    /// Records in the log the position of a master's bytes, before their effects are logged. `len`
    /// is the length of that record if it is a single command, in `db`.
    pub(crate) fn mark(&self, journal: &dyn Journal, bytes: usize, len: Option<u64>, db: Db) {
        self.with(|inner, _| {
            let after = inner.position + bytes as u64;
            inner.marks.before(journal, inner.cut(), after, len, db);
        });
    }

    /// Records the position of the data in a new log; if `later`, before the next record, because
    /// other records come first.
    pub(crate) fn mark_place(&self, journal: &dyn Journal, later: bool) {
        self.with(|inner, _| match inner.marks {
            PositionMarks::Off => {}
            _ if later => {
                inner.marks.end(journal);
                inner.marks = PositionMarks::Due;
            }
            _ => inner.marks.place(journal, inner.cut()),
        });
    }

    /// Marks in the log that the records from here on belong to no replication stream, so that a
    /// reader does not derive a position from them.
    pub(crate) fn end_marks(&self, journal: &dyn Journal) {
        self.with(|inner, _| inner.marks.end(journal));
    }

    /// From here on all that is logged is in the stream. To be called where nothing is being written.
    pub(crate) fn begin_marks(&self) {
        self.with(|inner, _| inner.marks = PositionMarks::Due);
    }

    /// The history with which to continue at a master: ours, or the one before if ours is not known
    /// to any other server and nothing has happened in it.
    pub(crate) fn resume(&self) -> Resume {
        let inner = self.inner.lock();
        let Inner { history, position, .. } = &*inner;
        let before = history.before.filter(|(_, upto)| upto == position && !inner.is_shared);
        Resume { id: before.map_or(history.id, |(id, _)| id), position: *position }
    }

    /// Appends a command that concerns no database.
    pub fn append_plain(&self, words: &[&[u8]]) {
        let mut bytes = Vec::new();
        command(words, &mut bytes);
        self.with(|inner, needed| inner.append(&bytes, needed));
    }

    /// Asks replicas for their positions, unless the last request did so.
    pub fn ask(&self) {
        let mut bytes = Vec::new();
        command(&[b"REPLCONF", b"GETACK", b"*"], &mut bytes);
        self.with(|inner, needed| {
            if inner.asked_at != inner.position || inner.position == 0 {
                inner.append(&bytes, needed);
                inner.asked_at = inner.position;
            }
        });
    }

    /// Appends a master's bytes, after which its stream is in `db`.
    pub(crate) fn pass_on(&self, bytes: &[u8], db: Db) {
        self.with(|inner, needed| {
            inner.append(bytes, needed);
            inner.db = Some(db);
        });
    }

    /// The current position. If `select`, the next effect is preceded by its database, because a
    /// replica that begins here does not know it.
    pub fn cut(&self, select: bool) -> Cut {
        self.with(|inner, _| {
            let db = inner.db.unwrap_or(0);
            if select {
                inner.db = None;
                inner.is_shared = true;
                // Every shard is locked, so that whatever is written from here on is in the stream.
                if inner.backlog.is_some() {
                    inner.marks = PositionMarks::Due;
                }
            }
            Cut { id: inner.history.id, position: inner.position, db }
        })
    }

    /// Begins to hold bytes, from here on.
    pub(crate) fn activate(&self, size: u64) {
        self.size.store(size, Ordering::Relaxed);
        self.with(|inner, _| {
            let position = inner.position;
            if inner.backlog.is_none() {
                inner.backlog = Some(Backlog::new(position, size));
                inner.db = None;
            }
        });
    }

    /// Sets the number of bytes to hold.
    pub(crate) fn resize(&self, size: u64) {
        self.size.store(size, Ordering::Relaxed);
        self.with(|inner, needed| {
            if let Some(backlog) = &mut inner.backlog {
                backlog.set_size(size);
                backlog.trim(needed);
            }
        });
    }

    /// Bytes kept for replicas that come back.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Becomes another history at some position; `keep` if bytes are to be kept from there on.
    pub(crate) fn begin(&self, history: History, position: u64, db: Db, keep: Option<u64>) {
        self.with(|inner, _| {
            *inner = Inner {
                history,
                backlog: keep.map(|size| Backlog::new(position, size)),
                position,
                db: Some(db),
                asked_at: 0,
                marks: inner.marks,
                is_shared: false,
            };
            inner.marks.renew();
        });
    }

    /// From here on it is a history of its own.
    pub(crate) fn branch(&self, id: Id) {
        self.with(|inner, _| {
            inner.history.branch(id, inner.position);
            inner.db = None;
            inner.is_shared = false;
            inner.marks.renew();
        });
    }

    /// The same history with another id.
    pub(crate) fn rename(&self, history: History) {
        self.with(|inner, _| {
            inner.history = history;
            inner.marks.renew();
        });
    }

    /// The answer to a replica that asks to continue. If it can, the replica is recorded as needing
    /// the bytes from there on.
    pub(crate) fn answer(&self, id: &[u8], offset: i64) -> Answer {
        self.with(|inner, _| match &inner.backlog {
            Some(backlog) => {
                let (first, end) = (backlog.first(), backlog.end());
                let answer = inner.history.answer(id, offset, first, end);
                if let Answer::Continue(position) = answer {
                    inner.is_shared = true;
                    self.needed.fetch_min(position, Ordering::Relaxed);
                    inner.db = None;
                }
                answer
            }
            None => Answer::Full,
        })
    }

    /// Copies up to `max` bytes behind a position to `out`; `None` if they are no longer held.
    pub(crate) fn read(&self, position: u64, max: usize, out: &mut Vec<u8>) -> Option<usize> {
        let inner = self.inner.lock();
        let backlog = inner.backlog.as_ref().filter(|backlog| backlog.holds(position))?;
        Some(backlog.read(position, max, out))
    }

    pub(crate) fn set_needed(&self, position: u64) {
        self.needed.store(position, Ordering::Relaxed);
    }
}

thread_local! {
    /// The buffer in which an effect is encoded once for the stream and the log.
    static ENCODED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// An effect that is larger than this does not keep its buffer.
const KEPT_MAX: usize = 64 << 10;

/// Writes effects into the stream, and into the journal if they are logged.
pub(crate) struct Tee {
    pub journal: Option<Arc<dyn Journal>>,
    pub out: Arc<Outgoing>,
    /// The bits of [`Recording`].
    recording: AtomicU8,
}

impl Tee {
    /// A tee that writes nothing yet.
    pub fn new(journal: Option<Arc<dyn Journal>>, out: Arc<Outgoing>) -> Self {
        Tee { journal, out, recording: AtomicU8::new(0) }
    }

    pub fn set(&self, place: Recording, on: bool) {
        match on {
            true => self.recording.fetch_or(place.bits(), Ordering::SeqCst),
            false => self.recording.fetch_and(!place.bits(), Ordering::SeqCst),
        };
    }

    #[inline]
    pub fn recording(&self) -> Recording {
        Recording::from_bits_retain(self.recording.load(Ordering::Relaxed))
    }

    #[inline]
    pub fn is(&self, place: Recording) -> bool {
        self.recording().contains(place)
    }

    fn logged(&self) -> Option<&dyn Journal> {
        self.journal.as_deref().filter(|_| self.is(Recording::LOGGED))
    }

    /// The log, for effects that do not enter the stream.
    fn logged_alone(&self) -> Option<&dyn Journal> {
        let journal = self.logged()?;
        self.out.end_marks(journal);
        self.set(Recording::APART, false);
        Some(journal)
    }
}

impl Journal for Tee {
    fn append(&self, slot: u16, db: Db, effect: &[&[u8]]) -> Appended {
        ENCODED.with_borrow_mut(|encoded| {
            encoded.clear();
            command(effect, encoded);
            let position = self.append_encoded(slot, db, encoded);
            if encoded.capacity() > KEPT_MAX {
                *encoded = Vec::new();
            }
            position
        })
    }

    fn append_encoded(&self, slot: u16, db: Db, resp: &[u8]) -> Appended {
        if self.is(Recording::FED) {
            return self.out.append(slot, db, resp, self.logged());
        }
        let Some(journal) = self.logged_alone() else { return Ok(Position::log(0)) };
        journal.append_encoded(slot, db, resp)
    }

    fn append_atomic(&self, slot: u16, effects: &[(Db, Vec<Vec<u8>>)]) -> Appended {
        if let [(db, effect)] = effects {
            let effect: Vec<&[u8]> = effect.iter().map(Vec::as_slice).collect();
            return self.append(slot, *db, &effect);
        }
        if self.is(Recording::FED) {
            return self.out.append_atomic(slot, effects, self.logged());
        }
        let Some(journal) = self.logged_alone() else { return Ok(Position::log(0)) };
        journal.append_atomic(slot, effects)
    }

    fn admit(&self, slot: u16) -> Result<(), Refusal> {
        self.logged().map_or(Ok(()), |journal| journal.admit(slot))
    }

    fn may_refuse(&self) -> bool {
        self.journal.as_deref().is_some_and(Journal::may_refuse)
    }

    fn write_up_to(&self, position: Position) {
        self.logged().into_iter().for_each(|journal| journal.write_up_to(position));
    }

    fn poll(&self, position: Position, waker: &Waker) -> Fate {
        self.logged().map_or(Fate::Kept, |journal| journal.poll(position, waker))
    }

    fn withholds(&self) -> Withholds {
        self.logged().map_or(Withholds::Nothing, Journal::withholds)
    }

    fn sync(&self) -> storage::Result<()> {
        self.logged().map_or(Ok(()), Journal::sync)
    }

    fn durability(&self) -> Durability {
        self.logged().map_or(Durability::default(), Journal::durability)
    }

    fn set_durability(&self, durability: Durability) {
        self.journal.iter().for_each(|journal| journal.set_durability(durability));
    }

    fn set_write_delay(&self, delay: Duration) {
        self.journal.iter().for_each(|journal| journal.set_write_delay(delay));
    }

    fn failure(&self) -> Option<String> {
        self.logged().and_then(Journal::failure)
    }

    fn backlog_bytes(&self) -> u64 {
        self.logged().map_or(0, Journal::backlog_bytes)
    }

    fn stats(&self) -> Vec<(&'static str, String)> {
        self.logged().map_or(Vec::new(), Journal::stats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::testing::scripted::Scripted;

    fn text(out: &Outgoing, from: u64) -> String {
        let mut bytes = Vec::new();
        out.read(from, usize::MAX, &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().filter(|line| !line.starts_with(['*', '$'])).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_stream_says_where_it_is_and_what_belongs_together() {
        let out = Arc::new(Outgoing::new(Id::NONE));
        let tee = Tee {
            journal: None,
            out: out.clone(),
            recording: AtomicU8::new(Recording::FED.bits()),
        };
        tee.append(0, 0, &[b"SET", b"lost", b"1"]).unwrap();
        assert_eq!(out.end(), 0, "nobody has asked yet");
        out.activate(1000);
        tee.append(0, 0, &[b"SET", b"a", b"1"]).unwrap();
        tee.append(0, 0, &[b"DEL", b"a"]).unwrap();
        let owned = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
        tee.append_atomic(0, &[(2, owned(&["INCR", "x"])), (3, owned(&["INCR", "y"]))]).unwrap();
        tee.append_atomic(0, &[(3, owned(&["INCR", "z"]))]).unwrap();
        let cut = out.cut(true);
        tee.append(0, 3, &[b"DEL", b"z"]).unwrap();
        let whole = "SELECT 0 SET a 1 DEL a SELECT 2 MULTI INCR x SELECT 3 INCR y EXEC INCR z";
        assert_eq!(text(&out, 0), format!("{whole} SELECT 3 DEL z"));
        assert_eq!((cut.db, text(&out, cut.position)), (3, "SELECT 3 DEL z".into()));
    }

    #[test]
    fn acknowledgements_are_asked_for_once() {
        let out = Outgoing::new(Id::NONE);
        out.activate(1000);
        out.ask();
        out.ask();
        assert_eq!(text(&out, 0), "REPLCONF GETACK");
        out.append_plain(&[b"PING"]);
        out.ask();
        assert_eq!(text(&out, 0), "REPLCONF GETACK PING REPLCONF GETACK");
    }

    storage::testing::journals::journals!(tee, || {
        let out = Arc::new(Outgoing::new(Id::NONE));
        out.activate(1 << 20);
        let log: Arc<dyn Journal> = Arc::new(Scripted::new(Withholds::Writes));
        let recording = AtomicU8::new((Recording::LOGGED | Recording::FED).bits());
        (Arc::new(Tee { journal: Some(log), out, recording }), ())
    });

    #[test]
    fn what_the_log_refuses_is_not_in_the_stream() {
        let out = Arc::new(Outgoing::new(Id::NONE));
        out.activate(1000);
        let log = Arc::new(Scripted::new(Withholds::Writes));
        let journal = Some(log.clone() as Arc<dyn Journal>);
        let tee = Tee {
            journal,
            out: out.clone(),
            recording: AtomicU8::new((Recording::LOGGED | Recording::FED).bits()),
        };
        assert_eq!(tee.append(0, 0, &[b"DEL", b"a"]).unwrap().seq, 1);
        log.refuse_late(Some("TRYAGAIN later"));
        assert!(tee.append(0, 0, &[b"DEL", b"b"]).is_err());
        let effect = |key: &[u8]| (0, vec![b"DEL".to_vec(), key.to_vec()]);
        assert!(tee.append_atomic(0, &[effect(b"c"), effect(b"d")]).is_err());
        log.refuse_late(None);
        assert_eq!(tee.append(0, 0, &[b"DEL", b"e"]).unwrap().seq, 2);
        assert_eq!(text(&out, 0), "SELECT 0 DEL a DEL e");
        assert_eq!(log.take(), ["DEL a", "DEL e"]);
    }
}
