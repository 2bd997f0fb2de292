//! What charts of rows share: each row has a line of text, its name and its number, above what
//! is drawn; so that names may be long and screens narrow.

use super::{Area, Ink, LINE, WIDTH, fit, text, text_width};
use anyhow::Result;
use plotters::style::text_anchor::HPos;

/// Height of what is drawn, below the text.
pub const TRACK: i32 = 20;
/// Height of a row.
pub const ROW: i32 = LINE + TRACK + 14;

/// The row's text, with its top at `top`; returns the middle of its track.
pub fn row(area: &Area<'_>, top: i32, (name, number): (&str, &str), ink: Ink) -> Result<i32> {
    let number = fit(number, WIDTH);
    let name = fit(name, WIDTH - text_width(&number) - 16);
    text(area, (0, top + LINE / 2), HPos::Left, ink, &name)?;
    text(area, (WIDTH, top + LINE / 2), HPos::Right, ink, &number)?;
    Ok(top + LINE + TRACK / 2)
}
