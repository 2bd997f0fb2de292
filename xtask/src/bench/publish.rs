//! `--publish`: the measurements as documents, written by the program that made them.

use super::figures::{self, Block, Figure, Section};
use super::report;
use super::results::Results;
use anyhow::{Context, Result};
use std::path::Path;

/// In README.md, what stands between these two lines is generated.
const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// More figures than these are too many for a document.
const FIGURES: usize = 6;

/// Where the charts are, as seen from `docs`.
const CHARTS: &str = "charts";

/// Writes `docs/benchmarks.md` with its charts, and the table in README.md if there is a place for
/// it. Returns one line for each thing that was done.
pub fn publish(results: &Results, root: &Path) -> Result<Vec<String>> {
    let docs = root.join("docs");
    let sections = figures::sections(results)?;
    let count = charts(&sections, &docs.join(CHARTS))?;
    std::fs::write(docs.join("benchmarks.md"), document(results, &sections))?;
    let mut done = vec![format!("wrote docs/benchmarks.md and {count} charts")];
    let readme = root.join("README.md");
    let text = std::fs::read_to_string(&readme).unwrap_or_default();
    match between(&text, &summary(results)) {
        Some(new) => {
            std::fs::write(&readme, new).context("README.md")?;
            done.push("wrote the table of README.md".into());
        }
        None => done.push(format!("README.md has no lines {BEGIN} and {END}: left alone")),
    }
    Ok(done)
}

/// Writes every chart as a file, and removes those of earlier runs; returns how many there are.
fn charts(sections: &[Section], dir: &Path) -> Result<usize> {
    std::fs::create_dir_all(dir)?;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "svg") {
            std::fs::remove_file(path)?;
        }
    }
    let blocks = sections.iter().flat_map(|section| &section.blocks);
    let mut count = 0;
    for figure in blocks.flat_map(shown) {
        let path = dir.join(format!("{}.svg", figure.name));
        std::fs::write(path, figure.chart.standalone(&figure.title, &figure.label))?;
        count += 1;
    }
    Ok(count)
}

/// The figures of a block a document has room for: all, or those of its first and last pipeline.
fn shown(block: &Block) -> Vec<&Figure> {
    let depths: Vec<&[Figure]> = block.by_depth().collect();
    match depths.as_slice() {
        [first, .., last] if block.figures.len() > FIGURES => first.iter().chain(*last).collect(),
        _ => block.figures.iter().collect(),
    }
}

fn document(results: &Results, sections: &[Section]) -> String {
    let (machine, settings) = (&results.machine, &results.settings);
    let known = |field: &Option<String>| field.clone().unwrap_or_else(|| "unknown".into());
    let mut text = format!(
        "# Benchmarks\n\nWritten by `cargo xtask bench --publish`; do not edit. Commit {}, {}, {} \
         cores, kernel {}.\n\n{} rounds of {} s per server, rows interleaved; {} keys of 16 bytes, \
         values of {} bytes; servers on cores {:?} with {} thread(s), load on cores {:?}. Medians \
         over the rounds. Ratios divide each round's pair; where the rounds disagree about which \
         server is ahead, they say so. CPU is the server's, user and system, from `/proc`; \
         `echo` only answers: the limit of this machine. The worst commands: [worst.md](worst.md).\n",
        known(&machine.commit),
        known(&machine.cpu),
        machine.cores,
        known(&machine.kernel),
        settings.rounds,
        settings.seconds,
        settings.keys,
        settings.value_size,
        settings.server_cores,
        settings.threads,
        settings.load_cores,
    );
    for section in sections {
        text += &format!("\n## {}\n", section.title);
        for block in &section.blocks {
            text += &format!("\n### {}\n\n{}\n\n", block.title, block.about);
            for figure in shown(block) {
                let words = figure.title.replace(['[', ']', '\\'], " ");
                text += &format!("![{words}]({CHARTS}/{}.svg)\n", figure.name);
            }
        }
        for grid in &section.grids {
            text += &format!("\n{}", grid.markdown());
        }
    }
    let notes = report::notes(results);
    if !notes.is_empty() {
        text += "\n";
    }
    for note in notes {
        text += &format!("- {note}\n");
    }
    text
}

/// The ratios a reader looks for first: everything in memory, nothing durable. `docs/benchmarks.md`
/// has the rest.
fn summary(results: &Results) -> String {
    let mut results = results.clone();
    results.rows.retain(figures::is_plain);
    report::ratios(&results).iter().map(|grid| format!("{}\n", grid.markdown())).collect()
}

/// `text` with `content` between the markers, `None` when it lacks them.
fn between(text: &str, content: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{content}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::example;
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(between(&text, "new\n").unwrap(), format!("a\n{BEGIN}\n\nnew\n{END}\nb\n"));
        assert_eq!(between("no markers", "x"), None);
    }

    #[test]
    fn publishing_twice_gives_the_same_files() {
        let dir = tempfile::tempdir().unwrap();
        let readme = dir.path().join("README.md");
        std::fs::write(&readme, format!("# x\n{BEGIN}\n{END}\n")).unwrap();
        let stale = dir.path().join("docs/charts/of-an-earlier-run.svg");
        std::fs::create_dir_all(stale.parent().unwrap()).unwrap();
        std::fs::write(&stale, "").unwrap();
        publish(&example(), dir.path()).unwrap();
        assert!(!stale.exists());
        let first = std::fs::read_to_string(&readme).unwrap();
        assert!(first.contains("| fast | redis-server | 0.50 (0.50–0.50) |"));
        publish(&example(), dir.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&readme).unwrap(), first);
        let document = std::fs::read_to_string(dir.path().join("docs/benchmarks.md")).unwrap();
        let charts = std::fs::read_dir(dir.path().join("docs/charts")).unwrap().count();
        assert_eq!(document.matches("](charts/").count(), charts);
        assert!(charts > 2);
    }
}
