//! `--publish`: the measurements as documents, written by the program that made them.

use super::report;
use super::results::Results;
use anyhow::{Context, Result};
use std::path::Path;

/// In README.md, what stands between these two lines is generated.
const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// Writes `docs/benchmarks.md`, and the table of README.md if it has a place for it; returns
/// what was done, a line each.
pub fn publish(results: &Results, root: &Path) -> Result<Vec<String>> {
    let docs = root.join("docs");
    std::fs::create_dir_all(&docs)?;
    std::fs::write(docs.join("benchmarks.md"), document(results))?;
    let mut done = vec!["wrote docs/benchmarks.md".to_string()];
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

fn document(results: &Results) -> String {
    let (machine, settings) = (&results.machine, &results.settings);
    let known = |field: &Option<String>| field.clone().unwrap_or_else(|| "unknown".into());
    let mut text = format!(
        "# Benchmarks\n\nWritten by `cargo xtask bench --publish`; do not edit. Commit {}, {}, {} \
         cores, kernel {}.\n\n{} rounds of {} s per server, rows interleaved; {} keys of 16 bytes, \
         values of {} bytes; servers on cores {:?} with {} thread(s), load on cores {:?}. Medians \
         over the rounds. Ratios divide each round's pair; where the rounds disagree about which \
         server is ahead, they say so. CPU is the server's, user and system, from `/proc`; \
         `echo` is a server that does nothing but answer: the limit of this machine.\n",
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
    for grid in report::all(results) {
        text += &format!("\n{}", grid.markdown());
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

fn summary(results: &Results) -> String {
    report::ratios(results).iter().map(|grid| format!("{}\n", grid.markdown())).collect()
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
        publish(&example(), dir.path()).unwrap();
        let first = std::fs::read_to_string(&readme).unwrap();
        assert!(first.contains("| fast | redis-server | 0.50 (0.50–0.50) |"));
        publish(&example(), dir.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&readme).unwrap(), first);
        assert!(dir.path().join("docs/benchmarks.md").exists());
    }
}
