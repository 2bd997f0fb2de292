//! Horizontal bars, one row each, of one or several parts: cost, memory, times.

use super::rows::{ROW, TRACK, row};
use super::{Area, Chart, Ink, Key, WIDTH, draw, legend, legend_height};
use anyhow::Result;
use plotters::prelude::*;

/// Ranges are shown up to this multiple of the longest bar.
const RANGE_MAX: f64 = 1.2;

/// One row.
#[derive(Debug, Clone)]
pub struct Bar {
    /// Its name.
    pub name: String,
    /// Its number, as text.
    pub number: String,
    /// Its parts, in the order of [`Bars::parts`]; one more than those is drawn as a reference.
    pub values: Vec<f64>,
    /// The lowest and the highest that was measured.
    pub range: Option<(f64, f64)>,
}

/// A chart of bars.
#[derive(Debug, Clone)]
pub struct Bars {
    /// The names of the parts, for the legend; a single part has no legend.
    pub parts: Vec<String>,
    /// The name of a part that none of the names fits.
    pub rest: String,
    /// The rows, first at the top.
    pub bars: Vec<Bar>,
}

impl Bars {
    /// The chart.
    pub fn chart(&self) -> Result<Chart> {
        let keys = self.keys();
        let legend_top = self.bars.len() as i32 * ROW + 4;
        draw(legend_top + legend_height(&keys), |area| {
            let longest = self.longest();
            for (index, bar) in self.bars.iter().enumerate() {
                let text = (bar.name.as_str(), bar.number.as_str());
                let y = row(area, index as i32 * ROW, text, Ink::Text)?;
                self.bar(area, y, bar, longest)?;
            }
            legend(area, legend_top, &keys)
        })
    }

    /// The value at the right edge of the chart: the longest bar, or a longer range as far as the
    /// bars stay readable.
    fn longest(&self) -> f64 {
        let most = |ends: &mut dyn Iterator<Item = f64>| {
            ends.filter(|end| end.is_finite()).fold(f64::MIN_POSITIVE, f64::max)
        };
        let bars = most(&mut self.bars.iter().map(Bar::total));
        let ranges = most(&mut self.bars.iter().filter_map(|bar| Some(bar.range?.1)));
        ranges.clamp(bars, bars * RANGE_MAX)
    }

    fn keys(&self) -> Vec<Key<'_>> {
        if self.parts.len() < 2 {
            return Vec::new();
        }
        let shown = |n: usize| {
            let value = |bar: &Bar| bar.values.get(n).copied().unwrap_or(0.0);
            self.bars.iter().any(|bar| value(bar) > 0.0)
        };
        let key = |(name, ink)| Key { name, ink, shape: None, line: false };
        let parts = self.parts.iter().enumerate().map(|(n, name)| (name.as_str(), Ink::Series(n)));
        let all = parts.chain([(self.rest.as_str(), Ink::Reference)]).map(key);
        all.enumerate().filter(|(n, _)| shown(*n)).map(|(_, key)| key).collect()
    }

    fn bar(&self, area: &Area<'_>, y: i32, bar: &Bar, longest: f64) -> Result<()> {
        let place = |value: f64| (value / longest * f64::from(WIDTH)).round() as i32;
        let (top, bottom) = (y - TRACK / 2, y + TRACK / 2);
        area.draw(&Rectangle::new([(0, y - 1), (WIDTH, y + 1)], Ink::Rule.color().filled()))?;
        let mut sum = 0.0;
        for (index, value) in bar.values.iter().enumerate() {
            let ink = if index < self.parts.len() { Ink::Series(index) } else { Ink::Reference };
            let ends = [(place(sum), top), (place(sum + value), bottom)];
            sum += value;
            if ends[0].0 < ends[1].0 {
                area.draw(&Rectangle::new(ends, ink.color().filled()))?;
            }
        }
        if let Some((low, high)) = bar.range {
            let ink = Ink::Text.color().stroke_width(3);
            let ends = [low, high].map(|end| place(end).clamp(0, WIDTH));
            area.draw(&PathElement::new(ends.map(|x| (x, y)), ink))?;
            // An end that lies outside has no cap.
            for x in [low, high].map(place).into_iter().filter(|x| (0..=WIDTH).contains(x)) {
                let x = x.clamp(2, WIDTH - 2);
                area.draw(&PathElement::new([(x, y - 6), (x, y + 6)], ink))?;
            }
        }
        Ok(())
    }
}

impl Bar {
    /// All parts together.
    pub fn total(&self) -> f64 {
        self.values.iter().sum()
    }
}
