//! The rows of sections as they are read: `INFO`'s text, and the figures of one section.

use super::figures::Sheet;
use super::row::{Reading, Row};
use super::rows::{SECTIONS, Section};
use crate::engine::Engine;
use runtime::Now;

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
