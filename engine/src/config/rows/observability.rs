//! Slow log and latency: what Varve remembers about its own speed.

use super::bounds::NATURAL_LONG;
use crate::config::directive::{grammar, integer, yes_no};
use crate::config::{Directive, Grammar, Id, Initial};

/// Directives about measurements, and how many of them are kept.
pub(super) static ROWS: &[Directive] = &[
    integer(
        Id::SlowlogLogSlowerThan,
        "slowlog-log-slower-than",
        (-1, i64::MAX),
        10000,
        "Microseconds from which a command is logged; -1: none",
    ),
    integer(Id::SlowlogMaxLen, "slowlog-max-len", NATURAL_LONG, 128, "Entries of the slow log"),
    integer(
        Id::LatencyMonitorThreshold,
        "latency-monitor-threshold",
        NATURAL_LONG,
        0,
        "Milliseconds from which LATENCY remembers an event; 0: none",
    ),
    yes_no(Id::LatencyTracking, "latency-tracking", true, "Keep latency histograms per command"),
    grammar(
        Id::LatencyTrackingInfoPercentiles,
        "latency-tracking-info-percentiles",
        Grammar::Percentiles,
        Initial::Text("50 99 99.9"),
        "Percentiles that INFO latencystats shows",
    ),
];
