//! `CONFIG REWRITE` of a TOML file: as for redis.conf, comments, order, headings and what still says the truth stay.

use super::layers::Setting;
use super::rewrite::{MARKER, render, says};
use super::structured::{Format, parse};
use engine::config::{ConfigStore, Directive, Kind, all, lookup, memory};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use toml_edit::{Array, DocumentMut, Item, TableLike, Value};

/// Brings the text of a TOML file up to date. `users` are lines as of redis.conf.
///
/// # Errors
/// Fails if the text is not such a file.
pub(super) fn rewritten(
    path: &Path,
    old: &str,
    store: &ConfigStore,
    users: &[impl AsRef<str>],
    every: bool,
) -> io::Result<String> {
    let settings = parse(old, path, Format::Toml).map_err(io::Error::other)?;
    let mut document: DocumentMut = old.parse().map_err(io::Error::other)?;
    let (users_now, told): (Vec<_>, Vec<_>) =
        settings.into_iter().partition(|setting| setting.name == "user");
    let told: BTreeMap<String, Setting> =
        told.into_iter().map(|setting| (setting.name.clone(), setting)).collect();
    update(document.as_table_mut(), store, &told);
    let missing = all().filter(|directive| !told.contains_key(directive.name));
    let none: [&Vec<String>; 0] = [];
    let missing = missing.filter(|directive| {
        every || !says(directive, none.into_iter(), &store.get(directive.id), store)
    });
    let mut added: Vec<(&str, Value)> =
        missing.filter_map(|directive| Some((directive.name, value(directive, store)?))).collect();
    added.extend(rewrite_users(&mut document, &users_now, users));
    append(&mut document, added, old.contains(MARKER));
    Ok(document.to_string())
}

/// Appends keys behind those before the first heading, under the marker unless it is there.
fn append(document: &mut DocumentMut, added: Vec<(&str, Value)>, is_marked: bool) {
    let root = document.as_table_mut();
    let first = added.first().map(|(name, _)| *name).filter(|_| !is_marked);
    for (name, value) in added {
        root.insert(name, Item::Value(value));
    }
    if let Some(mut key) = first.and_then(|name| root.key_mut(name)) {
        key.leaf_decor_mut().set_prefix(format!("{MARKER}\n"));
    }
}

/// Gives every directive of a table, and of those within it that are headings, its present value.
fn update(table: &mut dyn TableLike, store: &ConfigStore, told: &BTreeMap<String, Setting>) {
    let mut gone = Vec::new();
    for (key, item) in table.iter_mut() {
        let name = key.get().to_owned();
        let known = lookup(&name).or_else(|| lookup(&name.replace('_', "-")));
        match (known, item.as_table_like_mut()) {
            (None, Some(table)) => update(table, store, told),
            (None, None) => {}
            (Some((_, directive)), _) => {
                let words = told.get(directive.name).map(|setting| &setting.words).into_iter();
                if says(directive, words, &store.get(directive.id), store) {
                    continue;
                }
                match value(directive, store) {
                    Some(value) => replace(item, value),
                    None => gone.push(name),
                }
            }
        }
    }
    for name in gone {
        table.remove(&name);
    }
}

/// Puts a value in the place of another, whose comments stay.
fn replace(item: &mut Item, mut value: Value) {
    if let Some(old) = item.as_value() {
        *value.decor_mut() = old.decor().clone();
    }
    *item = Item::Value(value);
}

/// The value of a directive; nothing if it is one that is said by being absent.
fn value(directive: &Directive, store: &ConfigStore) -> Option<Value> {
    let text = store.text(directive.id);
    if directive.takes_many_words() {
        let lines = render(directive, store);
        let words = lines.iter().filter_map(|line| line.split_once(' ').map(|(_, words)| words));
        let words: Vec<_> = words.map(|words| if words == "\"\"" { "" } else { words }).collect();
        return (!lines.is_empty()).then(|| words.join(" ").into());
    }
    Some(match (directive.kind, text.parse::<i64>()) {
        (Kind::YesNo, _) => (&*text == "yes").into(),
        (Kind::Memory { .. }, _) => memory::shortest(store.memory(directive.id)).into(),
        (Kind::Integer { .. } | Kind::ZeroOr { .. }, Ok(number)) => number.into(),
        _ => text.to_string().into(),
    })
}

/// Brings the users of the file up to date; gives the key to append if it has none.
fn rewrite_users(
    document: &mut DocumentMut,
    now: &[Setting],
    users: &[impl AsRef<str>],
) -> Option<(&'static str, Value)> {
    let lines: Vec<&str> =
        users.iter().map(|line| line.as_ref().trim_start_matches("user ")).collect();
    let same = now.len() == lines.len()
        && now
            .iter()
            .zip(&lines)
            .all(|(user, line)| super::split_words(line).is_some_and(|words| words == user.words));
    let root = document.as_table_mut();
    match (root.get_mut("user"), lines.is_empty()) {
        _ if same => None,
        (_, true) => {
            root.remove("user");
            None
        }
        (Some(item), false) => {
            replace(item, Value::Array(Array::from_iter(lines)));
            None
        }
        (None, false) => Some(("user", Value::Array(Array::from_iter(lines)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: [&str; 0] = [];

    fn store(pairs: &[(&str, &[&str])]) -> ConfigStore {
        let store = ConfigStore::new();
        for (name, words) in pairs {
            store.load(lookup(name).unwrap().1, words).unwrap();
        }
        store
    }

    fn again(old: &str, store: &ConfigStore, users: &[&str]) -> String {
        rewritten(Path::new("a.toml"), old, store, users, false).unwrap()
    }

    const OLD: &str = "# mine\nport = 7000 # clients\nappendonly = true\n\n[limits] # of memory\n\
                       maxmemory = \"1024mb\"\nmaxclients = 20\n\n[client-output-buffer-limit]\n\
                       pubsub = [\"32mb\", \"8mb\", 60]\n";

    const TRUTH: &[(&str, &[&str])] = &[
        ("port", &["7000"]),
        ("appendonly", &["yes"]),
        ("maxmemory", &["1gb"]),
        ("maxclients", &["20"]),
    ];

    #[test]
    fn a_file_that_says_the_truth_stays_as_it_is() {
        assert_eq!(again(OLD, &store(TRUTH), &NOBODY), OLD);
    }

    #[test]
    fn changed_values_change_in_place_and_new_ones_come_before_the_headings() {
        let now = store(TRUTH);
        for (name, words) in [
            ("port", &["7001"][..]),
            ("appendonly", &["no"]),
            ("maxmemory", &["2gb"]),
            ("requirepass", &["a \"b\""]),
            ("save", &["900", "1", "60", "2"]),
            ("client-output-buffer-limit", &["pubsub", "64mb", "1000", "9"]),
        ] {
            now.load(lookup(name).unwrap().1, words).unwrap();
        }
        let new = again(OLD, &now, &["user default on nopass", "user a off"]);
        assert!(new.starts_with("# mine\nport = 7001 # clients\nappendonly = false\n"), "{new}");
        assert!(
            new.contains("[limits] # of memory\nmaxmemory = \"2gb\"\nmaxclients = 20\n"),
            "{new}"
        );
        assert_eq!(new.matches(MARKER).count(), 1, "{new}");
        assert!(new.find("requirepass = ").unwrap() < new.find("[limits]").unwrap(), "{new}");
        assert!(new.contains("user = [\"default on nopass\", \"a off\"]\n"), "{new}");
        let same = again(&new, &now, &["user default on nopass", "user a off"]);
        assert_eq!(same, new, "a second rewrite changes nothing");
        assert!(!again(&new, &now, &NOBODY).contains("user ="));
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("varve.toml");
        std::fs::write(&path, OLD).unwrap();
        let now = store(&[
            ("maxmemory", &["12345"]),
            ("notify-keyspace-events", &["KEA"]),
            ("requirepass", &["sp ace \n ü \\"]),
            ("client-output-buffer-limit", &["slave", "1", "2", "3"]),
            ("save", &[""]),
            ("bind", &["*", "-::*"]),
            ("oom-score-adj", &["absolute"]),
        ]);
        for every in [false, true] {
            super::super::rewrite(&path, &now, &[], every).unwrap();
            let loaded = super::super::load(&[path.to_str().unwrap().to_owned()], []).unwrap();
            assert_eq!(loaded.store.get_matching(&["*"]), now.get_matching(&["*"]));
        }
    }
}
