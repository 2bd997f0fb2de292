//! [`Member`] as the engine's journal.

use crate::effects::{begin, end};
use crate::flaw::Flaw;
use crate::member::Member;
use crate::positions::Meaning;
use crate::steps::Step;
use consensus::{Blocked, Outcome};
use engine::cluster::too_large;
use std::task::Waker;
use storage::Db;
use storage::journal::{Appended, Fate, Journal, Position, Refusal, Withholds};

/// The error of a command that cannot be executed now, and probably can in a moment.
pub(crate) const TRY_AGAIN: &str = "TRYAGAIN The group is not ready for this: it is about to be";

impl Member {
    /// Appends a record, which `encode` writes. Returns its position.
    fn push(&self, encode: impl FnOnce(&mut Vec<u8>)) -> Position {
        let now = (self.clock)();
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        inner.scratch.clear();
        encode(&mut inner.scratch);
        if inner.scratch.len() > self.record_max {
            inner.scratch = Vec::new();
            return inner.too_large();
        }
        let appended = inner.open.and_then(|fence| {
            let seq = inner.group.append(fence, &inner.scratch, 1, now.wall_ms).ok()?;
            Some((fence, seq))
        });
        match appended {
            Some((fence, seq)) => inner.executed(fence, seq, now.mono_us),
            None => inner.too_late(),
        }
    }

    /// Appends an effect that concerns every key of those groups that are led here, with the units that
    /// this group has, as a bit mask. `None` if it is not led here. Every shard is locked, so a fence that
    /// has fallen and was not waited for since may have stood when the effect was executed: then it is
    /// undone.
    pub(crate) fn push_if_led(&self, effect: &[&[u8]], units: u64) -> Option<Position> {
        let (is_open, has_fallen) = {
            let inner = self.inner.lock();
            (inner.open.is_some(), inner.has_fallen())
        };
        let units = units.to_string();
        let words: Vec<&[u8]> = effect.iter().copied().chain([units.as_bytes()]).collect();
        (is_open || has_fallen).then(|| self.push(|out| write(&[&words], out)))
    }

    /// Appends a step of a move. It is reported when it is committed. `None` if it cannot be appended
    /// now.
    pub(crate) fn propose(&self, step: &Step<'_>) -> Option<Position> {
        let (now, record) = ((self.clock)(), step.encode());
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let fence = inner.open.filter(|open| inner.group.fence() == Ok(*open))?;
        if record.len() > self.record_max {
            return None;
        }
        let seq = inner.group.append(fence, &record, 1, now.wall_ms).ok()?;
        inner.group.report();
        Some(inner.executed(fence, seq, now.mono_us))
    }

    /// The planted bug: every effect becomes a record, and every record an entry.
    fn push_split(&self, effects: &[(Db, Vec<Vec<u8>>)]) -> Position {
        let mut last = Position::default();
        for (_, effect) in effects {
            let words: Vec<&[u8]> = effect.iter().map(Vec::as_slice).collect();
            last = self.push(|out| write(&[&words], out));
            let now = (self.clock)();
            self.with(|group| group.flush(now.mono_us));
        }
        last
    }
}

/// Writes a record of these commands.
fn write<W: AsRef<[u8]>>(commands: &[&[W]], out: &mut Vec<u8>) {
    let start = begin(commands.len(), out);
    commands.iter().for_each(|command| resp::encode_command(command.iter(), out));
    end(start, out);
}

impl Journal for Member {
    fn append(&self, _: u16, _: Db, effect: &[&[u8]]) -> Appended {
        Ok(self.push(|out| {
            let start = begin(1, out);
            resp::encode_command(effect, out);
            end(start, out);
        }))
    }

    fn append_encoded(&self, _: u16, _: Db, resp: &[u8]) -> Appended {
        Ok(self.push(|out| {
            let start = begin(1, out);
            out.extend_from_slice(resp);
            end(start, out);
        }))
    }

    fn append_atomic(&self, _: u16, effects: &[(Db, Vec<Vec<u8>>)]) -> Appended {
        if self.flaws.has(Flaw::ExecSplit) {
            return Ok(self.push_split(effects));
        }
        let commands: Vec<&[Vec<u8>]> = effects.iter().map(|(_, effect)| &effect[..]).collect();
        Ok(self.push(|out| write(&commands, out)))
    }

    fn admit(&self, slot: u16) -> Result<(), Refusal> {
        self.may_append().map_err(|blocked| match blocked {
            Blocked::NotReady | Blocked::Full => TRY_AGAIN.into(),
            Blocked::Elsewhere(leader) => match self.address(leader) {
                Some(address) => Refusal(format!("MOVED {slot} {address}").into()),
                None => "CLUSTERDOWN Hash slot not served".into(),
            },
        })
    }

    fn may_refuse(&self) -> bool {
        true
    }

    fn write_up_to(&self, _: Position) {
        self.kick();
    }

    fn poll(&self, position: Position, waker: &Waker) -> Fate {
        let mut inner = self.inner.lock();
        if inner.positions.meaning(position) == Meaning::TooLarge {
            return Fate::Refused(Refusal(too_large(self.record_max)));
        }
        match inner.wait(position, waker) {
            Outcome::Kept => Fate::Kept,
            Outcome::Pending => Fate::Pending,
            Outcome::Cut => Fate::Cut(TRY_AGAIN.into()),
            Outcome::Unknown => Fate::Unknown,
        }
    }

    fn seen(&self, last: Position, fence: Option<u64>) -> Position {
        let now = (self.clock)();
        self.inner.lock().seen(last, fence, now.mono_us)
    }

    fn withholds(&self) -> Withholds {
        match self.flaws.has(Flaw::ConditionNotWithheld) {
            true => Withholds::Writes,
            false => Withholds::Everything,
        }
    }
}
