//! Tables out of results: made once, printed to the terminal or written as Markdown.

use super::results::{Cell, Footprint, Results, RowResult, Sample};
use super::stats::{Ratio, Spread};
use super::trace;
use comfy_table::{Cell as Field, CellAlignment, ContentArrangement, Table, presets};

/// A table that is not yet drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    /// Its subject, in one line.
    pub title: String,
    /// Names of the columns.
    pub header: Vec<String>,
    /// Its rows, as long as the header.
    pub rows: Vec<Vec<String>>,
}

impl Grid {
    /// A table without rows.
    pub fn new(title: String, header: &[&str]) -> Grid {
        Grid { title, header: header.iter().map(|h| h.to_string()).collect(), rows: Vec::new() }
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table for a terminal.
    pub fn terminal(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(&self.header);
        for row in &self.rows {
            let field = |(i, text): (usize, &String)| {
                let side = if i == 0 { CellAlignment::Left } else { CellAlignment::Right };
                Field::new(text).set_alignment(side)
            };
            table.add_row(row.iter().enumerate().map(field));
        }
        format!("{}\n{table}\n", self.title)
    }

    /// The table for a document.
    pub fn markdown(&self) -> String {
        let line = |fields: &[String]| format!("| {} |\n", fields.join(" | "));
        let mut text = format!("**{}**\n\n{}", self.title, line(&self.header));
        let rule = self.header.iter().enumerate().map(|(i, _)| if i == 0 { "---" } else { "---:" });
        text += &format!("| {} |\n", rule.collect::<Vec<_>>().join(" | "));
        for row in &self.rows {
            text += &line(&row.iter().map(|field| field.replace('|', "\\|")).collect::<Vec<_>>());
        }
        text
    }
}

/// Every table of the report, in reading order.
pub fn all(results: &Results) -> Vec<Grid> {
    let mut grids: Vec<Grid> =
        workloads(results).iter().map(|name| throughput(results, name)).collect();
    grids.push(memory(results));
    grids.push(footprints(results));
    grids.extend(ratios(results));
    grids.extend(trace::grids(results));
    grids.retain(|grid| !grid.is_empty());
    grids
}

/// Names of the workloads, in the order they were measured.
pub fn workloads(results: &Results) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for cell in results.rows.iter().flat_map(|row| &row.cells) {
        if !names.contains(&cell.workload) {
            names.push(cell.workload.clone());
        }
    }
    names
}

/// Pipeline depths at which `workload` ran.
pub fn pipelines(results: &Results, workload: &str) -> Vec<usize> {
    let cells = results.rows.iter().flat_map(|row| &row.cells);
    let mut depths: Vec<usize> =
        cells.filter(|cell| cell.workload == workload).map(|cell| cell.pipeline).collect();
    depths.sort_unstable();
    depths.dedup();
    depths
}

/// The measurement of `workload` on `row` at a depth of pipelining, if there is one.
pub fn find<'r>(row: &'r RowResult, workload: &str, pipeline: usize) -> Option<&'r Cell> {
    row.cells.iter().find(|cell| cell.workload == workload && cell.pipeline == pipeline)
}

/// Throughput, latency and cost of every server in `workload`.
pub fn throughput(results: &Results, workload: &str) -> Grid {
    let mut header = vec![
        "server",
        "pipeline",
        "kops/s",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "max µs",
        "CPU µs/op",
        "user",
        "waits/op",
    ];
    let counted = |row: &RowResult| row.cells.iter().any(|c| c.syscalls_per_op.is_some());
    let with_syscalls = results.rows.iter().any(counted);
    if with_syscalls {
        header.push("syscalls/op");
    }
    let settings = &results.settings;
    let title = format!(
        "{workload}: median of {} rounds of {} s, ± half the spread{}",
        settings.rounds,
        settings.seconds,
        pace(results, workload)
    );
    let mut grid = Grid::new(title, &header);
    for pipeline in pipelines(results, workload) {
        for row in &results.rows {
            if let Some(cell) = find(row, workload, pipeline) {
                grid.rows.push(throughput_row(row, cell, with_syscalls));
            }
        }
    }
    grid
}

/// The note about the rate of `workload`, and about the operations that it counts.
fn pace(results: &Results, workload: &str) -> String {
    let mut cells = results.rows.iter().flat_map(|row| &row.cells);
    let Some(cell) = cells.find(|cell| cell.workload == workload) else { return String::new() };
    let rate = match (cell.rate, cell.rate_share) {
        (Some(rate), _) => format!("; open loop, {rate:.0} due per second"),
        (_, Some(share)) => {
            format!("; open loop at {:.0} % of each server's own saturation", share * 100.0)
        }
        _ => String::new(),
    };
    let operation = cell.operation.as_ref();
    rate + &operation.map_or(String::new(), |operation| format!("; an operation is a {operation}"))
}

fn throughput_row(row: &RowResult, cell: &Cell, with_syscalls: bool) -> Vec<String> {
    let mut fields = vec![row.name.clone(), cell.pipeline.to_string()];
    if let Some(failure) = &cell.failure {
        fields.push(format!("failed: {failure}"));
        fields.resize(if with_syscalls { 11 } else { 10 }, String::new());
        return fields;
    }
    let median = |what: fn(&Sample) -> f64| cell.spread(|s| Some(what(s)));
    let latency = |what| median(what).map(|s| format!("{:.0}", s.median));
    let mut rate = median(|s| s.per_second() / 1000.0).map(|s| with_noise(s, 1));
    if cell.errors() > 0 {
        rate = rate.map(|rate| format!("{rate}, {} errors", cell.errors()));
    }
    let numbers = [
        rate,
        latency(|s| s.p50_us),
        latency(|s| s.p99_us),
        latency(|s| s.p999_us),
        latency(|s| s.max_us),
        cell.spread(Sample::cpu_us).map(|s| with_noise(s, 3)),
        cell.user_share().map(|share| format!("{:.0} %", share * 100.0)),
        cell.spread(Sample::switches).map(|s| format!("{:.3}", s.median)),
    ];
    fields.extend(numbers.map(or_dash));
    if with_syscalls {
        fields.push(or_dash(cell.syscalls_per_op.map(|calls| format!("{calls:.3}"))));
    }
    fields
}

fn with_noise(spread: Spread, decimals: usize) -> String {
    let half = (spread.high - spread.low) / 2.0;
    format!("{:.decimals$} ± {:.0} %", spread.median, 100.0 * half / spread.median.max(1e-12))
}

fn or_dash(field: Option<String>) -> String {
    field.unwrap_or_else(|| "–".into())
}

/// Memory, and times of starting and loading.
pub fn memory(results: &Results) -> Grid {
    let header = [
        "server",
        "version",
        "start ms",
        "empty MiB",
        "loaded MiB",
        "bytes/key",
        "load s",
        "recovery",
    ];
    let mut grid = Grid::new("Memory, start and recovery".into(), &header);
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / (1 << 20) as f64);
    for row in &results.rows {
        let loaded = row.loaded.as_ref();
        let recovery = loaded
            .and_then(|l| Some(format!("{:.0} ms, {} keys", l.recovery_ms?, l.recovered_keys?)));
        let fields = [
            Some(row.name.clone()),
            row.version.clone(),
            row.start_ms.map(|ms| format!("{ms:.1}")),
            loaded.and_then(|l| l.empty_bytes).map(mib),
            loaded.and_then(|l| l.full_bytes).map(mib),
            loaded.and_then(|l| l.bytes_per_key()).map(|bytes| format!("{bytes:.0}")),
            loaded.map(|l| format!("{:.2}", l.seconds)),
            recovery,
        ];
        grid.rows.push(fields.map(or_dash).to_vec());
    }
    grid
}

/// The memory of elements and idle connections, each beside the baseline's.
pub fn footprints(results: &Results) -> Grid {
    let header = ["server", "workload", "what", "count", "bytes each", "÷ baseline", "seconds"];
    let mut grid = Grid::new("Memory per element".into(), &header);
    let mut all: Vec<(&RowResult, &Footprint)> =
        results.rows.iter().flat_map(|row| row.footprints.iter().map(move |f| (row, f))).collect();
    all.sort_by_key(|(_, footprint)| &footprint.workload);
    for (row, footprint) in all {
        let base = results.baseline(row).filter(|base| base.name != row.name);
        let base = base.and_then(|base| {
            base.footprints.iter().find(|other| other.workload == footprint.workload)
        });
        let ratio = base.map(|base| footprint.bytes_each() / base.bytes_each().max(1e-9));
        grid.rows.push(vec![
            row.name.clone(),
            footprint.workload.clone(),
            footprint.element.clone(),
            footprint.count.to_string(),
            format!("{:.0}", footprint.bytes_each()),
            or_dash(ratio.map(|ratio| format!("{ratio:.2}"))),
            format!("{:.1}", footprint.seconds),
        ]);
    }
    grid
}

/// The key ratios against the baseline, and against the echo server: server CPU per operation, or
/// where the pace was given and not the server's, p99.9.
pub fn ratios(results: &Results) -> Vec<Grid> {
    workloads(results).iter().map(|workload| ratio(results, workload)).collect()
}

/// The ratios of one workload.
pub fn ratio(results: &Results, workload: &str) -> Grid {
    let mut cells = results.rows.iter().flat_map(|row| &row.cells);
    let open = cells.any(|cell| cell.workload == workload && cell.is_open());
    let name = if open { "p99.9" } else { "server CPU per operation" };
    let what = |sample: &Sample| if open { Some(sample.p999_us) } else { sample.cpu_us() };
    let depths = pipelines(results, workload);
    let names: Vec<String> = depths.iter().map(|p| format!("pipeline {p}")).collect();
    let mut header = vec!["server", "against"];
    header.extend(names.iter().map(String::as_str));
    let title = format!("{workload}: {name}, ratio (lowest–highest pair of a round)");
    let mut grid = Grid::new(title, &header);
    let echo = results.rows.iter().find(|row| row.name == "echo");
    for row in results.rows.iter().filter(|row| row.name != "echo") {
        let mut bases: Vec<&RowResult> = results.baseline(row).into_iter().chain(echo).collect();
        bases.dedup_by_key(|base| base.name.clone());
        for base in bases.into_iter().filter(|base| base.name != row.name) {
            let against = |&pipeline: &usize| {
                let (cell, base) =
                    (find(row, workload, pipeline)?, find(base, workload, pipeline)?);
                Ratio::paired(cell, base, what).map(|ratio| ratio.to_string())
            };
            let ratios: Vec<Option<String>> = depths.iter().map(against).collect();
            if ratios.iter().any(Option::is_some) {
                let names = [row.name.clone(), base.name.clone()];
                grid.rows.push(names.into_iter().chain(ratios.into_iter().map(or_dash)).collect());
            }
        }
    }
    grid
}

/// The best server for each workload, with those that the rounds cannot distinguish from it. The
/// echo server does no work, so it does not count.
pub fn best(results: &Results) -> Option<Grid> {
    let header = ["workload", "pipeline", "most throughput", "least CPU per op", "lowest p99.9"];
    let mut grid = Grid::new("Who is ahead, and who is level beyond noise".into(), &header);
    for workload in workloads(results) {
        for pipeline in pipelines(results, &workload) {
            let rows = results.rows.iter().filter(|row| row.name != "echo");
            let found: Vec<(&str, &Cell)> = rows
                .filter_map(|row| Some((row.name.as_str(), find(row, &workload, pipeline)?)))
                .collect();
            let rate = |s: &Sample| Some(1.0 / s.per_second().max(1e-9));
            let open = found.iter().any(|(_, cell)| cell.is_open());
            let ahead = [
                if open { None } else { first(&found, rate) },
                first(&found, Sample::cpu_us),
                first(&found, |s| Some(s.p999_us)),
            ];
            if ahead.iter().any(Option::is_some) {
                let mut fields = vec![workload.clone(), pipeline.to_string()];
                fields.extend(ahead.map(or_dash));
                grid.rows.push(fields);
            }
        }
    }
    (!grid.is_empty()).then_some(grid)
}

/// The lowest of `what`, and all that are level with it.
fn first(cells: &[(&str, &Cell)], what: fn(&Sample) -> Option<f64>) -> Option<String> {
    let median = |cell: &Cell| cell.spread(what).map(|spread| spread.median);
    let measured = cells.iter().filter(|(_, cell)| median(cell).is_some());
    let mut sorted: Vec<_> = measured.collect();
    sorted.sort_by(|a, b| median(a.1).unwrap_or(0.0).total_cmp(&median(b.1).unwrap_or(0.0)));
    let (_, base) = sorted.first()?;
    let level = |cell: &Cell| Ratio::paired(cell, base, what).is_some_and(|ratio| ratio.is_noise());
    let names: Vec<&str> =
        sorted.iter().filter(|(_, cell)| level(cell)).map(|(name, _)| *name).collect();
    Some(match names.as_slice() {
        [one, two, three, rest @ ..] if rest.len() > 1 => {
            format!("{one}, {two}, {three} and {} more", rest.len())
        }
        few => few.join(", "),
    })
}

/// This run against an earlier one, cell by cell.
pub fn compare(new: &Results, old: &Results) -> Grid {
    let header = ["server", "workload", "pipeline", "throughput new ÷ old", "CPU per op new ÷ old"];
    let mut grid = Grid::new("Against the earlier run".into(), &header);
    for row in &new.rows {
        let Some(before) = old.rows.iter().find(|other| other.name == row.name) else { continue };
        for cell in &row.cells {
            let Some(earlier) = before.cells.iter().find(|other| cell.matches(other)) else {
                continue;
            };
            let ratio = |what: fn(&Sample) -> Option<f64>| {
                Ratio::unpaired(cell.spread(what)?, earlier.spread(what)?).map(|r| r.to_string())
            };
            grid.rows.push(vec![
                row.name.clone(),
                cell.workload.clone(),
                cell.pipeline.to_string(),
                or_dash(ratio(|sample| Some(sample.per_second()))),
                or_dash(ratio(Sample::cpu_us)),
            ]);
        }
    }
    grid
}

/// Notes under the tables: rows that did not run, and doubtful results.
pub fn notes(results: &Results) -> Vec<String> {
    let mut notes: Vec<String> = results
        .left_out
        .iter()
        .map(|out| format!("left out: {}: {}", out.name, out.reason))
        .collect();
    for row in &results.rows {
        notes.extend(row.notes.iter().map(|note| format!("{}: {note}", row.name)));
        for cell in &row.cells {
            let (replies, nulls) =
                cell.samples.iter().fold((0, 0), |(r, n), s| (r + s.replies, n + s.nulls));
            let reads = cell.workload == "get" || cell.workload.starts_with("ycsb");
            if reads && row.name != "echo" && nulls * 10 > replies {
                notes.push(format!(
                    "{}: {} of {replies} replies of {} are null: its keys are not all there",
                    row.name, nulls, cell.workload
                ));
            }
        }
    }
    if results.settings.server_cores.is_empty() {
        notes.push("server and load share their cores: the numbers say little".into());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::example;
    use super::*;

    #[test]
    fn the_report_holds_every_row_and_its_ratio() {
        let text: String = all(&example()).iter().map(Grid::terminal).collect();
        assert!(text.contains("redis-server") && text.contains("fast"));
        let ratios = ratios(&example());
        assert_eq!(ratios[0].rows, [["fast", "redis-server", "0.50 (0.50–0.50)"]]);
    }

    #[test]
    fn markdown_tables_have_one_line_per_row() {
        let grid = &all(&example())[0];
        let lines: Vec<String> = grid.markdown().lines().map(String::from).collect();
        assert_eq!(lines.len(), 2 + 2 + 2);
        assert!(lines[3].starts_with("| --- | ---: |"));
    }

    #[test]
    fn a_run_compared_with_itself_is_noise() {
        let grid = compare(&example(), &example());
        assert_eq!(grid.rows.len(), 2);
        assert!(grid.rows[0][4].starts_with("no difference beyond noise"));
    }

    #[test]
    fn who_is_level_with_the_first_is_named_with_it() {
        let mut results = example();
        results.rows.push(RowResult { name: "echo".into(), ..results.rows[1].clone() });
        results.rows.push(RowResult { name: "also".into(), ..results.rows[1].clone() });
        let grid = best(&results).unwrap();
        let all = "redis-server, fast, also";
        assert_eq!(grid.rows, [["get", "16", all, "fast, also", all]]);
        results.rows.iter_mut().for_each(|row| row.cells.clear());
        assert_eq!(best(&results), None);
    }

    #[test]
    fn what_was_left_out_is_said() {
        assert_eq!(notes(&example()), ["left out: slow: not built"]);
    }
}
