//! `bench engine --instructions`: counts instructions per request under callgrind, and compares
//! them with a baseline in the repository. Unlike times, they do not depend on the machine's load,
//! so that even a small regression shows.
//!
//! Two runs agree to the last instruction for several reasons. See `count` for the first. jemalloc
//! is told to do no work that depends on the clock. The environment is otherwise empty. valgrind
//! gives every run the same addresses and the same simulated processor (AVX2 where the real one has
//! it, never more), so that even memcpy is the same.

use super::baseline::{Baseline, Machine, Verdict};
use super::cases::{ALL, Case};
use super::count::REQUESTS;
use crate::bench::report::Grid;
use crate::places::project_root;
use anyhow::{Context, Result, anyhow, bail, ensure};
use capture::lab::cpu;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The pipeline depths that are counted.
pub const PIPELINES: [usize; 2] = [1, 64];

/// The baseline, relative to the project's folder.
const BASELINE: &str = "ci/instructions.toml";

/// The same number of arenas on every machine, and no work that depends on the passing of time.
const JEMALLOC: &str = "narenas:1,dirty_decay_ms:-1,muzzy_decay_ms:-1,experimental_tcache_gc:false";

/// One case at one pipeline depth, with its instructions per request.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    /// The case.
    pub case: &'static Case,
    /// Requests per batch.
    pub pipeline: usize,
    /// Instructions per request.
    pub instructions: f64,
}

/// Counts what `names` name (nothing: everything), and compares with the baseline or, with
/// `accept`, writes it.
pub fn run(names: &[String], accept: bool) -> Result<()> {
    let root = project_root()?;
    let machine = Machine::this()?;
    let wanted = wanted(names)?;
    let folder = root.join("target/xtask-bench/callgrind");
    std::fs::create_dir_all(&folder)?;
    let counted = count(&wanted, &folder)?;
    let path = root.join(BASELINE);
    let before = Baseline::load(&path)?;
    println!("{}", table(&counted, before.as_ref()).terminal());
    println!("profiles: callgrind_annotate {}/NAME-pN.out", folder.display());
    if accept {
        let baseline = before.unwrap_or_default().renewed(machine, &counted);
        baseline.save(&path)?;
        println!("the baseline is now {}", path.display());
        return Ok(());
    }
    let Some(before) = before else { bail!("no baseline in {BASELINE}; --accept writes it") };
    judge(&counted, &before, &machine)
}

/// Prints what exceeds the limits. Fails if a case has become slower.
fn judge(counted: &[Counted], before: &Baseline, machine: &Machine) -> Result<()> {
    let differs = before.machine.differences(machine);
    if !differs.is_empty() {
        println!("the baseline was counted elsewhere: {}", differs.join("; "));
    }
    let named = |verdict| {
        let those = counted.iter().filter(move |one| before.verdict(one) == verdict);
        those.map(|one| format!("{} p{}", one.case.name, one.pipeline)).collect::<Vec<_>>()
    };
    let (better, new) = (named(Verdict::Better), named(Verdict::New));
    if !better.is_empty() {
        println!("renew the baseline with --accept, so that it holds: {}", better.join(", "));
    }
    ensure!(new.is_empty(), "not in the baseline (--accept adds it): {}", new.join(", "));
    let worse = named(Verdict::Worse);
    if worse.is_empty() {
        return Ok(());
    }
    let elsewhere = match differs.is_empty() {
        true => "",
        false => "; should the toolchain alone be the reason, --accept renews the baseline",
    };
    bail!("more than 3 % above the baseline: {}{elsewhere}", worse.join(", "))
}

fn wanted(names: &[String]) -> Result<Vec<(&'static Case, usize)>> {
    let cases: Vec<&'static Case> = match names {
        [] => ALL.iter().collect(),
        names => names.iter().map(|name| Case::find(name)).collect::<Result<_>>()?,
    };
    Ok(PIPELINES.iter().flat_map(|&depth| cases.iter().map(move |&case| (case, depth))).collect())
}

/// Counts all of `wanted`, as many at a time as there are cores.
fn count(wanted: &[(&'static Case, usize)], folder: &Path) -> Result<Vec<Counted>> {
    let program = std::env::current_exe()?;
    let next = Mutex::new(wanted.iter().enumerate());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..cpu::allowed().len().max(1) {
            scope.spawn(|| {
                while let Some((at, &(case, pipeline))) = taken(&next) {
                    let counted = one(&program, case, pipeline, folder);
                    done.lock().unwrap_or_else(|e| e.into_inner()).push((at, counted));
                }
            });
        }
    });
    let mut done = done.into_inner().map_err(|_| anyhow!("a counting thread panicked"))?;
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, counted)| counted).collect()
}

fn taken<T>(next: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    next.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next()
}

/// Runs one case under callgrind.
fn one(program: &Path, case: &'static Case, pipeline: usize, folder: &Path) -> Result<Counted> {
    let out: PathBuf = folder.join(format!("{}-p{pipeline}.out", case.name));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*::count_callgrind"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(["bench", "engine", "--count", case.name, "--pipeline", &pipeline.to_string()])
        .env_clear()
        .env("_RJEM_MALLOC_CONF", JEMALLOC)
        .output()
        .context("running valgrind, which this needs (Debian: apt-get install valgrind)")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} p{pipeline}: {said}", case.name);
    let total = collected(&said).with_context(|| format!("valgrind counted nothing:\n{said}"))?;
    ensure!(total > 0, "the counted function was not found by its name");
    Ok(Counted { case, pipeline, instructions: total as f64 / REQUESTS as f64 })
}

/// The number in `==123== Collected : 456`.
fn collected(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.split_once("Collected :"))?;
    line.1.trim().parse().ok()
}

fn table(counted: &[Counted], before: Option<&Baseline>) -> Grid {
    let title = "instructions per request".to_owned();
    let mut grid = Grid::new(title, &["command", "pipeline", "now", "baseline", "change"]);
    for one in counted {
        let was = before.and_then(|before| before.of(one));
        let known = |text: Option<String>| text.unwrap_or_else(|| "–".into());
        grid.rows.push(vec![
            one.case.name.to_owned(),
            one.pipeline.to_string(),
            format!("{:.1}", one.instructions),
            known(was.map(|was| format!("{was:.1}"))),
            known(was.map(|was| format!("{:+.1} %", (one.instructions / was - 1.0) * 100.0))),
        ]);
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valgrind_s_figure_is_found() {
        let said = "==7== Events    : Ir\n==7== Collected : 123456\n==7== \n";
        assert_eq!(collected(said), Some(123_456));
        assert_eq!(collected("==7== nothing\n"), None);
    }

    #[test]
    fn names_choose_cases_at_every_depth() {
        assert_eq!(wanted(&[]).unwrap().len(), ALL.len() * PIPELINES.len());
        assert_eq!(wanted(&["get".into()]).unwrap().len(), PIPELINES.len());
        assert!(wanted(&["gte".into()]).is_err());
    }
}
