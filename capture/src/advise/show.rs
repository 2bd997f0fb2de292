//! The advice as text, and the configuration file.

use super::args::Demands;
use super::setup::Setup;
use super::verdict::{Contender, Figures, Verdict};
use crate::plan::Plan;
use std::fmt::Write;
use std::path::Path;

/// Requests sent later than this are this machine's fault, and are mentioned.
const LATE_US: u64 = 1000;

/// The share of `--memory-limit` for `maxmemory`; the rest is for memory other than data.
const MAXMEMORY_SHARE: f64 = 0.85;

fn mb(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The measurements, the combinations that were ruled out, and the recommendation.
pub fn text(verdict: &Verdict, plan: &Plan, demands: &Demands) -> String {
    let mut out = table(verdict);
    for (index, reason) in &verdict.ruled_out {
        let _ = writeln!(out, "ruled out: {}: {reason}", verdict.contenders[*index].0.name);
    }
    let trials = || verdict.contenders.iter().flat_map(|(contender, _)| &contender.trials);
    let late = trials().map(|trial| trial.report.lateness.value_at_quantile(0.99)).max();
    if let Some(late) = late.filter(|late| *late > LATE_US) {
        let late = late as f64 / 1000.0;
        let _ = writeln!(
            out,
            "mind: this machine was too busy for exact latencies: 1 % of the requests left more \
             than {late:.1} ms late, which they include; nobody is ruled out for that much"
        );
    }
    if let Some(given_up) = trials().map(|trial| trial.report.abandoned).max().filter(|n| *n > 0) {
        let _ = writeln!(out, "mind: up to {given_up} blocking commands waited in vain");
    }
    out.push_str(&recommendation(verdict, plan, demands));
    out
}

fn table(verdict: &Verdict) -> String {
    let mut out = format!(
        "{:24} {:>9} {:>9} {:>9} {:>12} {:>9} {:>10}\n",
        "server", "p50 ms", "p99 ms", "p99.9 ms", "CPU µs/req", "peak MB", "est. MB"
    );
    for (contender, figures) in &verdict.contenders {
        let Some(figures) = figures else {
            let _ = writeln!(out, "{:24} –", contender.name);
            continue;
        };
        let ms = |us: f64| format!("{:.3}", us / 1000.0);
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".into());
        let _ = writeln!(
            out,
            "{:24} {:>9} {:>9} {:>9} {:>12} {:>9} {:>10}",
            contender.name,
            ms(figures.p50_us),
            ms(figures.p99_us),
            ms(figures.p999_us),
            or_dash(figures.cpu_us.map(|(_, cpu, _)| format!("{cpu:.2}"))),
            or_dash(figures.peak_bytes.map(|bytes| format!("{:.0}", mb(bytes)))),
            or_dash(figures.projected_bytes.map(|bytes| format!("{:.0}", mb(bytes)))),
        );
    }
    out
}

fn recommendation(verdict: &Verdict, plan: &Plan, demands: &Demands) -> String {
    let mut out = String::new();
    let Some((chosen, figures)) = verdict.chosen().zip(verdict.figures()) else {
        return nearest(verdict);
    };
    let _ = writeln!(out, "\ntake: {}", chosen.name);
    let _ = writeln!(out, "  {}", why(&figures, demands));
    let others = verdict.ranking.iter().skip(1).take(verdict.alike.saturating_sub(1));
    let others: Vec<&str> =
        others.map(|index| verdict.contenders[*index].0.name.as_str()).collect();
    if others.is_empty() {
        if let Some(next) = verdict.ranking.get(verdict.alike.max(1)) {
            let (next, theirs) = &verdict.contenders[*next];
            let both = figures.cpu_us.zip(theirs.and_then(|figures| figures.cpu_us));
            if let Some((ours, theirs)) = both.filter(|(ours, _)| ours.1 > 0.0) {
                let ratio = theirs.1 / ours.1;
                let _ = writeln!(out, "  the next, {}, takes {ratio:.2} times its CPU", next.name);
            }
        }
    } else {
        let _ = writeln!(
            out,
            "  no difference in CPU beyond noise: {}; it has the lowest p99 of these",
            others.join(", ")
        );
    }
    if plan.header.keys.is_some() && figures.projected_bytes.is_some() {
        let _ = writeln!(
            out,
            "  est. MB: with the {} keys of the captured server, of which {} were touched",
            plan.header.keys.unwrap_or(0),
            plan.keys
        );
    }
    out
}

fn why(figures: &Figures, demands: &Demands) -> String {
    let mut parts = vec![match demands.p99_budget {
        Some(budget) => {
            let (p99, budget) = (figures.p99_us / 1000.0, budget.as_secs_f64() * 1000.0);
            let word = if p99 <= budget { "within" } else { "(mostly this machine's) for" };
            format!("p99 {p99:.3} ms {word} {budget} ms")
        }
        None => format!("p99 {:.3} ms", figures.p99_us / 1000.0),
    }];
    if let Some((_, cpu, _)) = figures.cpu_us {
        parts.push(format!("{cpu:.2} µs of CPU per request"));
    }
    if let Some(bytes) = figures.projected_bytes.or(figures.peak_bytes) {
        parts.push(match demands.memory_limit {
            Some(limit) => format!("{:.0} MB within {:.0} MB", mb(bytes), mb(limit)),
            None => format!("{:.0} MB", mb(bytes)),
        });
    }
    parts.push(format!("durability {}", demands.durability.name()));
    parts.join(", ")
}

/// The combinations that came closest, if none satisfies the demands.
fn nearest(verdict: &Verdict) -> String {
    let measured = verdict.contenders.iter().filter(|(contender, _)| contender.setup.is_some());
    let best = measured
        .filter_map(|(contender, figures)| Some((contender, (*figures)?)))
        .filter(|(_, figures)| figures.unanswered == 0)
        .min_by(|a, b| a.1.p99_us.total_cmp(&b.1.p99_us));
    match best {
        Some((contender, figures)) => format!(
            "\nnothing satisfies what was asked for; the lowest p99 was that of {}: {:.3} ms\n",
            contender.name,
            figures.p99_us / 1000.0
        ),
        None => "\nno server kept up with this workload on this machine\n".into(),
    }
}

/// The configuration file, in the syntax of redis.conf.
pub fn config(
    chosen: &Contender,
    setup: &Setup,
    plan: &Plan,
    demands: &Demands,
    capture: &Path,
) -> String {
    let mut out = format!(
        "# {} for the workload in {}:\n# {} requests of {} connections in {:.1} s, captured from {} ({}).\n",
        chosen.name,
        capture.display().to_string().replace(['\n', '\r'], " "),
        plan.requests,
        plan.connections,
        plan.length_us as f64 / 1e6,
        plan.header.source,
        plan.header.server,
    );
    for (name, value) in setup.directives() {
        let value = if value.is_empty() { "\"\"".to_string() } else { value };
        let _ = writeln!(out, "{name} {value}");
    }
    if let Some(limit) = demands.memory_limit.filter(|_| !setup.is_on_disk()) {
        let share = (limit as f64 * MAXMEMORY_SHARE) as u64;
        let _ = writeln!(out, "# Refuses writes rather than exceed the limit of {limit} bytes.");
        let _ = writeln!(out, "maxmemory {share}");
    }
    out
}
