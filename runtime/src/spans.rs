//! Sampled turns: where the time of one request went, for a trace that spans several programs (OpenTelemetry).
//!
//! Nobody decides for each request whether it is a sample, so requests that are none cost nothing. Whoever
//! exports samples asks for the next turn ([`ask`]), or a client has asked for all of its own ([`hold`]); for
//! as long as anything is asked for, [`trace::is_on`](crate::trace::is_on) makes runtimes time turns.
//! A [`Turn`] travels with its connection. While the connection works, it is the thread's ([`within`]), and the
//! stages that [`trace::record`](crate::trace::record) is told of are added to it. The session *claims* the turn if it is a
//! sample, and says what it is about. A turn that was claimed is passed on when its output is written.

use crate::trace::{self, STAGES, STATE, Stage};
use std::cell::{Cell, RefCell};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::time::{Duration, Instant, SystemTime};

/// In [`STATE`]: the next turn that can be a sample is one.
const ASKED: u32 = 1 << 30;
/// In [`STATE`]: the number of holds.
const HOLDS: u32 = ASKED - 1;

/// Takes samples; false if it has no room for one. It must not wait.
pub type Sink = Box<dyn Fn(Sample) -> bool + Send + Sync>;

static SINK: OnceLock<Sink> = OnceLock::new();
static TAKEN: AtomicU64 = AtomicU64::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The turn of the connection that the thread works for.
    static TURN: RefCell<Option<Box<Turn>>> = const { RefCell::new(None) };
    /// When the job that the thread has begun was queued.
    static QUEUED_AT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The caller's span, as in W3C's `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The trace that it belongs to.
    pub trace_id: [u8; 16],
    /// The span itself.
    pub span_id: [u8; 8],
    /// Whether the caller records it.
    pub is_sampled: bool,
}

impl Parent {
    /// Reads `00-<trace>-<span>-<flags>`, in lower-case hexadecimal. As the standard demands, what a later version
    /// appends is ignored, and identifiers that are all zeros are none.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = text.splitn(5, |byte| *byte == b'-');
        let [version] = hex(parts.next()?)?;
        let parent = Parent {
            trace_id: hex(parts.next()?)?,
            span_id: hex(parts.next()?)?,
            is_sampled: hex::<1>(parts.next()?)?[0] & 1 == 1,
        };
        let is_known = version == 0 && parts.next().is_none() || (1..0xff).contains(&version);
        let is_valid = parent.trace_id != [0; 16] && parent.span_id != [0; 8];
        (is_known && is_valid).then_some(parent)
    }
}

fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// The subject of a sampled turn: who asked for which command.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The caller's span, if it has named one.
    pub parent: Option<Parent>,
    /// The first command of the turn.
    pub command: String,
    /// The number of commands executed.
    pub commands: u64,
    /// The database.
    pub db: u32,
    /// The client's number.
    pub client: u64,
    /// The client's address.
    pub peer: String,
}

/// One stage of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The stage.
    pub stage: Stage,
    /// Nanoseconds from the beginning of the turn to that of the stage.
    pub begins_ns: u64,
    /// Its time, nanoseconds.
    pub took_ns: u64,
}

/// A sampled turn that is over.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its subject.
    pub about: About,
    /// When it began.
    pub began: SystemTime,
    /// The time from readiness to the last byte written, nanoseconds.
    pub took_ns: u64,
    /// Its stages, in order. Together they take no longer than the turn.
    pub parts: Vec<Part>,
}

/// Keeps turns timed for as long as it is there.
#[derive(Debug)]
pub struct Hold(());

impl Drop for Hold {
    fn drop(&mut self) {
        STATE.fetch_sub(1, AcqRel);
    }
}

/// Makes turns be timed until the hold is dropped; `None` if nobody takes samples.
pub fn hold() -> Option<Hold> {
    is_exported().then(|| {
        STATE.fetch_add(1, AcqRel);
        Hold(())
    })
}

/// Passes samples to `sink` from now on. Returns false if another one gets them already.
pub fn export(sink: Sink) -> bool {
    SINK.set(sink).is_ok()
}

/// Whether somebody takes samples.
pub fn is_exported() -> bool {
    SINK.get().is_some()
}

/// Makes the next turn a sample, if it brings commands and its caller does not say that it is none.
pub fn ask() {
    STATE.fetch_or(ASKED, AcqRel);
}

/// Takes back what was asked for.
pub fn forget() {
    STATE.fetch_and(!ASKED, AcqRel);
}

/// Whether a turn may be a sample.
#[inline]
pub fn is_wanted() -> bool {
    STATE.load(Relaxed) & (ASKED | HOLDS) != 0
}

/// The number of samples that were taken, and of those for which there was no room.
pub fn counts() -> (u64, u64) {
    (TAKEN.load(Relaxed), DROPPED.load(Relaxed))
}

/// Counts samples that were taken and then lost: those that the collector has not got.
pub fn lost(samples: u64) {
    TAKEN.fetch_sub(samples, Relaxed);
    DROPPED.fetch_add(samples, Relaxed);
}

/// The job that this thread begins was queued then.
pub fn queued(at: Instant) {
    QUEUED_AT.set(is_wanted().then_some(at));
}

/// A turn that is a sample, or may become one.
#[derive(Debug)]
pub struct Turn {
    began: Instant,
    delivered: Instant,
    nanos: [u64; STAGES],
    about: Option<(About, Option<Hold>)>,
    /// Whether replies are withheld.
    waits: bool,
}

impl Turn {
    /// A turn that begins now, or did when the thread's job was queued.
    pub fn begin() -> Box<Self> {
        let now = Instant::now();
        let began = QUEUED_AT.take().map_or(now, |queued| queued.min(now));
        let (nanos, about, waits) = ([0; STAGES], None, false);
        Box::new(Turn { began, delivered: now, nanos, about, waits })
    }

    /// Its bytes were read in so many nanoseconds, up to now.
    pub(crate) fn read(&mut self, nanos: u64) {
        self.nanos[Stage::Read as usize] = nanos;
        let now = Instant::now();
        self.began = self.began.min(now.checked_sub(Duration::from_nanos(nanos)).unwrap_or(now));
        self.delivered = now;
    }

    /// It was ready then.
    pub(crate) fn ready(&mut self, at: Instant) {
        self.began = self.began.min(at);
    }

    /// Its bytes are passed on now: whatever was not reading was waiting.
    pub(crate) fn deliver(&mut self) {
        self.delivered = Instant::now();
        let before = self.delivered.duration_since(self.began).as_nanos() as u64;
        self.nanos[Stage::Queue as usize] = before.saturating_sub(self.nanos[Stage::Read as usize]);
    }

    /// Whether it is a sample.
    pub(crate) fn is_claimed(&self) -> bool {
        self.about.is_some()
    }

    /// Whether nothing of it is to come once its output is written.
    pub(crate) fn is_over(&self) -> bool {
        !self.waits
    }

    /// Passes the turn on, if it is a sample. All of its output is written.
    pub fn end(self) {
        let took_ns = self.began.elapsed().as_nanos() as u64;
        let parts = self.parts(took_ns);
        let (Some((about, _)), Some(sink)) = (self.about, SINK.get()) else { return };
        let began = SystemTime::now() - Duration::from_nanos(took_ns);
        match sink(Sample { about, began, took_ns, parts }) {
            true => TAKEN.fetch_add(1, Relaxed),
            false => DROPPED.fetch_add(1, Relaxed),
        };
    }

    /// The stages one after the other: what the turn's thread did for others between them is before the write.
    fn parts(&self, took_ns: u64) -> Vec<Part> {
        let write_ns = self.nanos[Stage::Write as usize].min(took_ns);
        let (mut begins_ns, mut parts) = (0, Vec::new());
        for stage in Stage::ALL {
            let nanos = match stage {
                Stage::Write => write_ns,
                // The log may be written while its sync is waited for already.
                other => self.nanos[other as usize].min(took_ns - write_ns - begins_ns),
            };
            if stage == Stage::Write {
                begins_ns = took_ns - nanos;
            }
            if nanos > 0 {
                parts.push(Part { stage, begins_ns, took_ns: nanos });
            }
            begins_ns += nanos;
        }
        parts
    }
}

/// Runs `work` while the turn is the thread's.
pub fn within<T>(turn: &mut Option<Box<Turn>>, work: impl FnOnce() -> T) -> T {
    let outer = TURN.replace(turn.take());
    let done = work();
    *turn = TURN.replace(outer);
    done
}

/// Runs `work` as a turn of its own.
pub fn alone<T>(work: impl FnOnce() -> T) -> T {
    let mut turn = Some(Turn::begin());
    let done = within(&mut turn, work);
    if let Some(turn) = turn {
        turn.end();
    }
    done
}

/// Claims the thread's turn, if it is a sample: because the caller's span is, or because one was asked for and
/// the caller has none. `about` is `None` for a turn that brings no command. Returns whether it is claimed.
pub fn claim(parent: Option<Parent>, about: impl FnOnce() -> Option<About>) -> bool {
    TURN.with_borrow_mut(|turn| {
        let Some(turn) = turn else { return false };
        if turn.is_claimed() {
            return true;
        }
        let is_asked_for = || STATE.load(Relaxed) & ASKED != 0;
        if !parent.map_or_else(is_asked_for, |parent| parent.is_sampled) {
            return false;
        }
        let Some(about) = about() else { return false };
        // Another thread may have claimed a turn meanwhile.
        if parent.is_none() && STATE.fetch_and(!ASKED, AcqRel) & ASKED == 0 {
            return false;
        }
        turn.about = Some((About { parent, ..about }, hold()));
        true
    })
}

/// The caller of the thread's turn has another span than was known when it was claimed.
pub fn adopt(parent: Option<Parent>) {
    TURN.with_borrow_mut(|turn| {
        let Some(turn) = turn else { return };
        match parent.filter(|parent| parent.is_sampled) {
            None => turn.about = None,
            parent => turn.about.iter_mut().for_each(|(about, _)| about.parent = parent),
        }
    });
}

/// Adds to a stage of the thread's turn.
pub(crate) fn note(stage: Stage, nanos: u64) {
    TURN.with_borrow_mut(|turn| {
        if let Some(turn) = turn {
            turn.nanos[stage as usize] += nanos;
        }
    });
}

/// Adds to the number of commands of the thread's turn.
pub(crate) fn note_commands(commands: u64) {
    TURN.with_borrow_mut(|turn| {
        if let Some((about, _)) = turn.as_mut().and_then(|turn| turn.about.as_mut()) {
            about.commands += commands;
        }
    });
}

/// Replies of the thread's turn are withheld, or no longer.
pub fn withhold(waits: bool) {
    TURN.with_borrow_mut(|turn| turn.iter_mut().for_each(|turn| turn.waits = waits));
}

/// Whether stages are recorded for their sums, too.
pub(crate) fn sums() -> bool {
    STATE.load(Relaxed) & trace::ON != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let whole = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = Parent::parse(whole).expect("a parent");
        assert_eq!((parent.trace_id[0], parent.span_id[7]), (0x0a, 0x31));
        assert!(parent.is_sampled);
        let unsampled = Parent::parse(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02");
        assert!(!unsampled.expect("a parent").is_sampled);
        let later = [b"cc".as_slice(), &whole[2..], b"-what-comes"].concat();
        assert_eq!(Parent::parse(&later), Some(parent));
        let zeros = b"00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let capital = b"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let longer = [whole.as_slice(), b"-"].concat();
        let invalid = [b"ff".as_slice(), &whole[2..]].concat();
        for text in [&b""[..], b"00", &whole[..54], zeros, capital, &longer, &invalid, b"00-\xff-"]
        {
            assert_eq!(Parent::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn stages_follow_each_other_and_take_no_longer_than_the_turn() {
        let mut turn = Turn::begin();
        let times = [(Stage::Queue, 10), (Stage::Execute, 30), (Stage::Write, 20)];
        times.iter().for_each(|(stage, nanos)| turn.nanos[*stage as usize] = *nanos);
        let part = |stage, begins_ns, took_ns| Part { stage, begins_ns, took_ns };
        let expected =
            [part(Stage::Queue, 0, 10), part(Stage::Execute, 10, 30), part(Stage::Write, 80, 20)];
        assert_eq!(turn.parts(100), expected);
        let cut =
            [part(Stage::Queue, 0, 10), part(Stage::Execute, 10, 5), part(Stage::Write, 15, 20)];
        assert_eq!(turn.parts(35), cut);
    }

    #[test]
    fn what_a_turn_waited_for_is_what_it_did_not_read() {
        let mut turn = Turn::begin();
        let ready = Instant::now();
        turn.read(0);
        turn.nanos[Stage::Read as usize] = 1;
        turn.ready(ready);
        turn.deliver();
        let before = turn.delivered.duration_since(turn.began).as_nanos() as u64;
        assert_eq!(turn.nanos[Stage::Queue as usize], before.saturating_sub(1));
        assert!(!turn.is_claimed() && turn.is_over());
        turn.waits = true;
        assert!(!turn.is_over(), "its replies are withheld");
    }
}
