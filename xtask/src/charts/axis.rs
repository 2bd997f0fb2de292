//! An axis: logarithmic where the values lie far apart, otherwise from zero; with round ticks.

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use std::ops::Range;

/// From this ratio of the highest to the lowest value an axis is logarithmic.
const FAR_APART: f64 = 8.0;

/// Most ticks with a label.
const TICKS_MAX: usize = 6;

/// An axis of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    log: bool,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Axis {
    /// An axis that holds `values`; those a chart cannot show are passed over.
    pub fn of(values: impl Iterator<Item = f64>) -> Axis {
        let (low, high) = values
            .filter(|value| value.is_finite() && *value > 0.0)
            .fold((f64::MAX, 0f64), |(low, high), value| (low.min(value), high.max(value)));
        if high <= 0.0 {
            return Axis { log: false, low: 0.0, high: 1.0, ticks: vec![0.0, 1.0] };
        }
        if high / low < FAR_APART {
            let ticks = linear_ticks(high);
            return Axis { log: false, low: 0.0, high: high * 1.04, ticks };
        }
        let ticks = log_ticks(low, high);
        Axis { log: true, low: low / 1.15, high: high * 1.15, ticks }
    }

    /// An axis on which exactly `values` have ticks, each as far from the next as its ratio to it.
    pub fn at_values(mut values: Vec<f64>) -> Axis {
        values.retain(|value| value.is_finite() && *value > 0.0);
        values.sort_unstable_by(f64::total_cmp);
        values.dedup();
        let (low, high) = match (values.first(), values.last()) {
            (Some(low), Some(high)) if low < high => (*low, *high),
            (Some(only), _) => (only / 2.0, only * 2.0),
            _ => (1.0, 2.0),
        };
        let margin = (high / low).powf(0.05);
        let mut axis =
            Axis { log: true, low: low / margin, high: high * margin, ticks: Vec::new() };
        axis.ticks = axis.apart(values);
        axis
    }

    /// The ticks among `ticks` whose labels do not touch.
    fn apart(&self, ticks: Vec<f64>) -> Vec<f64> {
        let mut kept: Vec<f64> = Vec::new();
        for tick in ticks {
            let near = kept.last().is_some_and(|last| self.share(tick) - self.share(*last) < 0.09);
            if !near {
                kept.push(tick);
            }
        }
        kept
    }

    /// The position of `value` between the ends, from 0 to 1.
    pub fn share(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.log { value.log10() } else { value };
        let (low, high) = (scale(self.low), scale(self.high));
        let at = if value.is_nan() { low } else { scale(value.clamp(self.low, self.high)) };
        (at - low) / (high - low)
    }

    /// Values that have a label.
    pub fn ticks(&self) -> &[f64] {
        &self.ticks
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        start + (self.share(*value) * f64::from(end - start)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

fn linear_ticks(high: f64) -> Vec<f64> {
    let rough = high / (TICKS_MAX - 1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * power);
    let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
    (0..=TICKS_MAX).map(|n| n as f64 * step).take_while(|tick| *tick <= high * 1.04).collect()
}

/// 1, 2, 5 of every decade, or powers of ten, or fewer of those: as many as there is room for.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let ticks = |of_decade: &[f64], every: usize| -> Vec<f64> {
        let all = decades.clone().step_by(every);
        let all = all.flat_map(|decade| of_decade.iter().map(move |m| m * 10f64.powi(decade)));
        all.filter(|tick| (low / 1.15..=high * 1.15).contains(tick)).collect()
    };
    let choices = [ticks(&[1.0, 2.0, 5.0], 1), ticks(&[1.0, 3.0], 1), ticks(&[1.0], 1)];
    let fits = choices.into_iter().find(|ticks| ticks.len() <= TICKS_MAX);
    fits.unwrap_or_else(|| ticks(&[1.0], decades.clone().count().div_ceil(TICKS_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_values_start_at_zero_and_far_ones_are_logarithmic() {
        let near = Axis::of([3.0, 9.0].into_iter());
        assert_eq!(near.ticks(), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(near.share(0.0), 0.0);
        let far = Axis::of([2.0, 900.0].into_iter());
        assert_eq!(far.ticks(), [3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]);
        assert!((far.share(2.0 / 1.15)).abs() < 1e-9 && far.share(5000.0) == 1.0);
        assert_eq!(far.map(&5000.0, (300, 100)), 100);
    }

    #[test]
    fn every_axis_has_at_least_two_and_not_too_many_ticks() {
        for ratio in [1.0, 1.5, 7.9, 8.1, 20.0, 1e3, 1e6, 1e12, 1e20] {
            for low in [1e-9, 0.3, 1.0, 7.0, 9.99, 12345.0] {
                let axis = Axis::of([low, low * ratio].into_iter());
                let ticks = axis.ticks().len();
                assert!((2..=TICKS_MAX + 1).contains(&ticks), "{low} × {ratio}: {axis:?}");
                assert!(
                    axis.ticks().iter().all(|t| (-1e-9..=1.0 + 1e-9).contains(&axis.share(*t)))
                );
            }
        }
    }

    #[test]
    fn nothing_to_show_is_no_reason_to_fail() {
        assert_eq!(Axis::of([f64::NAN, -1.0, 0.0, f64::INFINITY].into_iter()).ticks().len(), 2);
        assert!(Axis::at_values(Vec::new()).ticks().is_empty());
        assert_eq!(Axis::at_values(vec![16.0]).ticks(), [16.0]);
    }

    #[test]
    fn labels_too_near_each_other_are_left_out() {
        let axis = Axis::at_values(vec![1.0, 16.0, 17.0, 256.0]);
        assert_eq!(axis.ticks(), [1.0, 16.0, 256.0]);
    }
}
