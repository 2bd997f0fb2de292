//! The verdict: which combinations satisfy the demands, which do not and why, and which of the rest
//! takes the least CPU.

use super::args::Demands;
use super::setup::Setup;
use crate::plan::Plan;
use crate::trial::Trial;

/// Servers whose CPU per request differs by less than this are alike, unless every round agrees.
const ALIKE: f64 = 1.05;

/// The number of errors, as a share of the requests and beyond those of the others, above which a
/// server fails.
const ERRORS_MAX: f64 = 0.01;

/// One server that was tried.
#[derive(Debug, Clone)]
pub struct Contender {
    /// Its name in tables.
    pub name: String,
    /// How to set it up; other programs have none, and cannot be advised.
    pub setup: Option<Setup>,
    /// The measurements, one per round.
    pub trials: Vec<Trial>,
    /// The reason why it could not be tried.
    pub failure: Option<String>,
}

impl Contender {
    /// A combination that is still to be tried.
    pub fn new(setup: Setup) -> Contender {
        Contender { name: setup.name(), setup: Some(setup), trials: Vec::new(), failure: None }
    }
}

/// The figures that the verdict rests on: medians over the rounds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// Latencies, µs.
    pub p50_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
    /// How late 1 % of the requests left at least, µs: latencies include it, and it is the fault of
    /// the machine that replays.
    pub late_us: f64,
    /// Server CPU per request, µs: lowest, median, highest round.
    pub cpu_us: Option<(f64, f64, f64)>,
    /// Resident memory at its peak, bytes.
    pub peak_bytes: Option<u64>,
    /// The same with all keys of the captured server, estimated.
    pub projected_bytes: Option<u64>,
    /// Share of answers that were errors.
    pub errors: f64,
    /// Requests never answered, over all rounds.
    pub unanswered: u64,
}

/// The result of comparing all combinations.
#[derive(Debug)]
pub struct Verdict {
    /// Everyone, with their figures where they were measured.
    pub contenders: Vec<(Contender, Option<Figures>)>,
    /// The combinations that are ruled out (by index), and why.
    pub ruled_out: Vec<(usize, String)>,
    /// The remaining combinations, best first.
    pub ranking: Vec<usize>,
    /// The number of entries at the front of the ranking whose CPU times differ by no more than
    /// noise.
    pub alike: usize,
}

impl Verdict {
    /// The recommended combination.
    pub fn chosen(&self) -> Option<&Contender> {
        Some(&self.contenders[*self.ranking.first()?].0)
    }

    /// The figures of whom to take.
    pub fn figures(&self) -> Option<Figures> {
        self.contenders[*self.ranking.first()?].1
    }
}

/// Judges the measurements.
pub fn judge(contenders: Vec<Contender>, plan: &Plan, demands: &Demands) -> Verdict {
    let contenders: Vec<_> = contenders
        .into_iter()
        .map(|contender| {
            let figures = figures(&contender, plan);
            (contender, figures)
        })
        .collect();
    let fewest = contenders.iter().filter_map(|(_, figures)| Some(figures.as_ref()?.errors));
    let fewest = fewest.fold(1.0, f64::min);
    let mut ruled_out = Vec::new();
    let mut left = Vec::new();
    for (index, (contender, figures)) in contenders.iter().enumerate() {
        match objection(contender, figures.as_ref(), fewest, demands) {
            Some(reason) => ruled_out.push((index, reason)),
            None if contender.setup.is_some() => left.push(index),
            None => {}
        }
    }
    let (ranking, alike) = rank(&contenders, left);
    Verdict { contenders, ruled_out, ranking, alike }
}

/// By CPU; among those alike in it, by latency.
fn rank(contenders: &[(Contender, Option<Figures>)], mut left: Vec<usize>) -> (Vec<usize>, usize) {
    let figures = |index: &usize| contenders[*index].1.unwrap_or_default();
    let cpu = |index: &usize| figures(index).cpu_us.unwrap_or_default();
    left.sort_by(|a, b| cpu(a).1.total_cmp(&cpu(b).1));
    let Some(best) = left.first().map(cpu) else { return (left, 0) };
    // Alike: the medians are close, or some round of one was not above some round of the other.
    let is_alike = |index: &usize| {
        let (low, middle, _) = cpu(index);
        middle <= best.1 * ALIKE || (low <= best.2 && low < middle)
    };
    let alike = left.iter().take_while(|index| is_alike(index)).count();
    left[..alike].sort_by(|a, b| figures(a).p99_us.total_cmp(&figures(b).p99_us));
    (left, alike)
}

fn objection(
    contender: &Contender,
    figures: Option<&Figures>,
    fewest_errors: f64,
    demands: &Demands,
) -> Option<String> {
    if let Some(failure) = &contender.failure {
        return Some(failure.clone());
    }
    let Some(figures) = figures else { return Some("it was not measured".into()) };
    if figures.unanswered > 0 {
        return Some(format!("it did not keep up: {} requests unanswered", figures.unanswered));
    }
    if figures.errors > fewest_errors + ERRORS_MAX {
        let first = contender.trials.iter().find_map(|trial| trial.report.first_error.clone());
        let share = figures.errors * 100.0;
        return Some(format!("{share:.0} % errors: {}", first.unwrap_or_default()));
    }
    // A combination is not ruled out for latency that this machine may have caused.
    if let Some(budget) = demands.p99_budget
        && figures.p99_us - figures.late_us > budget.as_secs_f64() * 1e6
    {
        let (p99, budget) = (figures.p99_us / 1000.0, budget.as_secs_f64() * 1000.0);
        return Some(format!("p99 {p99:.2} ms, over the budget of {budget} ms"));
    }
    let bytes = figures.projected_bytes.or(figures.peak_bytes);
    match (demands.memory_limit, bytes) {
        (Some(limit), Some(bytes)) if bytes > limit => {
            let estimated = if figures.projected_bytes.is_some() { " (estimated)" } else { "" };
            let mb = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            Some(format!(
                "{:.0} MB of memory{estimated}, over the limit of {:.0} MB",
                mb(bytes),
                mb(limit)
            ))
        }
        _ => None,
    }
}

fn median(mut values: Vec<f64>) -> Option<(f64, f64, f64)> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = match values.len() % 2 {
        1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    };
    Some((low, median, high))
}

fn figures(contender: &Contender, plan: &Plan) -> Option<Figures> {
    let trials = &contender.trials;
    let middle = |what: &dyn Fn(&Trial) -> f64| {
        median(trials.iter().map(what).collect()).map(|(_, median, _)| median)
    };
    let latency = |percent: f64| middle(&|trial: &Trial| trial.report.latency_us(percent));
    let replies: u64 = trials.iter().map(|trial| trial.report.replies).sum();
    let errors: u64 = trials.iter().map(|trial| trial.report.errors).sum();
    let on_disk = contender.setup.as_ref().is_some_and(Setup::is_on_disk);
    let projected = trials.iter().filter_map(|trial| projected(trial, plan)).max();
    Some(Figures {
        p50_us: latency(50.0)?,
        p99_us: latency(99.0)?,
        p999_us: latency(99.9)?,
        late_us: middle(&|trial| trial.report.lateness.value_at_quantile(0.99) as f64)?,
        cpu_us: median(trials.iter().filter_map(Trial::cpu_us).collect()),
        peak_bytes: trials.iter().filter_map(|trial| trial.peak_bytes).max(),
        projected_bytes: projected.filter(|_| !on_disk),
        errors: errors as f64 / replies.max(1) as f64,
        unanswered: trials.iter().map(|trial| trial.report.unanswered).sum(),
    })
}

/// The memory with all keys of the captured server, of which a capture uses only some. The memory
/// per key is measured if there are enough keys; otherwise it is that of the captured server.
fn projected(trial: &Trial, plan: &Plan) -> Option<u64> {
    let all = plan.header.keys?;
    let missing = all.checked_sub(trial.keys).filter(|missing| *missing > 0)?;
    let theirs = || Some(plan.header.used_memory? as f64 / all as f64);
    let each = trial.bytes_per_key().or_else(theirs)?;
    Some(trial.peak_bytes? + (missing as f64 * each) as u64)
}
