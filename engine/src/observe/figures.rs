//! Tables of figures: their rows, the values that are read, and how `INFO` writes them.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};

/// A figure's value at one moment.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A count, or a size.
    Whole(u64),
    /// A number that may be negative; -1 usually means "never".
    Signed(i64),
    /// A number with this many decimals.
    Real(f64, usize),
    /// Text: a choice, a name, a number for people.
    Text(Cow<'static, str>),
}

impl Value {
    /// The value as a number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Whole(value) => Some(*value as f64),
            Value::Signed(value) => Some(*value as f64),
            Value::Real(value, _) => Some(*value),
            Value::Text(_) => None,
        }
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Whole(value) => value.fmt(f),
            Value::Signed(value) => value.fmt(f),
            Value::Real(value, decimals) => write!(f, "{value:.decimals$}"),
            Value::Text(text) => f.write_str(text),
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Value::Whole(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Value::Whole(value.into())
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Value::Whole(value as u64)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Signed(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Whole(value.into())
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Value::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text.into())
    }
}

/// The kind of a figure: how its value changes, or that it is text for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only increases, until `CONFIG RESETSTAT` or a restart.
    Counter,
    /// Increases and decreases.
    Gauge,
    /// For people: a text, a repeated figure, or one of Redis's that has no meaning here.
    Note,
}

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    One,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// Millionths of a second.
    Micros,
}

/// One figure: its name and meaning, and how it is read.
#[derive(Clone, Copy, Debug)]
pub struct Figure<R> {
    /// `INFO`'s name for it.
    pub name: &'static str,
    /// Its kind: a counter, a gauge, or text for people.
    pub kind: Kind,
    /// The unit of its value.
    pub unit: Unit,
    /// Its meaning in one sentence without a full stop; empty for notes.
    pub help: &'static str,
    /// The function that reads it.
    pub read: R,
}

/// Figures of the same kind of several things: of each command, each database, each replica.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The prefix of the names in `INFO`; the member's own name follows.
    pub name: &'static str,
    /// The name of the label that distinguishes the members.
    pub label: &'static str,
    /// The values that each has; they are read together.
    pub fields: &'static [Figure<()>],
}

/// One of a family: its name, and the values of the family's fields.
pub type Series = (String, Vec<Value>);

/// A row that only grows.
pub const fn counter<R>(name: &'static str, unit: Unit, help: &'static str, read: R) -> Figure<R> {
    Figure { name, kind: Kind::Counter, unit, help, read }
}

/// A row that goes up and down.
pub const fn gauge<R>(name: &'static str, unit: Unit, help: &'static str, read: R) -> Figure<R> {
    Figure { name, kind: Kind::Gauge, unit, help, read }
}

/// A row for people.
pub const fn note<R>(name: &'static str, read: R) -> Figure<R> {
    Figure { name, kind: Kind::Note, unit: Unit::One, help: "", read }
}

/// One line of a [`Sheet`].
#[derive(Clone, Debug)]
pub enum Line {
    /// A figure and its value.
    One(Figure<Value>),
    /// A figure whose name only the moment knows: for people.
    Free(String, Value),
    /// A member of a family: its name, and the values of the family's fields.
    Many(&'static Family, String, Vec<Value>),
}

impl Line {
    fn is(&self, name: &str) -> bool {
        match self {
            Line::One(figure) => figure.name == name,
            Line::Free(own, _) => own == name,
            Line::Many(family, of, _) => name.strip_prefix(family.name) == Some(of),
        }
    }

    /// Appends the line as `INFO` shows it.
    pub fn show(&self, text: &mut String) {
        // Writing to a string cannot fail.
        let _ = match self {
            Line::One(figure) => write!(text, "{}:{}", figure.name, figure.read),
            Line::Free(name, value) => write!(text, "{name}:{value}"),
            Line::Many(family, of, values) => {
                let fields = family.fields.iter().zip(values);
                let shown: Vec<_> =
                    fields.map(|(field, value)| format!("{}={value}", field.name)).collect();
                // As in Redis: nothing in a name may look like the end of it.
                let of = of.replace(['#', ':', '\n', '\r'], "_");
                write!(text, "{}{of}:{}", family.name, shown.join(","))
            }
        };
        text.push_str("\r\n");
    }
}

/// The values of a section's rows at one moment; each name appears once.
#[derive(Default)]
pub struct Sheet(Vec<Line>);

impl Sheet {
    fn knows(&self, name: &str) -> bool {
        self.0.iter().any(|line| line.is(name))
    }

    /// Adds a figure, unless its name is there already.
    pub fn add<R>(&mut self, figure: &Figure<R>, read: impl FnOnce() -> Value) {
        if !self.knows(figure.name) {
            let Figure { name, kind, unit, help, .. } = *figure;
            self.0.push(Line::One(Figure { name, kind, unit, help, read: read() }));
        }
    }

    /// Adds a figure that has been read.
    pub fn put(&mut self, figure: Figure<Value>) {
        if !self.knows(figure.name) {
            self.0.push(Line::One(figure));
        }
    }

    /// Adds a line whose name only the moment knows.
    pub fn add_free(&mut self, name: String, value: impl Into<Value>) {
        self.0.push(Line::Free(name, value.into()));
    }

    /// Adds the members of a family.
    pub fn add_family(&mut self, family: &'static Family, members: Vec<Series>) {
        self.0.extend(members.into_iter().map(|(of, values)| Line::Many(family, of, values)));
    }

    /// All lines, in order.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.0.iter()
    }

    /// A figure's value.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find_map(|line| match line {
            Line::One(figure) if figure.name == name => Some(&figure.read),
            Line::Free(own, value) if own == name => Some(value),
            _ => None,
        })
    }

    /// A figure's value as a number, 0 when it is not there or is none.
    pub fn number(&self, name: &str) -> f64 {
        self.get(name).and_then(Value::number).unwrap_or(0.0)
    }
}

/// A size for people, as Redis's `bytesToHuman`.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

/// The ratio of `a` to `b`, with two decimals.
pub fn ratio(a: u64, b: u64) -> Value {
    Value::Real(a as f64 / b.max(1) as f64, 2)
}

/// A share for people.
pub fn percent(part: u64, whole: u64) -> Value {
    format!("{:.2}%", part as f64 * 100.0 / whole.max(1) as f64).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_in_redis() {
        let shown = [0, 1023, 1024, 1536, 10 << 20, 3 << 30].map(human);
        assert_eq!(shown, ["0B", "1023B", "1.00K", "1.50K", "10.00M", "3.00G"]);
    }
}
