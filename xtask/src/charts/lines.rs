//! Lines over an axis of a few values: throughput against pipeline, speed against threads.

use super::axis::Axis;
use super::{Area, Chart, Ink, Key, LINE, WIDTH, draw, legend, legend_height, mark, style, text};
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

/// Height of the plot itself, units.
const PLOT: i32 = 400;
/// Room for the labels of the vertical axis, units.
const LEFT: u32 = 92;

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// The ink that it is drawn with.
    pub ink: Ink,
    /// Its points; both numbers positive.
    pub points: Vec<(f64, f64)>,
}

/// A chart of lines.
#[derive(Debug, Clone)]
pub struct Lines {
    /// The title of the horizontal axis.
    pub x: String,
    /// The title of the vertical axis, with its unit.
    pub y: String,
    /// A vertical value as text.
    pub number: fn(f64) -> String,
    /// Values the vertical axis holds besides the lines' own: those of charts beside this one.
    pub also: Vec<f64>,
    /// The lines.
    pub lines: Vec<Line>,
}

impl Lines {
    /// The chart.
    pub fn chart(&self) -> Result<Chart> {
        let keys: Vec<Key<'_>> = self.lines.iter().map(Line::key).collect();
        let height = LINE + PLOT + 2 * LINE + legend_height(&keys) + 8;
        draw(height, |area| {
            text(area, (0, LINE / 2), HPos::Left, Ink::Muted, &self.y)?;
            let (_, rest) = area.split_vertically(LINE);
            let (plot, _) = rest.split_vertically(PLOT + LINE);
            self.plot(&plot)?;
            let below = LINE + PLOT + LINE;
            text(area, (WIDTH, below + LINE / 2), HPos::Right, Ink::Muted, &self.x)?;
            legend(area, below + LINE + 8, &keys)
        })
    }

    fn plot(&self, area: &Area<'_>) -> Result<()> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = Axis::at_values(points().map(|point| point.0).collect());
        let y = Axis::of(points().map(|point| point.1).chain(self.also.iter().copied()));
        let mut builder = ChartBuilder::on(area);
        builder.margin_right(14).margin_top(8);
        builder.set_label_area_size(LabelAreaPosition::Left, LEFT);
        builder.set_label_area_size(LabelAreaPosition::Bottom, LINE as u32);
        let mut chart = builder.build_cartesian_2d(x, y)?;
        let label = style(Ink::Muted, HPos::Center);
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(Ink::Rule.color().stroke_width(2))
            .axis_style(Ink::Muted.color().stroke_width(2))
            .x_label_style(label.clone())
            .y_label_style(label)
            .set_all_tick_mark_size(8)
            .x_label_formatter(&|value| super::numbers::short(*value))
            .y_label_formatter(&|value| (self.number)(*value))
            .draw()?;
        for line in &self.lines {
            let mut points = line.points.clone();
            points.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
            let stroke = line.ink.color().stroke_width(4);
            chart.draw_series(LineSeries::new(points.iter().copied(), stroke))?;
            for point in &points {
                let (x, y) = chart.backend_coord(point);
                let (left, top) = area.get_base_pixel();
                mark(area, (x - left, y - top), line.ink.shape(), line.ink)?;
            }
        }
        Ok(())
    }
}

impl Line {
    fn key(&self) -> Key<'_> {
        Key { name: &self.name, ink: self.ink, shape: Some(self.ink.shape()), line: true }
    }
}
