//! Rules about the crates that Varve is built from: their licences, where they come from, and which
//! are banned, as `deny.toml` says. That is the file of cargo-deny, which knows the advisories as well
//! and has to be installed; this needs only cargo.

use super::tree::{Tree, Violation};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use toml::Table;

const FILE: &str = "deny.toml";
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks every crate of the lock file.
///
/// # Errors
/// There is no `deny.toml`, or cargo cannot say what the crates are.
pub fn check(root: &Path, tree: &Tree) -> Result<Vec<Violation>> {
    let file = tree.file(FILE).with_context(|| format!("there is no {FILE}"))?;
    let rules = Rules::parse(&file.text.parse().context(FILE)?)?;
    let metadata = metadata(root)?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let objections = packages.iter().flat_map(|package| rules.objections(package));
    Ok(objections.map(|what| Violation::new(FILE, 1, "supply", what)).collect())
}

fn metadata(root: &Path) -> Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--format-version", "1", "--locked"];
    let output = Command::new(cargo).args(arguments).current_dir(root).output()?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata")
}

fn named(entry: &toml::Value) -> Result<String> {
    let name = entry.as_str().or_else(|| entry.get("crate")?.as_str());
    name.map(str::to_owned).with_context(|| format!("{FILE}: {entry} is not understood"))
}

/// The rules of `deny.toml`.
struct Rules {
    licences: Vec<String>,
    banned: Vec<String>,
}

impl Rules {
    /// # Errors
    /// A list is missing, or has an entry that is neither a text nor a table with a `crate`.
    fn parse(table: &Table) -> Result<Rules> {
        let list = |section: &str, key: &str| {
            let list = table.get(section).and_then(|section| section.get(key)?.as_array());
            let list = list.with_context(|| format!("{FILE} has no list {section}.{key}"))?;
            list.iter().map(named).collect::<Result<Vec<_>>>()
        };
        Ok(Rules { licences: list("licenses", "allow")?, banned: list("bans", "deny")? })
    }

    /// The objections to a package of `cargo metadata`.
    fn objections(&self, package: &Value) -> Vec<String> {
        let name = package["name"].as_str().unwrap_or_default();
        let mut found = Vec::new();
        if self.banned.iter().any(|banned| banned == name) {
            found.push(format!("{name} is banned"));
        }
        // Without a source it is of this workspace.
        if package["source"].as_str().is_some_and(|source| source != REGISTRY) {
            found.push(format!("{name} is not from crates.io"));
        }
        match package["license"].as_str() {
            None => found.push(format!("{name} names no licence")),
            Some(licence) if !self.permits(licence) => {
                found.push(format!("{name} has the licence {licence}"));
            }
            Some(_) => {}
        }
        found
    }

    /// Whether an SPDX expression can be satisfied with the licences that are allowed. `AND` binds
    /// closer than `OR`, for which older crates write `/`.
    fn permits(&self, expression: &str) -> bool {
        let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
        let mut words = spaced.split_whitespace().peekable();
        self.any_of(&mut words) && words.next().is_none()
    }

    fn any_of(&self, words: &mut Words<'_>) -> bool {
        let mut permitted = self.all_of(words);
        while words.next_if_eq(&"OR").is_some() {
            permitted |= self.all_of(words);
        }
        permitted
    }

    fn all_of(&self, words: &mut Words<'_>) -> bool {
        let mut permitted = self.one(words);
        while words.next_if_eq(&"AND").is_some() {
            permitted &= self.one(words);
        }
        permitted
    }

    fn one(&self, words: &mut Words<'_>) -> bool {
        if words.next_if_eq(&"(").is_some() {
            let permitted = self.any_of(words);
            return permitted & words.next_if_eq(&")").is_some();
        }
        let mut name = words.next().unwrap_or_default().to_owned();
        if words.next_if_eq(&"WITH").is_some() {
            name = format!("{name} WITH {}", words.next().unwrap_or_default());
        }
        self.licences.contains(&name)
    }
}

type Words<'w> = std::iter::Peekable<std::str::SplitWhitespace<'w>>;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules() -> Rules {
        let text = "[licenses]\nallow = [\"MIT\", \"ISC\", \"Apache-2.0 WITH LLVM-exception\"]\n\
                    [bans]\ndeny = [{ crate = \"openssl-sys\" }]\n";
        Rules::parse(&text.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_list_that_is_not_understood_is_no_empty_one() {
        let parsed = |text: &str| Rules::parse(&text.parse().unwrap()).is_ok();
        let licences = "[licenses]\nallow = [\"MIT\"]\n";
        assert!(parsed(&format!("{licences}[bans]\ndeny = [\"openssl-sys\"]\n")));
        assert!(!parsed(&format!("{licences}[bans]\ndeny = [{{ krate = \"openssl-sys\" }}]\n")));
        assert!(!parsed(&format!("{licences}[ban]\ndeny = []\n")));
    }

    #[test]
    fn a_licence_expression_is_read_as_spdx_says() {
        let rules = rules();
        for good in ["MIT", "MIT/GPL-3.0", "GPL-3.0 OR MIT AND ISC", "(GPL-3.0 OR MIT) AND ISC"] {
            assert!(rules.permits(good), "{good}");
        }
        assert!(rules.permits("Apache-2.0 WITH LLVM-exception OR Apache-2.0"));
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT", "MIT)", "", "MIT GPL-3.0"] {
            assert!(!rules.permits(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_banned_or_from_elsewhere_is_found() {
        let objections = |name: &str, source: Value, licence: Value| {
            let package = json!({ "name": name, "source": source, "license": licence });
            rules().objections(&package).len()
        };
        assert_eq!(objections("resp", Value::Null, json!("MIT")), 0);
        assert_eq!(objections("bytes", json!(REGISTRY), json!("MIT")), 0);
        assert_eq!(objections("openssl-sys", json!(REGISTRY), json!("MIT")), 1);
        assert_eq!(objections("bytes", json!("git+https://example.org"), Value::Null), 2);
    }
}
