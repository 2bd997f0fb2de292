//! The configuration as text for people: the values with their origins, and the reference of all
//! directives.

use super::help::values;
use super::layers::{FORGOTTEN, REFUSED};
use super::{Loaded, quote_word};
use engine::config::rows::SECTIONS;
use engine::config::{ConfigStore, Directive, Effect, all};
use std::fmt::Write;

/// The values that `loaded` sets, one a line, with where each came from; all of them with `every`. Secrets are
/// not shown.
pub fn show(loaded: &Loaded, every: bool) -> String {
    let mut text = String::new();
    let rows = all().filter(|row| every || loaded.given.contains_key(&row.id));
    for row in rows.filter(|row| every || !row.hidden) {
        let value = match loaded.store.text(row.id) {
            secret if row.sensitive && !secret.is_empty() => "(secret)".to_owned(),
            value => quoted(row, &value),
        };
        let line = format!("{} {value}", row.name);
        let origin = loaded.given.get(&row.id).map_or("default".to_owned(), ToString::to_string);
        let effect = match row.effect {
            Effect::Kept if loaded.given.contains_key(&row.id) => ", without effect here",
            _ => "",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line:<48} # {origin}{effect}");
    }
    text
}

/// As it would stand in a file: directives of many words keep them apart.
fn quoted(row: &Directive, value: &str) -> String {
    match row.takes_many_words() && !value.is_empty() {
        true => value.to_owned(),
        false => quote_word(value),
    }
}

/// Every directive in Markdown: its values, its purpose, and its effect here.
pub fn reference() -> String {
    let store = ConfigStore::new();
    let mut text = String::from(HEAD);
    for section in SECTIONS {
        let rows: Vec<String> = section
            .directives
            .iter()
            .filter(|row| !row.hidden)
            .map(|row| line(row, &store))
            .collect();
        if !rows.is_empty() {
            let (title, rows) = (section.title, rows.concat());
            let _ = write!(
                text,
                "\n## {title}\n\n| directive | takes | default | here |\n| --- | --- | --- | --- |\n{rows}"
            );
        }
    }
    let _ = write!(text, "{FOOT}");
    for (name, reason) in REFUSED {
        let _ = writeln!(text, "| `{name}` | {reason}: refused, the server does not start |");
    }
    let forgotten = FORGOTTEN.join("`, `");
    let _ =
        writeln!(text, "| `{forgotten}` | out of use in Redis 7, too: ignored with a warning |");
    text
}

/// Lines of a file that are no directives with a value.
const FOOT: &str = "\n## In files only\n
| line | here |
| --- | --- |
| `include` | applied, in files in the syntax of redis.conf |
| `user` | a user of the ACL. Applied; in TOML, YAML and JSON a list of texts, each what follows `user` in a redis.conf |
| `rename-command` | applied |
";

const HEAD: &str = "# Configuration\n
Made from the registry by `varve config reference`; do not edit. Layers, later ones win: defaults, a file (`varve.toml`, `.yaml`, `.json`, anything else is
`redis.conf`), the environment (`VARVE_MAXMEMORY=1gb`; `VARVE_REQUIREPASS_FILE=/run/secrets/pass` takes what that file holds), the command line
(`--maxmemory 1gb`). `varve config check FILE` says what is wrong with one, `varve config show FILE` which value comes from where, and after a change
`varve config reload FILE`, or SIGHUP, applies what can change while the server runs; the log says what needs a restart.\n
*Applied*: it has its effect; *fixed*: only at the start. *Kept*: given back, without effect here and without loss; a warning says so.\n";

fn line(row: &Directive, store: &ConfigStore) -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let becomes = match row.effect {
        Effect::Applied if row.immutable => "applied, fixed".to_owned(),
        Effect::Applied => "applied".to_owned(),
        Effect::Kept => "kept".to_owned(),
    };
    let default = match store.text(row.id) {
        text if text.is_empty() => String::new(),
        text => format!("`{}`", cell(&text)),
    };
    let aliases = match row.aliases {
        [] => String::new(),
        names => format!(" (also `{}`)", names.join("`, `")),
    };
    format!(
        "| `{}`{aliases} | {} | {default} | {}. {becomes} |\n",
        row.name,
        cell(&values(row.kind)),
        cell(row.summary),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;
    use std::path::Path;

    #[test]
    fn every_value_says_where_it_came_from() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.conf");
        std::fs::write(&path, "\nport 7000\nrequirepass hush\nsave 1 2\nactiverehashing no\n")
            .unwrap();
        let file = path.display().to_string();
        let args = [&file, "--timeout", "9"].map(str::to_owned);
        let environment = [("VARVE_PORT".to_owned(), "7001".to_owned())];
        let loaded = load(&args, environment).unwrap();
        let shown = show(&loaded, false);
        let lines: Vec<Vec<&str>> =
            shown.lines().map(|line| line.split(" # ").map(str::trim).collect()).collect();
        for expected in [
            ["port 7001", "environment variable VARVE_PORT"],
            ["timeout 9", "command line"],
            ["requirepass (secret)", &format!("{file}:3")],
            ["save 1 2", &format!("{file}:4")],
            ["activerehashing no", &format!("{file}:5, without effect here")],
        ] {
            assert!(lines.iter().any(|line| line[..] == expected), "{expected:?} in\n{shown}");
        }
        assert_eq!(lines.len(), 5);
        let every = show(&loaded, true);
        assert!(every.contains("maxmemory 0 ") && every.contains("# default"), "{every}");
        assert!(!every.contains("hush"));
    }

    /// `UPDATE_DOCS=1 cargo test --workspace --lib the_reference` writes it.
    #[test]
    fn the_reference_is_of_today() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, reference()).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == reference(), "run `varve config reference >docs/configuration.md`");
    }
}
