//! The server's metrics: every figure is a row, read when it is requested.
//!
//! `INFO` shows the rows of a section in their order; `/metrics` gives those that are numbers to
//! Prometheus. Figures that only the process knows come from
//! [`Host::figures`](crate::engine::Host::figures); they replace rows of the engine with the same
//! name.
//!
//! | module | what |
//! | --- | --- |
//! | [`figures`] | what a row of figures is, and how `INFO` writes it |
//! | `rows` | the rows |
//! | [`stats`], [`rates`] | what is counted, and how much of it happens per second |
//! | [`slowlog`], [`latency`] | commands and moments that took long |
//! | [`hot_keys`] | keys and shards on which most is spent |
//! | `stages` | where the time of a turn goes |

pub mod figures;
pub mod hot_keys;
pub mod latency;
pub mod rates;
mod rows;
pub mod slowlog;
pub(crate) mod stages;
pub mod stats;

pub use rows::{SECTIONS, Section, clients_memory};

use crate::engine::Engine;
use crate::observe::figures::{Family, Figure, Series, Sheet, Value};
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

/// The figures of one section, by its key (`memory`); empty if there is no such section.
pub fn section(engine: &Engine, key: &str, now: Now) -> Sheet {
    let mut sheet = Sheet::default();
    let reading = Reading { engine, now };
    for row in SECTIONS.iter().filter(|section| section.key == key).flat_map(|section| section.rows)
    {
        match row {
            Row::Host => engine.environment.host.figures(key, &mut sheet),
            Row::One(figure) => sheet.add(figure, || (figure.read)(&reading)),
            Row::Many(family, read) => sheet.add_family(family, read(&reading)),
            Row::Free(write) => write(&reading, &mut sheet),
        }
    }
    sheet
}

/// The text of the sections that `wanted` picks, as `INFO` gives it.
pub fn text(engine: &Engine, now: Now, wanted: impl Fn(&Section) -> bool) -> String {
    let mut text = String::new();
    for chosen in SECTIONS.iter().filter(|section| wanted(section)) {
        let gap = if text.is_empty() { "" } else { "\r\n" };
        text.push_str(&format!("{gap}# {}\r\n", chosen.title));
        section(engine, chosen.key, now).lines().for_each(|line| line.show(&mut text));
    }
    text
}
