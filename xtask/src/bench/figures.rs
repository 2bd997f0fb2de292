//! Charts and tables out of results, in the order in which they are read: `html` makes a page of
//! them, `publish` a document and files. Nothing here knows which servers or workloads there are.

use super::report::{self, Grid, find, pipelines, workloads};
use super::results::{Cell, Results, RowResult, Sample};
use super::stats::Spread;
use super::trace;
use crate::charts::{Bar, Bars, Chart, DotRow, Dots, Ink, Line, Lines, numbers};
use anyhow::Result;

/// The number of rows that may share a chart. If there are more, each storage gets its own, with
/// the references in all.
const ROWS_TOGETHER: usize = 8;

/// The row others are measured by wherever it is.
const ECHO: &str = "echo";

/// A chart with its words.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Stem of a file's name, unique in a report.
    pub name: String,
    /// Its subject, in a few words.
    pub title: String,
    /// The title for a place where the headings above it contain the rest.
    pub caption: String,
    /// A description for readers who cannot see it.
    pub label: String,
    /// The pipeline it is of, where it is of one.
    pub depth: Option<usize>,
    /// The chart.
    pub chart: Chart,
}

impl Block {
    /// Its figures, those of one pipeline together.
    pub fn by_depth(&self) -> impl Iterator<Item = &[Figure]> {
        self.figures.chunk_by(|a, b| a.depth == b.depth)
    }
}

/// Figures that belong side by side.
#[derive(Debug, Clone)]
pub struct Block {
    /// Their subject.
    pub title: String,
    /// How to read them.
    pub about: String,
    /// The figures; none is empty.
    pub figures: Vec<Figure>,
}

/// A part of the report.
#[derive(Debug, Clone)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// Its charts.
    pub blocks: Vec<Block>,
    /// Its tables.
    pub grids: Vec<Grid>,
}

/// The whole report.
pub fn sections(results: &Results) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    for workload in workloads(results) {
        sections.push(of_workload(results, &workload)?);
    }
    sections.push(Section {
        title: "Where the time goes".into(),
        blocks: vec![stages(results)?],
        grids: trace::grids(results),
    });
    sections.push(Section {
        title: "Memory, start and recovery".into(),
        blocks: resources(results)?,
        grids: vec![report::memory(results), report::footprints(results)],
    });
    for section in &mut sections {
        section.blocks.retain(|block| !block.figures.is_empty());
        section.grids.retain(|grid| !grid.is_empty());
    }
    sections.retain(|section| !section.blocks.is_empty() || !section.grids.is_empty());
    unique_names(&mut sections);
    Ok(sections)
}

fn of_workload(results: &Results, workload: &str) -> Result<Section> {
    let depths = pipelines(results, workload);
    let ran = |row: &&RowResult| {
        row.cells.iter().any(|c| c.workload == workload && !c.samples.is_empty())
    };
    let rows: Vec<&RowResult> = results.rows.iter().filter(ran).collect();
    let view = View { results, workload, groups: groups(results, &rows) };
    let whole = [together(&rows)];
    let mut blocks = vec![view.throughput(&depths)?];
    blocks.push(Block {
        title: "Cost per operation".into(),
        about: "Server CPU time, µs: in its own code and in the kernel's. Shorter is better; the \
                thin line spans the rounds. Each chart has its own scale."
            .into(),
        figures: view.at_each(&depths, &view.groups, ("cost", cost))?,
    });
    blocks.push(Block {
        title: "Latency".into(),
        about: format!(
            "From when a request was due to its reply; further left is better.{}",
            view.pace()
        ),
        figures: depths
            .iter()
            .map(|depth| view.latency(*depth))
            .filter_map(Result::transpose)
            .collect::<Result<_>>()?,
    });
    blocks.push(Block {
        title: "System calls per operation".into(),
        about: "Counted in a run of its own.".into(),
        figures: view.at_each(&depths, &whole, ("syscalls", syscalls))?,
    });
    let grids = vec![report::throughput(results, workload), report::ratio(results, workload)];
    Ok(Section { title: workload.into(), blocks, grids })
}

/// A row's name in parts: `epoll-inline`, `memory`, `off`.
struct Parts<'r> {
    who: &'r str,
    storage: &'r str,
    aof: &'r str,
}

fn parts(row: &RowResult) -> Parts<'_> {
    let suffix = format!(" aof={}", row.aof);
    let base = row.name.strip_suffix(&suffix).unwrap_or(&row.name);
    let (who, storage) = base.split_once(' ').unwrap_or((base, ""));
    Parts { who, storage, aof: &row.aof }
}

/// Whether a row keeps everything in memory, and nothing durable.
pub fn is_plain(row: &RowResult) -> bool {
    let Parts { storage, aof, .. } = parts(row);
    matches!(storage, "" | "memory") && matches!(aof, "" | "off")
}

/// Rows that share a chart.
struct Group<'r> {
    /// The properties that they share, empty if those are all.
    title: String,
    rows: Vec<(&'r RowResult, Ink)>,
}

impl Group<'_> {
    /// The part of a row's name that the title does not have already.
    fn name_of(&self, row: &RowResult) -> String {
        if self.title.is_empty() { row.name.clone() } else { parts(row).who.into() }
    }
}

/// Groups of `rows`; a server has the same colour in every chart of `results`.
fn groups<'r>(results: &'r Results, rows: &[&'r RowResult]) -> Vec<Group<'r>> {
    let mut keys: Vec<(&str, &str)> = Vec::new();
    let all: Vec<Parts<'_>> = rows.iter().map(|row| parts(row)).collect();
    for part in all.iter().filter(|part| !part.storage.is_empty()) {
        if !keys.contains(&(part.storage, part.aof)) {
            keys.push((part.storage, part.aof));
        }
    }
    if rows.len() <= ROWS_TOGETHER || keys.len() < 2 {
        return vec![together(rows)];
    }
    // References whose durability no storage row has.
    for part in all.iter().filter(|part| part.who != ECHO) {
        if !keys.iter().any(|(_, aof)| *aof == part.aof) {
            keys.push(("", part.aof));
        }
    }
    let mut whos: Vec<&str> = Vec::new();
    for part in results.rows.iter().map(parts).filter(|part| part.who != ECHO) {
        if !whos.contains(&part.who) {
            whos.push(part.who);
        }
    }
    let ink = |who: &str| whos.iter().position(|w| *w == who).map_or(Ink::Reference, Ink::Series);
    let group = |(storage, aof): (&str, &str)| {
        let belongs = |part: &Parts<'_>| {
            part.who == ECHO
                || part.aof == aof && (part.storage == storage || part.storage.is_empty())
        };
        let members = rows.iter().copied().zip(&all).filter(|(_, part)| belongs(part));
        let title = if aof == "off" { storage.into() } else { format!("{storage} aof={aof}") };
        let title = title.trim_start().to_string();
        Group { title, rows: members.map(|(row, part)| (row, ink(part.who))).collect() }
    };
    keys.into_iter().map(group).collect()
}

fn together<'r>(rows: &[&'r RowResult]) -> Group<'r> {
    let mut next = 0;
    let ink = |row: &RowResult| {
        next += usize::from(row.name != ECHO);
        if row.name == ECHO { Ink::Reference } else { Ink::Series(next - 1) }
    };
    let inks: Vec<Ink> = rows.iter().copied().map(ink).collect();
    Group { title: String::new(), rows: rows.iter().copied().zip(inks).collect() }
}

/// One workload of the results.
struct View<'r> {
    results: &'r Results,
    workload: &'r str,
    groups: Vec<Group<'r>>,
}

/// A chart's row out of a cell, `None` where nothing was measured.
type ToBar = fn(&Cell) -> Option<Bar>;

impl View<'_> {
    fn throughput(&self, depths: &[usize]) -> Result<Block> {
        let figures = match depths {
            // At a given rate all are as fast.
            _ if self.cells().any(Cell::is_open) => Vec::new(),
            [_] => self.at_each(depths, &self.groups, ("throughput", rate))?,
            _ => self.lines(depths)?,
        };
        let mut members = self.groups.iter().flat_map(|group| &group.rows);
        let echo = members.any(|(row, _)| row.name == ECHO);
        let limit =
            if echo { " Grey is the bare echo server, the limit of the machine." } else { "" };
        let about = format!("Higher is better.{limit}{}", self.operation());
        Ok(Block { title: "Throughput".into(), about, figures })
    }

    /// At which rate requests came, if at a rate.
    fn pace(&self) -> String {
        let mut cells = self.cells().filter(|cell| cell.is_open());
        match cells.next().map(|cell| (cell.rate_share, cell.rate)) {
            Some((Some(share), _)) => {
                format!(
                    " Requests come at {:.0} % of the rate each server can take.",
                    share * 100.0
                )
            }
            Some((None, Some(rate))) => {
                format!(" Requests come at {} a second.", numbers::count(rate))
            }
            _ => String::new(),
        }
    }

    /// The name of one operation, if it is no request.
    fn operation(&self) -> String {
        let operation = self.cells().find_map(|cell| cell.operation.as_ref());
        operation.map_or(String::new(), |operation| format!(" An operation is a {operation}."))
    }

    fn cells(&self) -> impl Iterator<Item = &Cell> {
        let cells = self.results.rows.iter().flat_map(|row| &row.cells);
        cells.filter(|cell| cell.workload == self.workload)
    }

    fn lines(&self, depths: &[usize]) -> Result<Vec<Figure>> {
        let point = |row, &depth: &usize| {
            let cell = find(row, self.workload, depth)?;
            Some((depth as f64, cell.spread(|s| Some(s.per_second()))?.median))
        };
        let points = |row| depths.iter().filter_map(|depth| point(row, depth)).collect::<Vec<_>>();
        let also: Vec<f64> = self.results.rows.iter().flat_map(&points).map(|p| p.1).collect();
        let mut figures = Vec::new();
        for group in &self.groups {
            let lines = group.rows.iter().map(|(row, ink)| Line {
                name: group.name_of(row),
                ink: *ink,
                points: points(row),
            });
            let lines: Vec<Line> = lines.filter(|line| !line.points.is_empty()).collect();
            if lines.is_empty() {
                continue;
            }
            let last = lines.iter().filter_map(|line| {
                let (depth, rate) = line.points.last()?;
                Some(format!("{} {}/s at {depth}", line.name, numbers::count(*rate)))
            });
            let said = last.collect::<Vec<_>>().join(", ");
            let (x, y) = ("pipeline".into(), "operations per second".into());
            let chart = Lines { x, y, number: numbers::count, also: also.clone(), lines };
            let what = ("throughput", "throughput against pipeline", None);
            figures.push(self.figure(what, group, said, chart.chart()?));
        }
        Ok(figures)
    }

    /// A chart of bars for every depth and group.
    fn at_each(
        &self,
        depths: &[usize],
        groups: &[Group<'_>],
        (what, to_bar): (&'static str, ToBar),
    ) -> Result<Vec<Figure>> {
        let mut figures = Vec::new();
        for &depth in depths {
            for group in groups {
                let bar = |(row, _): &(&RowResult, Ink)| {
                    let bar = to_bar(find(row, self.workload, depth)?)?;
                    Some(Bar { name: group.name_of(row), ..bar })
                };
                let bars: Vec<Bar> = group.rows.iter().filter_map(bar).collect();
                figures.extend(self.bars((what, depth), group, bars)?);
            }
        }
        Ok(figures)
    }

    fn bars(
        &self,
        (what, depth): (&'static str, usize),
        group: &Group<'_>,
        mut bars: Vec<Bar>,
    ) -> Result<Option<Figure>> {
        if bars.is_empty() {
            return Ok(None);
        }
        let (parts, words): (&[&str], _) = match what {
            "cost" => (&["user", "system"], "cost per operation"),
            "syscalls" => (&["calls"], "system calls per operation"),
            _ => (&["operations"], "throughput"),
        };
        bars.sort_by(|a, b| a.total().total_cmp(&b.total()));
        if what == "throughput" {
            bars.reverse();
        }
        let said = said(bars.iter().map(|bar| (&bar.name, &bar.number)));
        let parts = parts.iter().map(|part| part.to_string()).collect();
        let chart = Bars { parts, rest: "not told apart".into(), bars }.chart()?;
        Ok(Some(self.figure((what, words, Some(depth)), group, said, chart)))
    }

    fn latency(&self, depth: usize) -> Result<Option<Figure>> {
        let row = |row: &RowResult| {
            let cell = find(row, self.workload, depth)?;
            let of = |what: fn(&Sample) -> f64| Some(cell.spread(|s| Some(what(s)))?.median);
            let values =
                [of(|s| s.p50_us)?, of(|s| s.p99_us)?, of(|s| s.p999_us)?, of(|s| s.max_us)?];
            let number = format!("p99 {}", numbers::micros(values[1]));
            Some(DotRow { name: row.name.clone(), number, values: values.to_vec() })
        };
        let mut rows: Vec<DotRow> = self.results.rows.iter().filter_map(row).collect();
        if rows.is_empty() {
            return Ok(None);
        }
        rows.sort_by(|a, b| a.values[1].total_cmp(&b.values[1]));
        let said = said(rows.iter().map(|row| (&row.name, &row.number)));
        let marks = ["p50", "p99", "p99.9", "max"].map(String::from).to_vec();
        let chart = Dots { marks, number: numbers::micros, rows }.chart()?;
        let whole = Group { title: String::new(), rows: Vec::new() };
        Ok(Some(self.figure(("latency", "latency", Some(depth)), &whole, said, chart)))
    }

    fn figure(
        &self,
        (stem, words, depth): (&str, &str, Option<usize>),
        group: &Group<'_>,
        said: String,
        chart: Chart,
    ) -> Figure {
        let words_of = depth.map(|depth| (format!("p{depth}"), format!("pipeline {depth}")));
        let in_name = words_of.iter().map(|(short, _)| short).chain([&group.title]);
        let name =
            in_name.fold(format!("{} {stem}", self.workload), |name, word| name + " " + word);
        let caption: Vec<&str> = words_of
            .iter()
            .map(|(_, long)| long)
            .chain([&group.title])
            .map(String::as_str)
            .filter(|word| !word.is_empty())
            .collect();
        let caption = caption.join(", ");
        let title = format!("{}: {words}", self.workload);
        let (title, caption) = match caption.as_str() {
            "" => (title.clone(), title),
            _ => (format!("{title}, {caption}"), caption),
        };
        let (name, label) = (slug(&name), format!("{title}: {said}"));
        Figure { name, title, caption, label, depth, chart }
    }
}

fn said<'a>(rows: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    rows.map(|(name, number)| format!("{name} {number}")).collect::<Vec<_>>().join("; ")
}

fn rate(cell: &Cell) -> Option<Bar> {
    let spread = cell.spread(|sample| Some(sample.per_second()))?;
    Some(bar(spread, format!("{}/s", numbers::count(spread.median)), vec![spread.median]))
}

/// User and system time; neither if there were too few ticks to tell.
fn cost(cell: &Cell) -> Option<Bar> {
    let spread = cell.spread(Sample::cpu_us)?;
    let values = match cell.user_share() {
        Some(share) => vec![spread.median * share, spread.median * (1.0 - share)],
        None => vec![0.0, 0.0, spread.median],
    };
    Some(bar(spread, format!("{} µs", numbers::short(spread.median)), values))
}

fn syscalls(cell: &Cell) -> Option<Bar> {
    let calls = cell.syscalls_per_op?;
    Some(Bar {
        name: String::new(),
        number: numbers::short(calls),
        values: vec![calls],
        range: None,
    })
}

fn bar(spread: Spread, number: String, values: Vec<f64>) -> Bar {
    let range = (spread.low < spread.high).then_some((spread.low, spread.high));
    Bar { name: String::new(), number, values, range }
}

/// A chart of the stages for every workload and pipeline that was traced.
fn stages(results: &Results) -> Result<Block> {
    let mut figures = Vec::new();
    for workload in workloads(results) {
        let whole = Group { title: String::new(), rows: Vec::new() };
        let view = View { results, workload: &workload, groups: Vec::new() };
        for depth in pipelines(results, &workload) {
            let work = |row: &RowResult| {
                let work = trace::work(find(row, &workload, depth)?.trace.as_ref()?);
                Some((row.name.clone(), work))
            };
            let mut traced: Vec<_> = results.rows.iter().filter_map(work).collect();
            let Some((_, first)) = traced.first() else { continue };
            let parts: Vec<String> = first.iter().map(|(stage, _)| stage.clone()).collect();
            let (parts, rest) = (parts[..parts.len() - 1].to_vec(), "rest".to_string());
            traced.retain(|(_, work)| work.len() == parts.len() + 1);
            let bar = |(name, work): (String, Vec<(String, f64)>)| {
                let values: Vec<f64> = work.into_iter().map(|(_, us)| us).collect();
                let number = format!("{} µs", numbers::short(values.iter().sum()));
                Bar { name, number, values, range: None }
            };
            let mut bars: Vec<Bar> = traced.into_iter().map(bar).collect();
            bars.sort_by(|a, b| a.total().total_cmp(&b.total()));
            let said = said(bars.iter().map(|bar| (&bar.name, &bar.number)));
            let chart = Bars { parts, rest, bars }.chart()?;
            let figure = view.figure(("stages", "CPU by stage", Some(depth)), &whole, said, chart);
            figures.push(Figure { caption: figure.title.clone(), ..figure });
        }
    }
    let title = "CPU by stage".into();
    let about = "Time per command in each stage that works, µs; grey is polling, scheduling and \
                 the tracing itself. Waits are in the tables."
        .into();
    Ok(Block { title, about, figures })
}

/// Memory and times of whole servers.
fn resources(results: &Results) -> Result<Vec<Block>> {
    let plain = |value: f64, number: String| (vec![value], number);
    let loaded = |row: &RowResult| row.loaded.clone();
    let memory = [
        resource(results, ("memory-per-key", "Memory per key", &["bytes"]), |row| {
            let bytes = loaded(row)?.bytes_per_key()?;
            Some(plain(bytes, format!("{bytes:.0} B")))
        })?,
        resource(results, ("memory-resident", "Resident memory", &["empty", "loaded"]), |row| {
            let loaded = loaded(row)?;
            let (empty, full) = (loaded.empty_bytes? as f64, loaded.full_bytes? as f64);
            let number = format!("{} → {}", numbers::bytes(empty), numbers::bytes(full));
            Some((vec![empty, (full - empty).max(0.0)], number))
        })?,
    ];
    let mut elements = Vec::new();
    for workload in footprints(results) {
        let title = format!("Memory: {workload}");
        elements.extend(resource(results, (&slug(&title), &title, &["bytes"]), |row| {
            let mut all = row.footprints.iter();
            let each = all.find(|footprint| footprint.workload == workload)?;
            let number = format!("{:.0} B per {}", each.bytes_each(), each.element);
            Some(plain(each.bytes_each(), number))
        })?);
    }
    let times = [
        resource(results, ("start", "Start, empty", &["ms"]), |row| {
            Some(plain(row.start_ms?, numbers::millis(row.start_ms?)))
        })?,
        resource(results, ("load", "Loading all keys", &["ms"]), |row| {
            let ms = loaded(row)?.seconds * 1000.0;
            Some(plain(ms, numbers::millis(ms)))
        })?,
        resource(results, ("recovery", "Restart with all keys", &["ms"]), |row| {
            let ms = loaded(row)?.recovery_ms?;
            Some(plain(ms, numbers::millis(ms)))
        })?,
    ];
    let block = |title: &str, about: &str, figures: Vec<Figure>| Block {
        title: title.into(),
        about: about.into(),
        figures,
    };
    Ok(vec![
        block(
            "Memory",
            "Resident, as the kernel sees it.",
            memory.into_iter().flatten().chain(elements).collect(),
        ),
        block(
            "Times",
            "From the start of the process, or of the load, to the reply that ends it.",
            times.into_iter().flatten().collect(),
        ),
    ])
}

/// Names of the workloads that have footprints.
fn footprints(results: &Results) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for footprint in results.rows.iter().flat_map(|row| &row.footprints) {
        if !names.contains(&footprint.workload) {
            names.push(footprint.workload.clone());
        }
    }
    names
}

/// A bar for every server of which `what` knows parts and a text.
fn resource(
    results: &Results,
    (name, title, parts): (&str, &str, &[&str]),
    what: impl Fn(&RowResult) -> Option<(Vec<f64>, String)>,
) -> Result<Option<Figure>> {
    let bar = |row: &RowResult| {
        let (values, number) = what(row)?;
        Some(Bar { name: row.name.clone(), number, values, range: None })
    };
    let mut bars: Vec<Bar> = results.rows.iter().filter_map(bar).collect();
    if bars.is_empty() {
        return Ok(None);
    }
    bars.sort_by(|a, b| a.total().total_cmp(&b.total()));
    let label = format!("{title}: {}", said(bars.iter().map(|bar| (&bar.name, &bar.number))));
    let parts = parts.iter().map(|part| part.to_string()).collect();
    let chart = Bars { parts, rest: String::new(), bars }.chart()?;
    let (name, title) = (name.into(), title.to_string());
    Ok(Some(Figure { name, caption: title.clone(), title, label, depth: None, chart }))
}

/// Letters and digits, joined by dashes.
fn slug(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

fn unique_names(sections: &mut [Section]) {
    let mut seen = Vec::<String>::new();
    let blocks = sections.iter_mut().flat_map(|section| &mut section.blocks);
    for figure in blocks.flat_map(|block| &mut block.figures) {
        let plain = figure.name.clone();
        let mut n = 1;
        while seen.contains(&figure.name) {
            n += 1;
            figure.name = format!("{plain}-{n}");
        }
        seen.push(figure.name.clone());
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::results::tests::example;
    use super::*;

    /// A run of `count` servers: the echo server, Redis, and runtimes over storages.
    pub fn many(count: usize) -> Results {
        let mut results = example();
        let model = results.rows[1].clone();
        let storages = ["memory", "sled", "fjall", "rocks"];
        let names = storages.iter().flat_map(|storage| {
            ["epoll-inline", "epoll-pool", "tokio", "threads"].map(|r| format!("{r} {storage}"))
        });
        let names = ["echo".to_string(), "redis-server".into()].into_iter().chain(names);
        let peers = (0..count).map(|n| format!("peer-{n}"));
        results.rows = names
            .chain(peers)
            .take(count)
            .map(|name| RowResult { redis_like: name == "redis-server", name, ..model.clone() })
            .collect();
        for (n, row) in results.rows.iter_mut().enumerate() {
            let cell = row.cells[0].clone();
            row.cells = [1, 16, 64].map(|pipeline| Cell { pipeline, ..cell.clone() }).to_vec();
            for sample in row.cells.iter_mut().flat_map(|cell| &mut cell.samples) {
                sample.replies *= n as u64 + 1;
            }
        }
        results
    }

    fn figures(results: &Results) -> Vec<Figure> {
        let sections = sections(results).unwrap();
        let blocks = sections.into_iter().flat_map(|section| section.blocks);
        blocks.flat_map(|block| block.figures).collect()
    }

    #[test]
    fn few_rows_share_a_chart_and_many_are_split_by_storage() {
        let names = |count| -> Vec<String> {
            let figures = figures(&many(count));
            figures.into_iter().map(|f| f.name).filter(|n| n.contains("throughput")).collect()
        };
        assert_eq!(names(4), ["get-throughput"]);
        assert_eq!(names(14), ["memory", "sled", "fjall"].map(|s| format!("get-throughput-{s}")));
    }

    #[test]
    fn references_are_in_every_group_of_their_durability() {
        let mut results = many(14);
        for n in [1, 6] {
            results.rows[n].aof = "everysec".into();
            results.rows[n].name += " aof=everysec";
        }
        let all: Vec<&RowResult> = results.rows.iter().collect();
        let groups = groups(&results, &all);
        let group = |title: &str| -> Vec<&str> {
            let group = groups.iter().find(|group| group.title == title).unwrap();
            group.rows.iter().map(|(row, _)| row.name.as_str()).collect()
        };
        assert_eq!(
            group("sled aof=everysec"),
            ["echo", "redis-server aof=everysec", "epoll-inline sled aof=everysec"]
        );
        assert!(!group("sled").contains(&"redis-server aof=everysec"));
    }

    #[test]
    fn storages_that_did_not_run_a_workload_have_no_chart_of_it() {
        let mut results = many(14);
        results
            .rows
            .iter_mut()
            .filter(|row| row.name.contains("sled"))
            .for_each(|row| row.cells.clear());
        let figures = figures(&results);
        assert!(figures.iter().any(|figure| figure.name == "get-throughput-fjall"));
        assert!(!figures.iter().any(|figure| figure.name.contains("sled")));
    }

    #[test]
    fn one_pipeline_gives_bars_and_several_give_lines() {
        let one = figures(&example());
        assert!(
            one[0].name == "get-throughput-p16" && one[0].label.contains("fast 1k/s"),
            "{one:?}"
        );
        let lines = figures(&many(3));
        assert!(lines[0].chart.inline("").contains("<polyline"));
    }

    #[test]
    fn what_was_not_measured_has_no_chart() {
        let mut results = example();
        for row in &mut results.rows {
            row.loaded = None;
            row.start_ms = None;
            row.cells[0].samples.iter_mut().for_each(|sample| sample.server = None);
        }
        let names: Vec<String> = figures(&results).into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["get-throughput-p16", "get-latency-p16"]);
        results.rows.iter_mut().for_each(|row| row.cells.clear());
        assert!(figures(&results).is_empty());
    }

    #[test]
    fn files_never_have_the_same_name() {
        let mut results = many(2);
        for row in &mut results.rows {
            let other = Cell { workload: "Get".into(), ..row.cells[0].clone() };
            row.cells = vec![row.cells[0].clone(), other];
        }
        let mut names: Vec<String> = figures(&results).into_iter().map(|f| f.name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
