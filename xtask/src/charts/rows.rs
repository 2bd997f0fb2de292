//! The common part of charts of rows. Above what is drawn in a row is a line of text with its name
//! and its number, so that names may be long and screens narrow.

use super::{Area, Ink, LINE, WIDTH, fit, text, text_width};
use anyhow::Result;
use plotters::style::text_anchor::HPos;

/// The height of what is drawn below the text.
pub const TRACK: i32 = 20;
/// The height of a row.
pub const ROW: i32 = LINE + TRACK + 14;

/// Draws the row's text, with its top at `top`. Returns the middle of what is drawn below.
pub fn row(area: &Area<'_>, top: i32, (name, number): (&str, &str), ink: Ink) -> Result<i32> {
    let number = fit(number, WIDTH);
    let name = fit(name, WIDTH - text_width(&number) - 16);
    text(area, (0, top + LINE / 2), HPos::Left, ink, &name)?;
    text(area, (WIDTH, top + LINE / 2), HPos::Right, ink, &number)?;
    Ok(top + LINE + TRACK / 2)
}
