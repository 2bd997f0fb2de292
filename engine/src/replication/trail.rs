//! The position of the log in the stream: annotations that a master and a replica write into the
//! log ([`PositionMarks`]), and how they are read at start ([`Trail`]).
//!
//! After reading the log up to some record, the server must know which position of the stream its
//! data correspond to. A record usually takes as many bytes in the log as in the stream, so few
//! annotations are needed:
//!
//! | annotation | meaning |
//! | --- | --- |
//! | `<id> <position> <db>` | the data before it are at that position of that history, whose stream is in that database |
//! | `><bytes> <db>` | with the next record the stream continues by this many bytes, instead of the record's length, and is in that database |
//! | `-` | from here on the position is unknown |
//!
//! An annotation precedes its record, so a log that ends between the two is right as well.

use super::feed::Cut;
use replication::Id;
use std::fmt::Write;
use storage::{Db, Journal};

/// Which annotations about the position in the stream the log contains so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PositionMarks {
    /// Nothing, and nothing is to be recorded.
    #[default]
    Off,
    /// Everything must be recorded before the next record.
    Due,
    /// The data are at this position.
    At(u64),
}

impl PositionMarks {
    /// Writes the annotations that are necessary before a record which takes the stream from `cut`
    /// to `after`. `len` is the record's length if it is a single command, in whose database the
    /// stream is then.
    pub fn before(
        &mut self,
        journal: &dyn Journal,
        cut: Cut,
        after: u64,
        len: Option<u64>,
        db: Db,
    ) {
        let at = match *self {
            PositionMarks::Off => return,
            PositionMarks::At(at) if at <= after => at,
            PositionMarks::Due | PositionMarks::At(_) => {
                self.place(journal, cut);
                cut.position
            }
        };
        if Some(after - at) != len {
            journal.note(&format!(">{} {db}", after - at));
        }
        *self = PositionMarks::At(after);
    }

    /// Records the position of the data.
    pub fn place(&mut self, journal: &dyn Journal, cut: Cut) {
        let mut text = String::with_capacity(64);
        let _ = write!(text, "{} {} {}", cut.id, cut.position, cut.db); // into memory
        journal.note(&text);
        *self = PositionMarks::At(cut.position);
    }

    /// Records that the position is unknown from here on.
    pub fn end(&mut self, journal: &dyn Journal) {
        if *self != PositionMarks::Off {
            journal.note("-");
            *self = PositionMarks::Off;
        }
    }

    /// Marks written before no longer hold: all of them are to be written again.
    pub fn renew(&mut self) {
        if *self != PositionMarks::Off {
            *self = PositionMarks::Due;
        }
    }
}

/// Reads the annotations of a log while it is loaded, and computes the position from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    cut: Option<Cut>,
    /// The bytes that the next record adds, and the database it ends in.
    next: Option<(u64, Db)>,
}

impl Trail {
    /// Reads the text of an annotation.
    pub fn note(&mut self, text: &str) {
        let mut words = text.trim_start_matches('>').split(' ');
        let mut word = || words.next().unwrap_or_default();
        if text.starts_with('>') {
            self.next = word().parse().ok().zip(word().parse().ok());
            // An annotation that cannot be read must not be ignored.
            if self.next.is_none() {
                self.cut = None;
            }
            return;
        }
        let id = Id::parse(word().as_bytes());
        let numbers = word().parse().ok().zip(word().parse().ok());
        let cut = |(id, (position, db))| Cut { id, position, db };
        *self = Trail { cut: id.zip(numbers).map(cut), next: None };
    }

    /// Handles a record of this many bytes, after which the log is in database `db`.
    pub fn record(&mut self, bytes: u64, db: Db) {
        let (bytes, db) = self.next.take().unwrap_or((bytes, db));
        self.cut = self.cut.and_then(|cut| {
            let position = cut.position.checked_add(bytes)?;
            Some(Cut { position, db, ..cut })
        });
    }

    /// The moment that the data are of, as far as was read.
    pub fn cut(&self) -> Option<Cut> {
        self.cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::task::Waker;
    use storage::{Appended, Fate, Position};

    /// A log of remarks and records, in one list.
    #[derive(Default)]
    struct Written(Mutex<Vec<Result<(u64, Db), String>>>);

    impl Journal for Written {
        fn append(&self, _: u16, _: Db, _: &[&[u8]]) -> Appended {
            Ok(Position::default())
        }
        fn append_encoded(&self, _: u16, db: Db, resp: &[u8]) -> Appended {
            self.0.lock().push(Ok((resp.len() as u64, db)));
            Ok(Position::default())
        }
        fn append_atomic(&self, _: u16, _: &[(Db, Vec<Vec<u8>>)]) -> Appended {
            self.0.lock().push(Ok((1, 0)));
            Ok(Position::default())
        }
        fn note(&self, text: &str) {
            self.0.lock().push(Err(text.to_owned()));
        }
        fn write_up_to(&self, _: Position) {}
        fn poll(&self, _: Position, _: &Waker) -> Fate {
            Fate::Kept
        }
    }

    /// The position that a reader of the log knows after each record and remark.
    fn read(written: &Written) -> Vec<Option<Cut>> {
        let (mut trail, mut known) = (Trail::default(), Vec::new());
        for entry in written.0.lock().iter() {
            match entry {
                Ok((bytes, db)) => trail.record(*bytes, *db),
                Err(text) => trail.note(text),
            }
            known.push(trail.cut());
        }
        known
    }

    #[test]
    fn a_reader_knows_at_every_record_where_it_is() {
        let (log, mut marks) = (Written::default(), PositionMarks::Due);
        let id = Id::parse("a".repeat(40).as_bytes()).unwrap();
        let mut cut = Cut { id, position: 100, db: 0 };
        // Bytes of the stream that are no effect, those of the effect, the record's, and its database.
        let steps =
            [(0, 30, 30, 0), (0, 30, 30, 0), (37, 30, 30, 0), (0, 50, 40, 2), (23, 9, 9, 3)];
        let mut expected = Vec::new();
        for (gap, stream, record, db) in steps {
            cut.position += gap;
            let after = cut.position + stream;
            marks.before(&log, cut, after, Some(record).filter(|_| db < 2), db);
            log.append_encoded(0, if db == 2 { 1 } else { db }, &vec![0; record as usize]).unwrap();
            cut = Cut { position: after, db, ..cut };
            expected.push(Some(cut));
        }
        let records: Vec<bool> = log.0.lock().iter().map(Result::is_ok).collect();
        let known = read(&log);
        let at = |n: &usize| records[*n];
        let known_at: Vec<_> = (0..known.len()).filter(at).map(|n| known[n]).collect();
        assert_eq!(known_at, expected);
        assert_eq!(records.iter().filter(|is_record| !**is_record).count(), 4, "little is said");
        for (n, is_record) in records.iter().enumerate().skip(1) {
            assert!(*is_record || known[n] == known[n - 1], "a remark alone changes nothing");
        }
        marks.end(&log);
        assert_eq!(read(&log).last(), Some(&None));
        marks.before(&log, cut, 1000, None, 0);
        assert_eq!(read(&log).last(), Some(&None), "it stays so");
    }

    #[test]
    fn what_cannot_be_read_is_nothing() {
        let place = format!("{} 7 1", "b".repeat(40));
        for text in ["x", "", "> ", ">-1 0", ">1", "b 1 1", &format!("{place}x")] {
            let mut trail = Trail::default();
            trail.note(&place);
            assert_eq!(trail.cut().map(|cut| (cut.position, cut.db)), Some((7, 1)));
            trail.note(text);
            trail.record(1, 0);
            assert_eq!(trail.cut(), None, "{text:?}");
        }
    }
}
