//! [`Step`]: the steps of a move of a unit of slots, as records of a group's log.

use crate::effects::{Record, begin, end};
use consensus::GroupId;

/// A step of a move. Units are numbered from zero; an epoch is that of the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step<'d> {
    /// The group is to have the unit in this epoch.
    Want { unit: u16, epoch: u64 },
    /// The group no longer is to have the unit in this epoch. If it was given away already, it arrives
    /// all the same.
    Waive { unit: u16, epoch: u64 },
    /// The group gives the unit, which it has in this epoch, to another one, and changes it no more.
    Release { unit: u16, epoch: u64, to: GroupId },
    /// The group has the unit in this epoch, with these data.
    Acquire { unit: u16, epoch: u64, data: &'d [u8] },
    /// The unit that the group gave away in this epoch has arrived.
    Done { unit: u16, epoch: u64 },
}

/// The beginning of the names of steps, which no command has.
const PREFIX: &[u8] = b"VARVE.";

impl<'d> Step<'d> {
    /// The unit.
    pub fn unit(&self) -> u16 {
        match *self {
            Step::Want { unit, .. } | Step::Waive { unit, .. } => unit,
            Step::Release { unit, .. } => unit,
            Step::Acquire { unit, .. } | Step::Done { unit, .. } => unit,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Step::Want { .. } => "WANT",
            Step::Waive { .. } => "WAIVE",
            Step::Release { .. } => "RELEASE",
            Step::Acquire { .. } => "ACQUIRE",
            Step::Done { .. } => "DONE",
        }
    }

    /// The record of the step.
    pub fn encode(&self) -> Vec<u8> {
        let (epoch, last) = match *self {
            Step::Want { epoch, .. } | Step::Waive { epoch, .. } => (epoch, None),
            Step::Done { epoch, .. } => (epoch, None),
            Step::Release { epoch, to, .. } => (epoch, Some(to.to_string().into_bytes())),
            Step::Acquire { epoch, data, .. } => (epoch, Some(data.to_vec())),
        };
        let name = [PREFIX, self.name().as_bytes()].concat();
        let (unit, epoch) = (self.unit().to_string(), epoch.to_string());
        let words = [&name, unit.as_bytes(), epoch.as_bytes()];
        let words: Vec<&[u8]> = words.into_iter().chain(last.as_deref()).collect();
        let mut out = Vec::new();
        let start = begin(1, &mut out);
        resp::encode_command(words.iter(), &mut out);
        end(start, &mut out);
        out
    }

    /// The step in a record; `None` for a record of commands.
    ///
    /// # Errors
    /// Fails, with a description, if the record is of a step that is not known or makes no sense.
    pub fn of(record: &'d Record<'_>) -> Option<Result<Step<'d>, String>> {
        let request = record.requests().next()?;
        let name = request.arg(0).strip_prefix(PREFIX)?;
        let number = |at: usize| std::str::from_utf8(request.get(at)?).ok()?.parse::<u64>().ok();
        let step = || {
            let (unit, epoch) = (u16::try_from(number(1)?).ok()?, number(2)?);
            Some(match name {
                b"WANT" => Step::Want { unit, epoch },
                b"WAIVE" => Step::Waive { unit, epoch },
                b"RELEASE" => Step::Release { unit, epoch, to: number(3)? },
                b"ACQUIRE" => Step::Acquire { unit, epoch, data: request.get(3)? },
                b"DONE" => Step::Done { unit, epoch },
                _ => return None,
            })
        };
        let unknown = || format!("a step of a move: {}", String::from_utf8_lossy(name));
        Some(step().ok_or_else(unknown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::records;

    #[test]
    fn steps_come_back_as_written_and_commands_are_none() {
        for step in [
            Step::Want { unit: 3, epoch: 4 },
            Step::Waive { unit: 3, epoch: 4 },
            Step::Release { unit: 63, epoch: u64::MAX, to: 2 },
            Step::Acquire { unit: 0, epoch: 7, data: b"\r\nREDIS" },
            Step::Done { unit: 5, epoch: 6 },
        ] {
            let bytes = step.encode();
            let read = records(&bytes).unwrap();
            assert_eq!(Step::of(&read[0]), Some(Ok(step)));
        }
        let record = |words: &[&[u8]]| {
            let mut out = Vec::new();
            let start = begin(1, &mut out);
            resp::encode_command(words.iter(), &mut out);
            end(start, &mut out);
            out
        };
        let (set, odd) = (record(&[b"SET", b"k", b"v"]), record(&[b"VARVE.WANT", b"k", b"1"]));
        assert_eq!(Step::of(&records(&set).unwrap()[0]), None);
        assert!(Step::of(&records(&odd).unwrap()[0]).unwrap().is_err());
    }
}
