//! `--trace`: the server's times in each stage, from the server itself (`INFO trace`). This needs a
//! pass of its own, because recording times costs time.

use super::report::Grid;
use super::results::{Cell, Results, RowResult, StageTimes, Trace};
use anyhow::{Context, Result, bail};
use capture::lab::Client;
use std::net::SocketAddr;

/// Stages in which a turn waits rather than works. They take no CPU time.
const WAITS: [&str; 3] = ["queue", "lock_wait", "fsync_wait"];

/// Lets a server trace while `work` runs. Returns the trace and the result of `work`.
///
/// The server is controlled on connections that end before `work` begins, and on others afterwards,
/// because a runtime with a thread per client has none to spare meanwhile.
pub fn trace<T>(addr: SocketAddr, work: impl FnOnce() -> Result<T>) -> Result<(Trace, T)> {
    let mut client = Client::connect(addr)?;
    ok(&mut client, &["CONFIG", "SET", "trace", "yes"])?;
    ok(&mut client, &["CONFIG", "RESETSTAT"])?;
    drop(client);
    let done = work();
    let mut client = Client::connect(addr)?;
    let reply = client.call(&["INFO", "trace"])?;
    ok(&mut client, &["CONFIG", "SET", "trace", "no"])?;
    Ok((parse(&String::from_utf8_lossy(&reply))?, done?))
}

fn ok(client: &mut Client, words: &[&str]) -> Result<()> {
    let reply = client.call(words)?;
    if reply != b"+OK\r\n" {
        bail!("{} is answered {}", words.join(" "), String::from_utf8_lossy(&reply).trim_end());
    }
    Ok(())
}

fn parse(text: &str) -> Result<Trace> {
    let lines: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("trace_")?.trim_end().split_once(':'))
        .collect();
    let commands = lines.iter().find(|(name, _)| *name == "commands");
    let (_, commands) = commands.context("no trace_commands in INFO trace")?;
    let stages = lines.iter().filter(|(_, fields)| fields.starts_with("turns="));
    Ok(Trace {
        commands: commands.parse()?,
        cpu_ns: None,
        stages: stages.map(|(name, fields)| stage(name, fields)).collect::<Result<_>>()?,
    })
}

fn stage(name: &str, fields: &str) -> Result<StageTimes> {
    let field = |name: &str| -> Result<f64> {
        let mut pairs = fields.split(',').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(key, _)| *key == name).with_context(|| fields.to_string())?;
        Ok(value.parse()?)
    };
    Ok(StageTimes {
        name: name.to_string(),
        turns: field("turns")? as u64,
        total_us: field("usec")?,
        p50_us: field("p50")?,
        p99_us: field("p99")?,
    })
}

/// The time of a command in each stage that works rather than waits, in µs; last, the CPU time
/// outside all stages. For the median turns, as in the table.
pub fn work(trace: &Trace) -> Vec<(String, f64)> {
    let commands = trace.commands.max(1) as f64;
    let works = |stage: &&StageTimes| !WAITS.contains(&stage.name.as_str());
    let us =
        |stage: &StageTimes| (stage.name.clone(), stage.p50_us * stage.turns as f64 / commands);
    let mut stages: Vec<(String, f64)> = trace.stages.iter().filter(works).map(us).collect();
    let busy: f64 = stages.iter().map(|(_, us)| us).sum();
    let all = trace.cpu_ns.map_or(busy, |ns| ns as f64 / 1000.0 / commands);
    stages.push(("rest".into(), (all - busy).max(0.0)));
    stages
}

/// Two tables for each workload and pipeline that was traced.
pub fn grids(results: &Results) -> Vec<Grid> {
    let mut jobs: Vec<(&str, usize)> = Vec::new();
    for cell in results.rows.iter().flat_map(|row| &row.cells) {
        let job = (cell.workload.as_str(), cell.pipeline);
        if cell.trace.is_some() && !jobs.contains(&job) {
            jobs.push(job);
        }
    }
    jobs.iter()
        .flat_map(|&job| {
            let traced: Vec<(&RowResult, &Trace)> =
                results.rows.iter().filter_map(|row| Some((row, of(row, job)?))).collect();
            [per_command(job, &traced), per_turn(job, &traced)]
        })
        .collect()
}

fn of<'r>(row: &'r RowResult, (workload, pipeline): (&str, usize)) -> Option<&'r Trace> {
    let same = |cell: &&Cell| cell.workload == workload && cell.pipeline == pipeline;
    row.cells.iter().find(same)?.trace.as_ref()
}

/// The header of both tables. All rows have the stages of the first.
fn header<'t>(before: &[&'t str], traced: &[(&RowResult, &'t Trace)]) -> Vec<&'t str> {
    let stages = traced.first().map_or(&[][..], |(_, trace)| &trace.stages);
    before.iter().copied().chain(stages.iter().map(|stage| stage.name.as_str())).collect()
}

/// The cost of a command: the time in each stage, with its share of the CPU time; without waits.
/// These are medians over turns. The server is also interrupted within stages, which affects the
/// means but not the CPU time.
fn per_command((workload, pipeline): (&str, usize), traced: &[(&RowResult, &Trace)]) -> Grid {
    let title = format!(
        "{workload}, pipeline {pipeline}: µs per command in the median turn of each stage, and its \
         share of the CPU time (\"rest\" is polling, scheduling, bookkeeping and the tracing)"
    );
    let mut names = header(&["server"], traced);
    names.extend(["rest", "CPU"]);
    let mut grid = Grid::new(title, &names);
    for (row, trace) in traced {
        let commands = trace.commands.max(1) as f64;
        let cpu_us = trace.cpu_ns.map(|ns| ns as f64 / 1000.0 / commands);
        let share = |us: f64| match cpu_us {
            Some(all) if all > 0.0 => format!("{us:.3} {:.0} %", 100.0 * us / all),
            _ => format!("{us:.3}"),
        };
        let mut fields = vec![row.name.clone()];
        let mut busy_us = 0.0;
        for stage in &trace.stages {
            let us = stage.p50_us * stage.turns as f64 / commands;
            let waits = WAITS.contains(&stage.name.as_str());
            busy_us += if waits { 0.0 } else { us };
            fields.push(match stage.turns {
                0 => "–".into(),
                _ if waits => format!("{us:.3}"),
                _ => share(us),
            });
        }
        let rest_us = cpu_us.map(|all| all - busy_us).filter(|rest| *rest > 0.0);
        fields.push(rest_us.map_or("–".into(), share));
        fields.push(cpu_us.map_or("–".into(), |us| format!("{us:.3}")));
        grid.rows.push(fields);
    }
    grid
}

/// The time that a turn spends in each stage: mean, median and p99.
fn per_turn((workload, pipeline): (&str, usize), traced: &[(&RowResult, &Trace)]) -> Grid {
    let title =
        format!("{workload}, pipeline {pipeline}: µs per turn in each stage: mean, median, p99");
    let mut grid = Grid::new(title, &header(&["server", "commands per turn"], traced));
    for (row, trace) in traced {
        let turns = trace.stages.iter().find(|stage| stage.name == "execute");
        let turns = turns.map_or(1, |stage| stage.turns.max(1)) as f64;
        let mut fields = vec![row.name.clone(), format!("{:.1}", trace.commands as f64 / turns)];
        fields.extend(trace.stages.iter().map(|stage| match stage.turns {
            0 => "–".into(),
            turns => {
                let mean_us = stage.total_us / turns as f64;
                format!("{mean_us:.1}, {:.1}, {:.1}", stage.p50_us, stage.p99_us)
            }
        }));
        grid.rows.push(fields);
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::example;
    use super::*;

    const TEXT: &str = "=100\r\ntxt:# Trace\r\ntrace_enabled:1\r\ntrace_commands:1000\r\n\
        trace_queue:turns=10,usec=50.000,p50=4.000,p99=9.000\r\n\
        trace_read:turns=10,usec=100.000,p50=9.500,p99=20.000\r\n\
        trace_execute:turns=10,usec=300.000,p50=30.000,p99=31.000\r\n\
        trace_write:turns=0,usec=0.000,p50=0.000,p99=0.000\r\n";

    #[test]
    fn what_a_server_tells_is_read() {
        let trace = parse(TEXT).unwrap();
        assert_eq!((trace.commands, trace.stages.len()), (1000, 4));
        let read = &trace.stages[1];
        assert_eq!((read.name.as_str(), read.turns, read.total_us), ("read", 10, 100.0));
        assert_eq!((read.p50_us, read.p99_us), (9.5, 20.0));
        assert!(parse("# Trace\r\n").is_err(), "a server that knows no trace");
        assert!(parse("trace_commands:1\r\ntrace_read:turns=1,usec=x\r\n").is_err());
    }

    #[test]
    fn shares_are_of_the_cpu_time_and_waits_have_none() {
        let mut results = example();
        assert!(grids(&results).is_empty());
        let trace = Trace { cpu_ns: Some(1_000_000), ..parse(TEXT).unwrap() };
        results.rows[1].cells[0].trace = Some(trace);
        let grids = grids(&results);
        assert_eq!(grids.len(), 2);
        let lines: Vec<String> = grids
            .iter()
            .map(|grid| grid.markdown().lines().next_back().unwrap().to_string())
            .collect();
        assert_eq!(
            lines,
            [
                "| fast | 0.040 | 0.095 10 % | 0.300 30 % | – | 0.605 60 % | 1.000 |",
                "| fast | 100.0 | 5.0, 4.0, 9.0 | 10.0, 9.5, 20.0 | 30.0, 30.0, 31.0 | – |"
            ]
        );
    }
}
