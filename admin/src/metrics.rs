//! `/metrics`: every figure of [`engine::observe`] that is a number, in Prometheus's text format.
//!
//! A figure's name is `varve_` and `INFO`'s name for it; its unit is a suffix (`_bytes`, `_seconds`), and
//! counters end in `_total`. Families have a label: `varve_cmdstat_calls_total{command="get"}`.

use crate::Admin;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use engine::Engine;
use engine::observe::figures::{Family, Figure, Kind, Line, Unit, Value};
use engine::observe::{self, Row, SECTIONS, Section};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit as Suffix};
use runtime::Now;
use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

/// Upper bounds of the histograms' buckets: these powers of two of nanoseconds, 2 µs to 8.6 s.
const BOUNDS: std::ops::RangeInclusive<u32> = 11..=33;

/// `/metrics`.
pub async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, FORMAT)], text(&admin.engine, admin.clock.now()))
}

/// The text that `/metrics` gives.
pub fn text(engine: &Arc<Engine>, now: Now) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Figures { engine: engine.clone(), now }));
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

struct Figures {
    engine: Arc<Engine>,
    now: Now,
}

impl Debug for Figures {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

/// Members of a family: the name of each, and the values of its fields.
type Members<'a> = Vec<(&'a str, &'a [Value])>;

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Where no name is known before, there is nothing for a time series.
        let is_named =
            |section: &&Section| !section.rows.iter().all(|row| matches!(row, Row::Free(_)));
        let mut sections = SECTIONS.iter().filter(is_named);
        sections.try_for_each(|section| self.section(section.key, &mut encoder))?;
        self.durations(&mut encoder)
    }
}

impl Figures {
    /// The figures of one section; those of a family together, as the format demands.
    fn section(&self, key: &str, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let sheet = observe::section(&self.engine, key, self.now);
        let mut families: Vec<(&'static Family, Members<'_>)> = Vec::new();
        for line in sheet.lines() {
            match line {
                Line::One(figure) => single(encoder, figure)?,
                Line::Many(family, of, values) => {
                    match families.iter_mut().find(|(known, _)| known.name == family.name) {
                        Some((_, members)) => members.push((of, values)),
                        None => families.push((family, vec![(of, values)])),
                    }
                }
                Line::Free(..) => {}
            }
        }
        families.iter().try_for_each(|(family, members)| many(encoder, family, members))
    }

    /// The durations of calls, by command.
    fn durations(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "How long calls took";
        let mut metric = encoder.encode_descriptor(
            "varve_command_duration",
            help,
            Some(&Suffix::Seconds),
            MetricType::Histogram,
        )?;
        for entry in self.engine.commands.entries() {
            let histogram = self.engine.observe.stats.histogram(entry.id);
            if histogram.is_empty() {
                continue;
            }
            // Not the command's total: that goes on while latency-tracking is off.
            let (sum_s, buckets) = (histogram.sum_nanos() / 1e9, buckets(&histogram));
            let labels = [("command", entry.full_name.as_str())];
            let mut one = metric.encode_family(&labels)?;
            one.encode_histogram::<[(&str, &str); 0]>(sum_s, histogram.count(), &buckets, None)?;
        }
        Ok(())
    }
}

/// Upper bounds in seconds, each with how many values are below it and above the one before.
fn buckets(histogram: &engine::histogram::Histogram) -> Vec<(f64, u64)> {
    let mut before = 0;
    let upper = BOUNDS.map(|power| {
        let seen = histogram.below_power(power);
        let own = ((1_u64 << power) as f64 / 1e9, seen - before);
        before = seen;
        own
    });
    let mut all: Vec<_> = upper.collect();
    all.push((f64::INFINITY, histogram.count() - before));
    all
}

/// The name without a unit that the suffix repeats, the suffix, and the divisor of values.
fn name_and_unit<R>(figure: &Figure<R>) -> (String, Option<Suffix>, f64) {
    let (endings, suffix, divisor): (&[&str], _, _) = match figure.unit {
        Unit::One => (&[], None, 1.0),
        Unit::Bytes => (&["_bytes"], Some(Suffix::Bytes), 1.0),
        Unit::Seconds => (
            &["_in_seconds", "_seconds_ago", "_seconds", "_time_sec", "_sec"],
            Some(Suffix::Seconds),
            1.0,
        ),
        Unit::Micros => (&["_usec", "usec"], Some(Suffix::Seconds), 1e6),
    };
    let mut short = figure.name.strip_prefix("varve_").unwrap_or(figure.name);
    if figure.kind == Kind::Counter {
        short = short.strip_prefix("total_").unwrap_or(short);
    }
    let ending = endings.iter().find(|ending| short.ends_with(*ending));
    short = &short[..short.len() - ending.map_or(0, |ending| ending.len())];
    (format!("varve_{short}"), suffix, divisor)
}

fn single(encoder: &mut DescriptorEncoder<'_>, figure: &Figure<Value>) -> fmt::Result {
    let Some(value) = figure.read.number().filter(|_| figure.kind != Kind::Note) else {
        return Ok(());
    };
    let (name, suffix, divisor) = name_and_unit(figure);
    let kind = kind(figure.kind);
    let metric = encoder.encode_descriptor(&name, figure.help, suffix.as_ref(), kind)?;
    one(metric, figure.kind, value / divisor)
}

fn many(
    encoder: &mut DescriptorEncoder<'_>,
    family: &'static Family,
    members: &Members<'_>,
) -> fmt::Result {
    for (at, field) in
        family.fields.iter().enumerate().filter(|(_, field)| field.kind != Kind::Note)
    {
        let (own, suffix, divisor) = name_and_unit(field);
        let of = family.name.trim_end_matches('_');
        let name = format!("varve_{of}_{}", own.trim_start_matches("varve_"));
        let name = name.trim_end_matches('_');
        let mut metric =
            encoder.encode_descriptor(name, field.help, suffix.as_ref(), kind(field.kind))?;
        for (member, values) in members {
            let Some(value) = values.get(at).and_then(Value::number) else { continue };
            one(metric.encode_family(&[(family.label, *member)])?, field.kind, value / divisor)?;
        }
    }
    Ok(())
}

fn kind(kind: Kind) -> MetricType {
    match kind {
        Kind::Counter => MetricType::Counter,
        _ => MetricType::Gauge,
    }
}

fn one(metric: MetricEncoder<'_>, kind: Kind, value: f64) -> fmt::Result {
    match kind {
        Kind::Counter => ConstCounter::new(value).encode(metric),
        _ => ConstGauge::new(value).encode(metric),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::histogram::{Histogram, Recorder};

    #[test]
    fn a_value_is_in_the_bucket_around_it() {
        for power in 8..40 {
            let (recorder, mut histogram) = (Recorder::default(), Histogram::default());
            let nanos = (1_u64 << power) + (1 << power) / 3;
            recorder.record(nanos, 1);
            histogram.add(&recorder);
            let buckets = buckets(&histogram);
            let at = buckets.iter().position(|(_, count)| *count == 1).expect("it is counted");
            let value = nanos as f64 / 1e9;
            assert!(value < buckets[at].0, "{nanos} ns are not below {}", buckets[at].0);
            assert!(at == 0 || value >= buckets[at - 1].0, "{nanos} ns are not above");
            assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 1);
            // Beyond half a minute all values share a bucket.
            let sum = histogram.sum_nanos();
            assert!(power > 33 || (sum / nanos as f64 - 1.0).abs() < 0.07, "{nanos} became {sum}");
        }
    }
}
