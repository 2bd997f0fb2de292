//! The measurements shown: a table per case, and a strip of maxima over time per server.

use super::results::{Measured, STEP, WorstResults};
use crate::bench::report::Grid;
use crate::charts::{Chart, Strip, Strips, numbers, svg};
use anyhow::Result;
use std::path::Path;

/// µs beyond the echo server's worst command that a command may take: the goal.
const GOAL_US: f64 = 1000.0;

/// Where the charts are, as seen from `docs`. Not in `charts` itself, which `bench --publish` empties.
const CHARTS: &str = "charts/worst";

/// The method, in a few sentences.
const ABOUT: &str = "A probe sends one GET after another, and 32 writes before each, over two connections; the longest \
    time to a reply is the worst single command (a slow write makes the GET behind it wait). The echo server, which does nothing \
    but answer, gets the same requests for as long: its worst is what the machine and its other tenants do. Medians over the \
    rounds, the lowest and the highest in parentheses; differences are those of each round's pair.";

/// A table for each case.
pub fn grids(results: &WorstResults) -> Vec<Grid> {
    results.cases().iter().map(|case| grid(results, case)).collect()
}

fn grid(results: &WorstResults, case: &str) -> Grid {
    let header =
        ["server", "seconds", "commands", "p50", "p99.9", "worst", "beyond the echo server's"];
    let mut grid = Grid::new(format!("{case}: latency of single commands"), &header);
    for server in results.servers(case) {
        let spread = |figure: fn(&Measured) -> f64| results.spread(case, &server, figure);
        let median =
            |figure: fn(&Measured) -> f64| spread(figure).map_or(0.0, |spread| spread.median);
        let beyond = results.beyond_echo(case, &server);
        grid.rows.push(vec![
            server.clone(),
            numbers::short(median(|one| one.seconds)),
            numbers::count(median(|one| one.probes as f64)),
            numbers::micros(median(|one| one.p50_us)),
            numbers::micros(median(|one| one.p999_us)),
            shown(spread(|one| one.worst_us)),
            shown(beyond),
        ]);
    }
    grid
}

fn shown(spread: Option<crate::bench::stats::Spread>) -> String {
    let Some(spread) = spread else { return "–".into() };
    let [median, low, high] = [spread.median, spread.low, spread.high].map(numbers::micros);
    format!("{median} ({low} to {high})")
}

/// The strips of a case: of each server its first round.
fn strips(results: &WorstResults, case: &str) -> Result<Chart> {
    let servers = results.servers(case);
    let first = |server: &String| results.rounds(case, server).next().cloned();
    let limit = first(&super::results::ECHO.to_string()).map(|echo| echo.worst_us + GOAL_US);
    let strips = servers.iter().filter_map(first).map(|one| Strip {
        number: format!("worst {}", numbers::micros(one.worst_us)),
        name: one.server,
        values: one.strip_us.into_iter().map(f64::from).collect(),
    });
    Strips { step_seconds: STEP.as_secs_f64(), limit, strips: strips.collect() }.chart()
}

fn title(case: &str) -> String {
    format!("{case}: the longest latency over time")
}

fn label(results: &WorstResults, case: &str) -> String {
    let worst = |server: &String| {
        let worst = results.spread(case, server, |one| one.worst_us)?.median;
        Some(format!("{server} {}", numbers::micros(worst)))
    };
    let servers = results.servers(case);
    format!(
        "{}: worst {}",
        title(case),
        servers.iter().filter_map(worst).collect::<Vec<_>>().join(", ")
    )
}

/// A page with all strips and tables.
pub fn page(results: &WorstResults) -> Result<String> {
    let mut body = format!("<h1>The worst single command</h1>\n<p>{ABOUT}</p>\n");
    for case in results.cases() {
        let chart = strips(results, &case)?.inline(&label(results, &case));
        let table = svg::escape(&grid(results, &case).terminal());
        body += &format!("<h2>{}</h2>\n{chart}<pre>{table}</pre>\n", svg::escape(&title(&case)));
    }
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>Varve bench: the worst single command</title>\n<style>\n{}\
         body{{margin:0 auto;max-width:48rem;padding:1rem;background:var(--paper);color:var(--text);\
         font:1rem/1.5 system-ui,sans-serif}}pre{{overflow-x:auto}}.chart{{width:100%;height:auto}}</style>\n\
         </head>\n<body>\n{body}</body>\n</html>\n",
        svg::sheet()
    ))
}

/// Writes `worst.md` and its charts into the folder `docs`.
pub fn publish(results: &WorstResults, docs: &Path) -> Result<()> {
    let charts = docs.join(CHARTS);
    std::fs::create_dir_all(&charts)?;
    let (machine, mut text) = (&results.machine, String::from("# The worst single command\n\n"));
    let known = |field: &Option<String>| field.clone().unwrap_or_else(|| "unknown".into());
    text += &format!(
        "Written by `cargo xtask bench worst --publish`; do not edit. Commit {}, {}, {} cores, kernel {}, scale {}.\n\n{ABOUT}\n",
        known(&machine.commit),
        known(&machine.cpu),
        machine.cores,
        known(&machine.kernel),
        results.scale
    );
    text += "\nThe line in a strip is a millisecond beyond the echo server's worst: the goal.\n";
    for case in results.cases() {
        let chart = strips(results, &case)?;
        let file = format!("{case}.svg");
        std::fs::write(
            charts.join(&file),
            chart.standalone(&title(&case), &label(results, &case)),
        )?;
        text += &format!(
            "\n## {case}\n\n![{}]({CHARTS}/{file})\n\n{}",
            title(&case),
            grid(results, &case).markdown()
        );
    }
    Ok(std::fs::write(docs.join("worst.md"), text)?)
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::example;
    use super::*;

    #[test]
    fn a_case_has_a_table_with_the_difference_to_the_echo_server() {
        let grids = grids(&example());
        assert_eq!(grids.len(), 1);
        let row = &grids[0].rows[0];
        assert_eq!((row[0].as_str(), row[5].as_str()), ("varve", "4.95 ms (900 µs to 9 ms)"));
        assert_eq!(row[6], "4.4 ms (400 µs to 8.4 ms)");
    }

    #[test]
    fn the_document_and_the_page_show_every_case() {
        let dir = tempfile::tempdir().unwrap();
        publish(&example(), dir.path()).unwrap();
        let text = std::fs::read_to_string(dir.path().join("worst.md")).unwrap();
        assert!(text.contains("](charts/worst/growth.svg)") && text.contains("| varve |"));
        assert!(dir.path().join("charts/worst/growth.svg").exists());
        assert!(page(&example()).unwrap().matches("<svg").count() == 1);
    }
}
