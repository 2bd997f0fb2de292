//! Marks on an axis, one row each, joined from the first to the last: percentiles.

use super::axis::Axis;
use super::rows::{ROW, TRACK, row};
use super::{
    Area, Chart, Ink, Key, LINE, WIDTH, draw, legend, legend_height, mark, text, text_width,
};
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

/// One row.
#[derive(Debug, Clone)]
pub struct DotRow {
    /// Its name.
    pub name: String,
    /// Its numbers, as text.
    pub number: String,
    /// A value for each of [`Dots::marks`].
    pub values: Vec<f64>,
}

/// A chart of marks.
#[derive(Debug, Clone)]
pub struct Dots {
    /// The names of the marks in the legend.
    pub marks: Vec<String>,
    /// A value of the axis as text.
    pub number: fn(f64) -> String,
    /// The rows, first at the top.
    pub rows: Vec<DotRow>,
}

/// Marks stay so far from the edges, units.
const MARGIN: i32 = 14;

impl Dots {
    /// The chart.
    pub fn chart(&self) -> Result<Chart> {
        let keys: Vec<Key<'_>> = self.marks.iter().enumerate().map(key).collect();
        let axis = Axis::of(self.rows.iter().flat_map(|row| row.values.iter().copied()));
        let place =
            |value| MARGIN + (axis.share(value) * f64::from(WIDTH - 2 * MARGIN)).round() as i32;
        let bottom = self.rows.len() as i32 * ROW;
        draw(bottom + LINE + 8 + legend_height(&keys), |area| {
            for (index, dots) in self.rows.iter().enumerate() {
                let label = (dots.name.as_str(), dots.number.as_str());
                let y = row(area, index as i32 * ROW, label, Ink::Text)?;
                for tick in axis.ticks() {
                    let line = [(place(*tick), y - TRACK / 2), (place(*tick), y + TRACK / 2)];
                    area.draw(&PathElement::new(line, Ink::Rule.color().stroke_width(2)))?;
                }
                row_of_marks(area, y, dots, &place)?;
            }
            self.labels(area, bottom + LINE / 2, &axis, &place)?;
            legend(area, bottom + LINE + 8, &keys)
        })
    }

    /// The labels of ticks for which there is room.
    fn labels(
        &self,
        area: &Area<'_>,
        y: i32,
        axis: &Axis,
        place: &dyn Fn(f64) -> i32,
    ) -> Result<()> {
        let mut end = i32::MIN;
        for tick in axis.ticks() {
            let label = (self.number)(*tick);
            let half = (text_width(&label) / 2).min(WIDTH / 2);
            let middle = place(*tick).clamp(half, WIDTH - half);
            if middle - half > end {
                text(area, (middle, y), HPos::Center, Ink::Muted, &label)?;
                end = middle + half + 10;
            }
        }
        Ok(())
    }
}

fn key((index, name): (usize, &String)) -> Key<'_> {
    Key { name, ink: Ink::Series(index), shape: Some(index), line: false }
}

fn row_of_marks(area: &Area<'_>, y: i32, dots: &DotRow, place: &dyn Fn(f64) -> i32) -> Result<()> {
    let places: Vec<i32> = dots.values.iter().map(|value| place(*value)).collect();
    let (low, high) = (places.iter().min(), places.iter().max());
    if let (Some(&low), Some(&high)) = (low, high) {
        let ink = Ink::Muted.color().stroke_width(3);
        area.draw(&PathElement::new([(low, y), (high, y)], ink))?;
    }
    // The first on top: it is the one that is looked for.
    for (index, x) in places.into_iter().enumerate().rev() {
        mark(area, (x, y), index, Ink::Series(index))?;
    }
    Ok(())
}
