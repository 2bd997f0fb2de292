//! Withholds replies until the effects that they depend on are kept ([`storage::Journal::poll`]).
//!
//! Each reply has a mark in the output. One that turns out to be invalid is replaced by an error,
//! and those before and after it are sent. While a reply is withheld the session executes nothing
//! more, because further replies would have to wait as well.

use super::{Machine, Mark};
use crate::engine::Engine;
use resp::Reply;
use std::ops::Range;
use storage::{Fate, Position, Withholds};

/// The error for a write of which it is not known whether it will be kept.
const UNKNOWN: &str = "UNKNOWN whether this was done is not known: it may have been, or may yet be";

impl Machine {
    /// Records that the journal has to write everything up to `position`.
    #[inline]
    pub(super) fn note_written(&mut self, engine: &Engine, position: Position) {
        if self.written.stream != position.stream {
            self.before_write(engine);
            self.written = position;
        }
        self.written.seq = self.written.seq.max(position.seq);
    }

    /// Records the position on which the reply that begins at `start` depends.
    pub(super) fn depend(&mut self, engine: &Engine, position: Position, start: usize) {
        self.note_written(engine, position);
        let withholds = engine.tee.journal.as_ref().map(|journal| journal.withholds());
        if withholds.is_some_and(|what| what != Withholds::Nothing) && !self.state.is_async() {
            self.withhold(position, start);
        }
    }

    #[inline(never)]
    fn withhold(&mut self, position: Position, start: usize) {
        let reply = start..self.out.len();
        // Without a reply nothing is withheld. Nor is anything for effects that only replicas are
        // told.
        if !reply.is_empty() && position.seq != 0 {
            let mark = Mark { position, slot: self.state.slot, reply };
            self.withheld.get_or_insert_default().marks.push_back(mark);
        }
    }

    /// Removes the marks of replies that were cut off from the output.
    pub(super) fn forget_marks(&mut self) {
        let end = self.out.len();
        if let Some(withheld) = &mut self.withheld {
            withheld.marks.retain(|mark| mark.reply.end <= end);
        }
    }

    /// Sends the withheld replies once the fate of all effects that they depend on is decided.
    /// Returns true if it has released them.
    pub(super) fn check_withheld(&mut self, engine: &Engine) -> bool {
        let Some(withheld) = &mut self.withheld else { return false };
        let waker = self.state.client().waker();
        while let Some(Mark { position, slot, reply }) = withheld.marks.front() {
            let fate = engine.tee.journal.as_ref().map_or(Fate::Kept, |j| j.poll(*position, waker));
            match fate {
                Fate::Kept => {}
                Fate::Pending => {
                    if runtime::trace::is_on() {
                        self.trace.withhold(engine);
                    }
                    return false;
                }
                Fate::Cut(refusal) => {
                    let elsewhere = engine.redirect(*slot, &self.state);
                    withheld.lost.push((reply.clone(), elsewhere.unwrap_or(refusal.0)));
                }
                Fate::Refused(refusal) => withheld.lost.push((reply.clone(), refusal.0)),
                Fate::Unknown => withheld.lost.push((reply.clone(), UNKNOWN.into())),
            }
            withheld.marks.pop_front();
        }
        let lost = self.withheld.take().map(|withheld| withheld.lost).unwrap_or_default();
        self.replace(lost);
        self.trace.release(engine);
        true
    }

    /// Replaces replies by errors.
    fn replace(&mut self, lost: Vec<(Range<usize>, Box<str>)>) {
        if lost.is_empty() {
            return;
        }
        let (bytes, mut at) = (self.out.to_vec(), 0);
        self.out.release();
        for (reply, error) in lost {
            self.out.extend(&bytes[at..reply.start]);
            Reply::new(&mut self.out, self.state.proto).error(&error);
            at = reply.end;
        }
        self.out.extend(&bytes[at..]);
    }
}
