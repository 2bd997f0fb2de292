//! Medians with their spread, and ratios that know when they mean nothing.

use super::results::{Cell, Sample};
use std::fmt;

/// A median, and the lowest and highest value it is the median of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle value (mean of the two middle ones).
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

impl Spread {
    /// The spread of `values`; `None` of none.
    pub fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_unstable_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            (values[middle - 1] + values[middle]) / 2.0
        };
        Some(Spread { median, low, high })
    }
}

/// A ratio of two servers: its spread over the rounds, each round's pair divided by itself, so
/// that what disturbed both cancels out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio(pub Spread);

impl Ratio {
    /// `what` of `cell` divided by `what` of `base`, round by round.
    pub fn paired(
        cell: &Cell,
        base: &Cell,
        what: impl Fn(&Sample) -> Option<f64>,
    ) -> Option<Ratio> {
        let pair = |sample: &Sample| {
            let other = base.samples.iter().find(|other| other.round == sample.round)?;
            let (value, base) = (what(sample)?, what(other)?);
            (base > 0.0).then_some(value / base)
        };
        Spread::of(cell.samples.iter().filter_map(pair).collect()).map(Ratio)
    }

    /// The ratio of two runs at different times, whose rounds are not pairs: the extremes are those
    /// of any pair.
    pub fn unpaired(new: Spread, old: Spread) -> Option<Ratio> {
        let positive = old.low > 0.0 && old.median > 0.0;
        positive.then(|| {
            Ratio(Spread {
                median: new.median / old.median,
                low: new.low / old.high,
                high: new.high / old.low,
            })
        })
    }

    /// Whether the rounds disagree about which of the two is the greater.
    pub fn is_noise(&self) -> bool {
        self.0.low <= 1.0 && self.0.high >= 1.0
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { median, low, high } = self.0;
        if self.is_noise() {
            write!(f, "no difference beyond noise ({low:.2}–{high:.2})")
        } else {
            write!(f, "{median:.2} ({low:.2}–{high:.2})")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::example;
    use super::*;

    #[test]
    fn medians_of_odd_even_and_none() {
        let of = |values: &[f64]| Spread::of(values.to_vec());
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(of(&[1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn pairs_cancel_what_disturbed_both() {
        let results = example();
        let (base, fast) = (&results.rows[0].cells[0], &results.rows[1].cells[0]);
        let ratio = Ratio::paired(fast, base, Sample::cpu_us).unwrap();
        assert!((ratio.0.low - 0.5).abs() < 1e-9 && (ratio.0.high - 0.5).abs() < 1e-9);
        assert!(!ratio.is_noise());
        assert_eq!(ratio.to_string(), "0.50 (0.50–0.50)");
    }

    #[test]
    fn a_spread_that_includes_one_is_noise() {
        let noise = Ratio(Spread { median: 1.02, low: 0.97, high: 1.1 });
        assert_eq!(noise.to_string(), "no difference beyond noise (0.97–1.10)");
        let old = Spread { median: 1.0, low: 0.9, high: 1.1 };
        let new = Spread { median: 0.5, low: 0.45, high: 0.55 };
        assert!(!Ratio::unpaired(new, old).unwrap().is_noise());
        assert!(Ratio::unpaired(old, old).unwrap().is_noise());
    }
}
