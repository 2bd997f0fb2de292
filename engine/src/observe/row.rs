//! [`Row`]: one row of a section, and how rows are made.

use crate::engine::Engine;
use crate::observe::figures::{Family, Figure, Series, Sheet, Unit, Value, counter, gauge, note};
use runtime::Now;

/// The source from which the engine's rows are read.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// The engine whose figures are read.
    pub engine: &'a Engine,
    /// The time of the question.
    pub now: Now,
}

/// One row of a section.
pub enum Row {
    /// A figure, and how it is read.
    One(Figure<for<'a, 'b> fn(&'b Reading<'a>) -> Value>),
    /// A family of figures, and how it is read: the name of each member with the values of its fields.
    Many(&'static Family, for<'a, 'b> fn(&'b Reading<'a>) -> Vec<Series>),
    /// Lines whose names only the moment knows.
    Free(for<'a, 'b, 'c> fn(&'b Reading<'a>, &'c mut Sheet)),
    /// Here come those that only the process knows.
    Host,
}

/// Reads a figure.
pub(super) type Read = for<'a, 'b> fn(&'b Reading<'a>) -> Value;

/// A row that only grows.
pub(super) const fn count(name: &'static str, help: &'static str, read: Read) -> Row {
    Row::One(counter(name, Unit::One, help, read))
}

/// A row that goes up and down.
pub(super) const fn level(name: &'static str, help: &'static str, read: Read) -> Row {
    Row::One(gauge(name, Unit::One, help, read))
}

/// A size that goes up and down, bytes.
pub(super) const fn bytes(name: &'static str, help: &'static str, read: Read) -> Row {
    Row::One(gauge(name, Unit::Bytes, help, read))
}

/// A row for people.
pub(super) const fn shown(name: &'static str, read: Read) -> Row {
    Row::One(note(name, read))
}

/// A row that Redis shows and that has no meaning here; its value is always zero.
pub(super) const fn zero(name: &'static str) -> Row {
    shown(name, |_| Value::Whole(0))
}

/// A row of another unit.
pub(super) const fn figure(figure: Figure<Read>) -> Row {
    Row::One(figure)
}
