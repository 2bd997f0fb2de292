//! Charts as SVG, of plain numbers: lines over an axis, bars in rows, marks in rows, strips of maxima.
//!
//! `plotters` draws them with colours that are names (see [`Ink`]); [`svg`] turns the names into
//! CSS variables, so that one chart is legible on light and on dark paper, in a page or as a file.
//! All lengths are in units of a chart [`WIDTH`] units wide. On a phone that is two to a pixel, so
//! text of [`SMALL`] units is as large as the text around it.

mod axis;
mod bars;
mod dots;
mod lines;
pub mod numbers;
mod rows;
mod strips;
pub mod svg;

pub use bars::{Bar, Bars};
pub use dots::{DotRow, Dots};
pub use lines::{Line, Lines};
pub use strips::{Strip, Strips};
pub use svg::Chart;

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// The width of every chart, in units.
pub const WIDTH: i32 = 720;
/// The size of text, in units.
const SMALL: i32 = 26;
/// The height of a line of text, in units.
const LINE: i32 = 37;
/// The assumed width of a character, as a part of the text's size. The reader's browser chooses the
/// font; this is the width of a wide one.
const EM: f64 = 0.62;
/// `plotters` divides the size of a text by this before it writes it.
const PLOTTERS_FONT: f64 = 1.24;
/// The number of different colours. After that they are used again with dashed lines.
pub const HUES: usize = 8;

/// An ink: a name that the style sheet gives a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Text to be read.
    Text,
    /// Text and lines beside it.
    Muted,
    /// Lines of the grid.
    Rule,
    /// The ink of the reference.
    Reference,
    /// The n-th of several.
    Series(usize),
}

impl Ink {
    /// The colour that represents it until [`svg`] has written its class.
    fn color(self) -> RGBColor {
        match self {
            Ink::Text => RGBColor(1, 0, 0),
            Ink::Muted => RGBColor(1, 0, 1),
            Ink::Rule => RGBColor(1, 0, 2),
            Ink::Reference => RGBColor(1, 0, 3),
            Ink::Series(n) => RGBColor(1, 1 + (n / HUES % 3) as u8, (n % HUES) as u8),
        }
    }

    /// Which of the marks goes with it, for those who do not see colours.
    fn shape(self) -> usize {
        match self {
            Ink::Series(n) => n % HUES,
            _ => 0,
        }
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws a chart `height` units high.
fn draw(height: i32, paint: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<Chart> {
    let mut text = String::new();
    let size = (WIDTH as u32, height.max(1) as u32);
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        paint(&area)?;
        area.present()?;
    }
    Ok(Chart::new(&text, height))
}

fn style(ink: Ink, horizontal: HPos) -> TextStyle<'static> {
    let font = ("sans-serif", f64::from(SMALL) * PLOTTERS_FONT).into_font();
    let mut style = TextStyle::from(font);
    (style.color, style.pos) = (ink.color().to_backend_color(), Pos::new(horizontal, VPos::Center));
    style
}

/// Text whose middle is at height `y`.
fn text(area: &Area<'_>, (x, y): (i32, i32), side: HPos, ink: Ink, what: &str) -> Result<()> {
    Ok(area.draw_text(&clean(what), &style(ink, side), (x, y))?)
}

/// Without what XML has no way to write.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Units that `text` takes.
fn text_width(text: &str) -> i32 {
    (text.chars().count() as f64 * f64::from(SMALL) * EM).ceil() as i32
}

/// As much of `text` as `width` units hold.
fn fit(text: &str, width: i32) -> String {
    if text_width(text) <= width {
        return text.into();
    }
    let most = (f64::from(width.max(0)) / (f64::from(SMALL) * EM)) as usize;
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// The mark of `shape` around a place: circle, square, triangle, diamond, …
fn mark(area: &Area<'_>, (x, y): (i32, i32), shape: usize, ink: Ink) -> Result<()> {
    let full = ink.color().filled();
    let r = 8;
    let polygon = |points: &[(i32, i32)]| {
        Polygon::new(points.iter().map(|(dx, dy)| (x + dx, y + dy)).collect::<Vec<_>>(), full)
    };
    match shape {
        1 => area.draw(&Rectangle::new([(x - 7, y - 7), (x + 7, y + 7)], full))?,
        2 => area.draw(&polygon(&[(0, -10), (9, 7), (-9, 7)]))?,
        3 => area.draw(&polygon(&[(0, -11), (11, 0), (0, 11), (-11, 0)]))?,
        4 => area.draw(&polygon(&[(0, 10), (9, -7), (-9, -7)]))?,
        5 => area.draw(&polygon(&[(-10, -4), (10, -4), (10, 4), (-10, 4)]))?,
        6 => area.draw(&polygon(&[(-4, -10), (4, -10), (4, 10), (-4, 10)]))?,
        7 => area.draw(&Circle::new((x, y), r - 1, ink.color().stroke_width(4)))?,
        _ => area.draw(&Circle::new((x, y), r, full))?,
    }
    Ok(())
}

/// An entry of the legend: a mark or a colour, and its meaning.
struct Key<'a> {
    name: &'a str,
    ink: Ink,
    shape: Option<usize>,
    /// Whether a line goes through the mark.
    line: bool,
}

impl Key<'_> {
    /// Width of what stands before its name, units.
    fn sample(&self) -> i32 {
        if self.line { 46 } else { 22 }
    }
}

/// Where each key stands, from the top left corner of the legend; and the legend's height.
fn places(keys: &[Key<'_>]) -> (Vec<(i32, i32)>, i32) {
    let (mut x, mut y, mut places) = (0, LINE / 2, Vec::new());
    for key in keys {
        let width = key.sample() + 10 + text_width(key.name) + 24;
        if x > 0 && x + width > WIDTH {
            (x, y) = (0, y + LINE);
        }
        places.push((x, y));
        x += width;
    }
    (places, if keys.is_empty() { 0 } else { y + LINE / 2 + 8 })
}

fn legend_height(keys: &[Key<'_>]) -> i32 {
    places(keys).1
}

/// Draws the legend with its top at `top`.
fn legend(area: &Area<'_>, top: i32, keys: &[Key<'_>]) -> Result<()> {
    for (key, (x, y)) in keys.iter().zip(places(keys).0) {
        let (y, middle, end) = (top + y, x + key.sample() / 2, x + key.sample());
        if key.line {
            let stroke = key.ink.color().stroke_width(4);
            area.draw(&PathElement::new([(x, y), (end, y)], stroke))?;
        }
        match key.shape {
            Some(shape) => mark(area, (middle, y), shape, key.ink)?,
            None => {
                let square = [(middle - 10, y - 10), (middle + 10, y + 10)];
                area.draw(&Rectangle::new(square, key.ink.color().filled()))?;
            }
        }
        let name = fit(key.name, WIDTH - key.sample() - 10);
        text(area, (end + 10, y), HPos::Left, Ink::Text, &name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
