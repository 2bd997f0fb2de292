//! [`History`]: the identity of a stream, and the replicas that may continue in it.

use std::fmt;

/// The identity of a history: forty hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Id([u8; 40]);

impl Id {
    /// The identity that Redis shows where there is no history: forty zeros.
    pub const NONE: Id = Id([b'0'; 40]);

    /// The identity that a text is; `None` unless it is forty letters or digits.
    pub fn parse(text: &[u8]) -> Option<Id> {
        let digits: [u8; 40] = text.try_into().ok()?;
        digits.iter().all(u8::is_ascii_alphanumeric).then_some(Id(digits))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The identity of the stream, and of the one it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Its identity now (`master_replid`).
    pub id: Id,
    /// The identity it had before (`master_replid2`), and the position up to which that one is the same
    /// (`second_repl_offset` is one more).
    pub before: Option<(Id, u64)>,
}

/// The answer to a replica that asks to continue from its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It goes on from this position.
    Continue(u64),
    /// It is sent everything.
    Full,
}

impl History {
    /// A history without a past.
    pub fn new(id: Id) -> Self {
        History { id, before: None }
    }

    /// Whether a replica that asks for `offset` of history `id` (both as in `PSYNC`) can go on, with the
    /// stream held from `first` to `end`.
    pub fn answer(&self, id: &[u8], offset: i64, first: u64, end: u64) -> Answer {
        let position = u64::try_from(offset).ok().and_then(|offset| offset.checked_sub(1));
        let (Some(id), Some(position)) = (Id::parse(id), position) else { return Answer::Full };
        let known = id == self.id
            || self.before.is_some_and(|(before, upto)| id == before && position <= upto);
        match known && (first..=end).contains(&position) {
            true => Answer::Continue(position),
            false => Answer::Full,
        }
    }

    /// From `position` on this is a history of its own, as when a replica becomes a master.
    pub fn branch(&mut self, id: Id, position: u64) {
        self.before = Some((self.id, position));
        self.id = id;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: u8) -> Id {
        Id([digit; 40])
    }

    #[test]
    fn a_history_continues_where_it_is_held() {
        let history = History::new(id(b'a'));
        let ask = |who: Id, offset| history.answer(who.as_str().as_bytes(), offset, 10, 20);
        assert_eq!(ask(id(b'a'), 11), Answer::Continue(10));
        assert_eq!(ask(id(b'a'), 21), Answer::Continue(20));
        for (who, offset) in [(b'a', 10), (b'a', 22), (b'b', 15), (b'a', 0), (b'a', -1)] {
            assert_eq!(ask(id(who), offset), Answer::Full, "{offset}");
        }
        assert_eq!(history.answer(b"?", -1, 0, 20), Answer::Full);
    }

    #[test]
    fn a_branch_continues_the_old_history_up_to_itself() {
        let mut history = History::new(id(b'a'));
        history.branch(id(b'b'), 15);
        let ask = |who: Id, offset| history.answer(who.as_str().as_bytes(), offset, 10, 20);
        assert_eq!(ask(id(b'a'), 16), Answer::Continue(15));
        assert_eq!(ask(id(b'a'), 17), Answer::Full, "the old master went another way there");
        assert_eq!(ask(id(b'b'), 17), Answer::Continue(16));
    }
}
