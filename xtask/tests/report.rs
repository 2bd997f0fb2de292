//! A real run of `cargo xtask bench`, as small as it can be, and what it leaves behind: results
//! that can be read again, a report, and nothing on a standard error that is no terminal.

use std::path::Path;
use std::process::{Command, Output};

fn bench(dir: &Path, args: &[&str]) -> Output {
    let json = dir.join("results.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["bench", "--dir"]).arg(dir.join("data")).arg("--json").arg(json).args(args);
    command.output().unwrap()
}

/// Runs the echo server alone: it is part of this program.
fn run(dir: &Path) -> Output {
    let binary = env!("CARGO_BIN_EXE_xtask");
    let rows = ["--no-peers", "--runtimes", "none", "--storages", "memory", "--binary", binary];
    let size = ["--rounds", "1", "--seconds", "0.05", "--keys", "100", "--connections", "2"];
    let work = ["--workloads", "get", "--pipelines", "1,4"];
    bench(dir, &[&rows[..], &size, &work].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into()
}

#[test]
fn a_run_leaves_results_and_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "progress is for terminals");
    let page = std::fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(page.matches("<svg class=\"chart\"").count() >= 3, "{page}");
    assert!(page.contains(">echo<") && page.contains("none memory"), "{page}");

    // What was written is what the schema says, and gives the same page again.
    let json = dir.path().join("results.json");
    let again = bench(dir.path(), &["--from", json.to_str().unwrap()]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert_eq!(std::fs::read_to_string(dir.path().join("report.html")).unwrap(), page);

    // One field more, and it is refused, with the place.
    let written = std::fs::read_to_string(&json).unwrap();
    std::fs::write(&json, written.replacen("\"pipeline\"", "\"pipe\": 0, \"pipeline\"", 1))
        .unwrap();
    let refused = bench(dir.path(), &["--from", json.to_str().unwrap()]);
    assert!(!refused.status.success());
    let said = text(&refused.stderr);
    assert!(said.contains("rows[0].cells[0].pipe: not in the schema"), "{said}");
}

#[test]
fn the_page_goes_where_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path());
    let page = dir.path().join("folder/page.html");
    let json = dir.path().join("results.json");
    let args = ["--from", json.to_str().unwrap(), "--html", page.to_str().unwrap()];
    let output = bench(dir.path(), &args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(page.exists() && text(&output.stdout).contains("folder/page.html"));
}
