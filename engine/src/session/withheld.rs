//! Replies that wait until what they depend on is kept ([`storage::Journal::poll`]).
//!
//! Each has its mark in the output, so that the one that turns out not to be true is replaced, and
//! those before and after it are sent. While one waits the session executes nothing more: what would
//! follow could only wait as well.

use super::{Machine, Mark};
use crate::engine::Engine;
use resp::Reply;
use std::ops::Range;
use storage::{Fate, Position, Withholds};

/// The error for a write of which nobody knows whether it will be kept.
const UNKNOWN: &str = "UNKNOWN whether this was done is not known: it may have been, or may yet be";

impl Machine {
    /// Notes that the journal is to hand on what was appended up to `position`.
    #[inline]
    pub(super) fn note_written(&mut self, engine: &Engine, position: Position) {
        if self.written.stream != position.stream {
            self.before_write(engine);
            self.written = position;
        }
        self.written.seq = self.written.seq.max(position.seq);
    }

    /// Notes what the reply from `start` on depends on.
    pub(super) fn depend(&mut self, engine: &Engine, position: Position, start: usize) {
        self.note_written(engine, position);
        let withholds = engine.journal.as_ref().map(|journal| journal.withholds());
        if withholds.is_some_and(|what| what != Withholds::Nothing) {
            self.withhold(position, start);
        }
    }

    #[inline(never)]
    fn withhold(&mut self, position: Position, start: usize) {
        let reply = start..self.out.len();
        // Without a reply nothing has to wait; nor for what only replicas are told.
        if !reply.is_empty() && position.seq != 0 {
            let mark = Mark { position, slot: self.state.slot, reply };
            self.withheld.get_or_insert_default().marks.push_back(mark);
        }
    }

    /// Follows the output having been cut: replies that were taken back wait for nothing.
    pub(super) fn forget_marks(&mut self) {
        let end = self.out.len();
        if let Some(withheld) = &mut self.withheld {
            withheld.marks.retain(|mark| mark.reply.end <= end);
        }
    }

    /// Lets replies go once it is decided what has become of all that they depend on, and is true then.
    pub(super) fn check_withheld(&mut self, engine: &Engine) -> bool {
        let Some(withheld) = &mut self.withheld else { return false };
        let waker = self.state.client().waker();
        while let Some(Mark { position, slot, reply }) = withheld.marks.front() {
            let fate = engine.journal.as_ref().map_or(Fate::Kept, |j| j.poll(*position, waker));
            match fate {
                Fate::Kept => {}
                Fate::Pending => {
                    if engine.is_traced() {
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

    /// Puts errors into the places of replies.
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
