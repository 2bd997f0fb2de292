//! Computes how many keys a run has time for: a slow machine must not spend its budget on loading.

use super::job::Sizes;
use super::matrix::{LeftOut, Row, Target};
use super::running_row::{RunningRow, Window};
use super::server::Setting;
use crate::load::keys::{Distribution, Keys};
use crate::load::request::Generator;
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// Keys that are loaded to see how fast that goes.
const SAMPLE: u64 = 50_000;

/// Share of the budget that loading and restarting may take.
const SHARE: f64 = 0.4;

/// The factors by which loading a key takes longer on disk than in memory, and with a log.
const DISK: f64 = 5.0;
const LOGGED: f64 = 2.0;

/// A run with fewer keys than this says little.
const FEWEST: u64 = 50_000;

/// Halves the number of keys in `sizes` until all `rows` can be loaded within a share of `budget`,
/// according to the first server that keeps its data in memory. Reports it if there are fewer.
pub fn fit(
    sizes: &mut Sizes,
    rows: &[Row],
    setting: &Setting,
    load_cores: &[usize],
    budget: Duration,
    left_out: &mut Vec<LeftOut>,
) -> Result<()> {
    let timed =
        |row: &&Row| !row.is_on_disk() && !matches!(row.target, Target::Echo | Target::Running(_));
    let Some(row) = rows.iter().find(timed) else { return Ok(()) };
    // A server that does not start is the campaign's to report.
    let Ok(each) = seconds_per_key(row, sizes, setting, load_cores) else { return Ok(()) };
    let wanted = sizes.memory.keys;
    let most = budget.as_secs_f64() * SHARE;
    while sizes.memory.keys > FEWEST && seconds(sizes, rows, each) > most {
        sizes.memory.keys /= 2;
        sizes.disk.keys = (sizes.disk.keys / 2).max(1);
    }
    if sizes.memory.keys < wanted {
        let reason = format!(
            "loading more than {} in all rows takes too much of {} s: see --budget, --keys",
            sizes.memory.keys,
            budget.as_secs()
        );
        left_out.push((format!("{wanted} keys"), reason));
    }
    Ok(())
}

fn seconds_per_key(
    row: &Row,
    sizes: &Sizes,
    setting: &Setting,
    load_cores: &[usize],
) -> Result<f64> {
    let mut entry = RunningRow::new(row.clone());
    entry.start(setting)?;
    let keys = Keys::new(Distribution::Sequential, SAMPLE, 42);
    let set = [("SET {key} {value}".to_string(), 1.0)];
    let pass = Generator::weighted(&set, &[sizes.memory.value_size], 1, keys)?;
    let window =
        Window { length: Duration::ZERO, requests: u64::MAX, cores: load_cores.to_vec(), run: 0 };
    entry.server.as_ref().context("not running")?.thaw();
    let started = Instant::now();
    entry.send_all(&[pass], SAMPLE, &window)?;
    Ok(started.elapsed().as_secs_f64() / SAMPLE as f64)
}

/// The time that loading all `rows` takes if a key takes `each` seconds in memory.
fn seconds(sizes: &Sizes, rows: &[Row], each: f64) -> f64 {
    let of = |row: &Row| {
        let (keys, disk) =
            if row.is_on_disk() { (sizes.disk.keys, DISK) } else { (sizes.memory.keys, 1.0) };
        let logged = if row.aof == super::args::Aof::Off { 1.0 } else { LOGGED };
        keys as f64 * each * disk * logged
    };
    rows.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::super::args::Aof;
    use super::*;
    use crate::load::workload::Defaults;

    #[test]
    fn disk_and_log_take_longer() {
        let row = |storage: &str, aof| {
            let target = Target::Varve { runtime: "tokio".into(), storage: storage.into() };
            Row { name: storage.into(), target, aof, tls: false }
        };
        let defaults = |keys| Defaults { keys, value_size: 64 };
        let sizes = Sizes { memory: defaults(1000), disk: defaults(100), memory_limit: 1 };
        assert_eq!(seconds(&sizes, &[row("memory", Aof::Off)], 0.01), 10.0);
        assert_eq!(seconds(&sizes, &[row("sled", Aof::Always)], 0.01), 10.0);
    }
}
