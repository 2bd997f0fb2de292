//! `INFO commandstats`, `errorstats`, `latencystats` and `trace`: what calls did, and how long they took.

use crate::command::CommandId;
use crate::observe::figures::{Family, Sheet, Unit, Value, counter, note};
use crate::observe::row::{Reading, Row, count, shown};
use crate::observe::stats::CommandTotals;
use runtime::{spans, trace};

const CALLS: Family = Family {
    name: "cmdstat_",
    label: "command",
    fields: &[
        counter("calls", Unit::One, "Calls that ran", ()),
        counter("usec", Unit::Micros, "Time spent running", ()),
        note("usec_per_call", ()),
        counter("rejected_calls", Unit::One, "Calls refused before they ran", ()),
        counter("failed_calls", Unit::One, "Calls that ran and answered with an error", ()),
    ],
};

/// Every command that was called at least once, or refused.
fn used<'r>(r: &'r Reading<'_>) -> impl Iterator<Item = (CommandId, &'r str, CommandTotals)> {
    let all = r.engine.commands.entries().iter();
    all.map(|entry| (entry.id, entry.full_name.as_str(), r.engine.observe.stats.command(entry.id)))
        .filter(|(.., t)| t.calls + t.rejected + t.failed > 0)
}

pub(super) const COMMANDS: &[Row] = &[Row::Many(&CALLS, |r| {
    let fields = |t: CommandTotals| {
        let each = t.nanos as f64 / 1000.0 / t.calls.max(1) as f64;
        let [calls, usec, rejected, failed] =
            [t.calls, t.nanos / 1000, t.rejected, t.failed].map(Value::Whole);
        vec![calls, usec, Value::Real(each, 2), rejected, failed]
    };
    used(r).map(|(_, name, totals)| (name.to_owned(), fields(totals))).collect()
})];

const CODES: Family = Family {
    name: "errorstat_",
    label: "code",
    fields: &[counter("count", Unit::One, "Error replies by their code", ())],
};

pub(super) const ERRORS: &[Row] = &[Row::Many(&CODES, |r| {
    let mut errors: Vec<_> = r.engine.observe.stats.errors.lock().clone().into_iter().collect();
    errors.sort_unstable();
    errors.into_iter().map(|(code, count)| (code, vec![Value::Whole(count)])).collect()
})];

/// Percentiles by command: which, the configuration says.
fn percentiles(r: &Reading<'_>, sheet: &mut Sheet) {
    let percentiles = r.engine.config.latency_percentiles();
    for (id, name, _) in used(r) {
        let histogram = r.engine.observe.stats.histogram(id);
        let micros = |p: &f64| histogram.percentile(*p) as f64 / 1000.0;
        let fields = percentiles.iter().map(|p| format!("p{p}={:.3}", micros(p)));
        if !histogram.is_empty() {
            let fields = fields.collect::<Vec<_>>().join(",");
            sheet.add_free(format!("latency_percentiles_usec_{name}"), fields);
        }
    }
}

pub(super) const TIMES: &[Row] = &[Row::Free(percentiles)];

const STAGE: Family = Family {
    name: "trace_",
    label: "stage",
    fields: &[
        counter("turns", Unit::One, "Turns that went through the stage, while trace is on", ()),
        counter("usec", Unit::Micros, "Time spent in the stage, while trace is on", ()),
        note("p50", ()),
        note("p99", ()),
    ],
};

/// Ours: where turns spend their time, while `trace` is on.
pub(super) const STAGES: &[Row] = &[
    shown("trace_enabled", |r| r.engine.is_traced().into()),
    shown("trace_commands", |_| trace::report().commands.into()),
    count("total_trace_samples", "Sampled requests that were exported", |_| {
        spans::counts().0.into()
    }),
    count("total_trace_samples_dropped", "Sampled requests that could not be exported", |_| {
        spans::counts().1.into()
    }),
    Row::Many(&STAGE, |_| {
        let report = trace::report();
        let fields = |stage| {
            let trace::StageTimes { times, nanos } = report.stage(stage);
            let micros = |percent| Value::Real(times.percentile(percent) as f64 / 1000.0, 3);
            let spent = Value::Real(*nanos as f64 / 1000.0, 3);
            vec![Value::Whole(times.count()), spent, micros(50.0), micros(99.0)]
        };
        trace::Stage::ALL
            .into_iter()
            .map(|stage| (stage.name().to_owned(), fields(stage)))
            .collect()
    }),
];
