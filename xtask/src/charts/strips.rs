//! Strips of maxima over time, one row each: a column per piece of time, as high as the longest that
//! fell into it, logarithmic.

use super::axis::Axis;
use super::{Area, Chart, Ink, LINE, WIDTH, draw, fit, numbers, text, text_width};
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

/// Height of the columns, units.
const TRACK: i32 = 110;
/// Height of a row: its text and its columns.
const ROW: i32 = LINE + TRACK + 18;
/// Width of a column, units.
const COLUMN: i32 = 3;

/// One row.
#[derive(Debug, Clone)]
pub struct Strip {
    /// Its name.
    pub name: String,
    /// Its number, as text.
    pub number: String,
    /// The longest of each step, µs; those not positive are not drawn.
    pub values: Vec<f64>,
}

/// A chart of strips, with one axis of time.
#[derive(Debug, Clone)]
pub struct Strips {
    /// The length of a step, seconds.
    pub step_seconds: f64,
    /// A value that each row has a line at, µs.
    pub limit: Option<f64>,
    /// The rows, first at the top.
    pub strips: Vec<Strip>,
}

impl Strips {
    /// The chart.
    pub fn chart(&self) -> Result<Chart> {
        let bottom = self.strips.len() as i32 * ROW;
        let steps = self.strips.iter().map(|strip| strip.values.len()).max().unwrap_or(0);
        let values = self.strips.iter().flat_map(|strip| strip.values.iter().copied());
        let axis = Axis::of(values.chain(self.limit).chain([10.0, 1000.0]));
        draw(bottom + LINE, |area| {
            for (index, strip) in self.strips.iter().enumerate() {
                self.row(area, index as i32 * ROW, (strip, index), (&axis, steps))?;
            }
            let middle = bottom + LINE / 2;
            text(area, (0, middle), HPos::Left, Ink::Muted, "0 s")?;
            let end = numbers::millis(steps as f64 * self.step_seconds * 1000.0);
            text(area, (WIDTH, middle), HPos::Right, Ink::Muted, &end)
        })
    }

    fn row(
        &self,
        area: &Area<'_>,
        top: i32,
        (strip, index): (&Strip, usize),
        (axis, steps): (&Axis, usize),
    ) -> Result<()> {
        let number = fit(&strip.number, WIDTH);
        let name = fit(&strip.name, WIDTH - text_width(&number) - 16);
        text(area, (0, top + LINE / 2), HPos::Left, Ink::Text, &name)?;
        text(area, (WIDTH, top + LINE / 2), HPos::Right, Ink::Text, &number)?;
        let bottom = top + LINE + TRACK;
        let height = |value: f64| (axis.share(value) * f64::from(TRACK)).round() as i32;
        for (column, value) in columns(&strip.values, steps).into_iter().enumerate() {
            let x = column as i32 * COLUMN;
            if value > 0.0 {
                let ends = [(x, bottom - height(value).max(1)), (x + COLUMN, bottom)];
                area.draw(&Rectangle::new(ends, Ink::Series(index).color().filled()))?;
            }
        }
        for (value, ink) in [(self.limit, Ink::Text), (Some(0.0), Ink::Rule)] {
            let Some(y) = value.map(|value| bottom - height(value)) else { continue };
            area.draw(&PathElement::new([(0, y), (WIDTH, y)], ink.color().stroke_width(2)))?;
        }
        Ok(())
    }
}

/// The longest value of each column, when as many `steps` fill the width.
fn columns(values: &[f64], steps: usize) -> Vec<f64> {
    let count = (WIDTH / COLUMN) as usize;
    let mut longest = vec![0.0; count];
    for (step, value) in values.iter().enumerate() {
        let at = |step: usize| (step * count).div_ceil(steps.max(1)).min(count);
        // With fewer steps than columns, a step fills several.
        let (first, end) = (step * count / steps.max(1), at(step + 1));
        for slot in &mut longest[first.min(count)..end] {
            *slot = f64::max(*slot, *value);
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_shows_the_longest_of_its_steps() {
        let count = (WIDTH / COLUMN) as usize;
        let mut values = vec![1.0; count * 10];
        values[count * 5] = 700.0;
        let longest = columns(&values, values.len());
        assert_eq!(longest.iter().filter(|value| **value == 700.0).count(), 1);
        assert_eq!(longest[count / 2], 700.0);
        assert_eq!(columns(&[5.0], 1), vec![5.0; count]);
        assert_eq!(columns(&[5.0], 2).iter().filter(|value| **value > 0.0).count(), count / 2);
        assert_eq!(columns(&[], 0), vec![0.0; count]);
    }
}
