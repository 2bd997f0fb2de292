//! `CONFIG REWRITE` of a TOML file. As for redis.conf, comments, order, headings and what still says the truth stay; comments
//! within a list whose value changes do not.

use super::layers::Setting;
use super::rewrite::{MARKER, render, says};
use super::structured::{Format, parse};
use engine::config::{ConfigStore, Directive, Id, Kind, all, lookup, memory};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use toml_edit::{Array, DocumentMut, Item, TableLike, Value};

/// Brings the text of a TOML file up to date. `users` are lines as of redis.conf.
///
/// # Errors
/// Fails if the text is not such a file, or says a directive twice.
pub(super) fn rewritten(
    path: &Path,
    old: &str,
    store: &ConfigStore,
    users: &[impl AsRef<str>],
    every: bool,
) -> io::Result<String> {
    let settings = parse(old, path, Format::Toml).map_err(io::Error::other)?;
    let mut document: DocumentMut = old.parse().map_err(io::Error::other)?;
    let (users_told, told): (Vec<_>, Vec<_>) =
        settings.into_iter().partition(|setting| is_user(&setting.name));
    let mut rewrite =
        Rewrite { store, told: by_directive(told)?, users: changed_users(&users_told, users) };
    rewrite.update(document.as_table_mut());
    let added = rewrite.missing(every);
    append(&mut document, added, old.contains(MARKER));
    let new = document.to_string();
    Ok(if old.contains("\r\n") { new.replace("\r\n", "\n").replace('\n', "\r\n") } else { new })
}

/// Whether a key is that of users.
fn is_user(key: &str) -> bool {
    key.eq_ignore_ascii_case("user")
}

fn by_directive(told: Vec<Setting>) -> io::Result<BTreeMap<Id, Setting>> {
    let mut found = BTreeMap::new();
    for setting in told {
        let Some((_, directive)) = lookup(&setting.name) else { continue };
        let name = setting.name.clone();
        if found.insert(directive.id, setting).is_some() {
            return Err(io::Error::other(format!("the file says '{name}' twice")));
        }
    }
    Ok(found)
}

/// The lines of the users without the word `user`, unless the file says the same.
fn changed_users(told: &[Setting], users: &[impl AsRef<str>]) -> Option<Vec<String>> {
    let line = |user: &str| user.strip_prefix("user ").unwrap_or(user).to_owned();
    let lines: Vec<String> = users.iter().map(|user| line(user.as_ref())).collect();
    let is_told = |(user, line): (&Setting, &String)| {
        super::split_words(line).is_some_and(|words| words == user.words)
    };
    let same = told.len() == lines.len() && told.iter().zip(&lines).all(is_told);
    (!same).then_some(lines)
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

/// A rewrite under way.
struct Rewrite<'a> {
    store: &'a ConfigStore,
    /// The words that the file has for each directive.
    told: BTreeMap<Id, Setting>,
    /// The users for whom a place is to be found, if theirs are not right as they stand.
    users: Option<Vec<String>>,
}

impl Rewrite<'_> {
    /// Gives every directive of a table, and of those within it that are headings, its present value.
    fn update(&mut self, table: &mut dyn TableLike) {
        let mut gone = Vec::new();
        for (key, item) in table.iter_mut() {
            let name = key.get().to_owned();
            let known = lookup(&name).or_else(|| lookup(&name.replace('_', "-")));
            let stays = if is_user(&name) {
                self.place_users(item)
            } else if let Some((_, directive)) = known {
                self.update_one(directive, item)
            } else {
                item.as_table_like_mut().into_iter().for_each(|table| self.update(table));
                true
            };
            if !stays {
                gone.push(name);
            }
        }
        for name in gone {
            table.remove(&name);
        }
    }

    /// Gives one directive its value; false if it is said by being absent.
    fn update_one(&self, directive: &Directive, item: &mut Item) -> bool {
        let words = self.told.get(&directive.id).map(|setting| &setting.words).into_iter();
        if says(directive, words, &self.store.get(directive.id), self.store) {
            return true;
        }
        let Some(new) = value(directive, self.store) else { return false };
        match item.as_table_like_mut() {
            Some(classes) if directive.id == Id::ClientOutputBufferLimit => {
                update_limits(directive, self.store, classes);
            }
            _ => replace(item, new),
        }
        true
    }

    /// Puts the users where the file has some; false if they have a place already, or there are none.
    fn place_users(&mut self, item: &mut Item) -> bool {
        let Some(lines) = &mut self.users else { return true };
        let lines = std::mem::take(lines);
        if lines.is_empty() {
            return false;
        }
        replace(item, Value::Array(Array::from_iter(lines)));
        true
    }

    /// The keys that the file does not have and needs.
    fn missing(self, every: bool) -> Vec<(&'static str, Value)> {
        let (store, told) = (self.store, self.told);
        let none: [&Vec<String>; 0] = [];
        let is_missing = |directive: &&'static Directive| {
            let default = || says(directive, none.into_iter(), &store.get(directive.id), store);
            !told.contains_key(&directive.id) && (every || !default())
        };
        let named =
            |directive: &'static Directive| Some((directive.name, value(directive, store)?));
        let users = self.users.filter(|lines| !lines.is_empty());
        let users = users.map(|lines| ("user", Value::Array(Array::from_iter(lines))));
        all().filter(is_missing).filter_map(named).chain(users).collect()
    }
}

/// Puts a value in the place of another, whose comments stay.
fn replace(item: &mut Item, mut value: Value) {
    if let Some(old) = item.as_value() {
        *value.decor_mut() = old.decor().clone();
    }
    *item = Item::Value(value);
}

/// The limits of output buffers where each class is a key of a heading.
fn update_limits(directive: &Directive, store: &ConfigStore, classes: &mut dyn TableLike) {
    for line in render(directive, store) {
        let mut words = line.splitn(3, ' ').skip(1);
        let (Some(class), Some(limit)) = (words.next(), words.next()) else { continue };
        let old_name = class == "replica" && classes.contains_key("slave");
        let class = if old_name { "slave" } else { class };
        match classes.get_mut(class) {
            Some(item) => replace(item, limit.into()),
            None => drop(classes.insert(class, Item::Value(limit.into()))),
        }
    }
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
        assert!(new.contains("[client-output-buffer-limit]\npubsub = \"64mb 1000 9\"\n"), "{new}");
        let same = again(&new, &now, &["user default on nopass", "user a off"]);
        assert_eq!(same, new, "a second rewrite changes nothing");
        assert!(!again(&new, &now, &NOBODY).contains("user ="));
    }

    #[test]
    fn users_have_one_place_wherever_it_is() {
        let old = "USER = 'z off'\n[acl]\nuser = ['user on', 'b off'] # ours\n";
        let new = again(old, &store(&[]), &["user user off", "user on on"]);
        assert_eq!(new, "USER = [\"user off\", \"on on\"]\n[acl]\n");
        let headed = "[acl]\nuser = ['a on'] # ours\n";
        let new = again(headed, &store(&[]), &["user b off"]);
        assert_eq!(new, "[acl]\nuser = [\"b off\"] # ours\n");
        assert_eq!(again(headed, &store(&[]), &["user a on"]), headed);
        assert_eq!(again(headed, &store(&[]), &NOBODY), "[acl]\n");
    }

    #[test]
    fn other_names_of_a_directive_are_known() {
        let old = "slave_priority = 5\r\nhz = 10\r\n";
        let now = store(&[("replica-priority", &["7"])]);
        assert_eq!(again(old, &now, &NOBODY), "slave_priority = 7\r\nhz = 10\r\n");
        let twice = "save = '1 1'\n[a]\nsave = '2 2'\n";
        rewritten(Path::new("a.toml"), twice, &now, &NOBODY, false).unwrap_err();
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
