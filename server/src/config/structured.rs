//! TOML, YAML and JSON: the same directives as keys, grouped under headings or not.
//!
//! ```toml
//! port = 6380
//! appendonly = true
//! save = [[3600, 1], [300, 100]]        # or "3600 1 300 100"
//! user = ["alice on >secret ~* +@all"]  # each as a line of redis.conf
//! [limits]                              # headings are free
//! maxmemory = "1gb"
//! [client-output-buffer-limit]
//! pubsub = ["32mb", "8mb", 60]
//! ```

use super::error::{ConfigError, Origin};
use super::layers::Setting;
use super::redis_conf::split_words;
use engine::config::lookup;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::path::Path;

/// The language of a file, by its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Toml,
    Yaml,
    Json,
    RedisConf,
}

impl Format {
    pub(super) fn of(path: &Path) -> Format {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
        match extension.to_ascii_lowercase().as_str() {
            "toml" => Format::Toml,
            "yaml" | "yml" => Format::Yaml,
            "json" => Format::Json,
            _ => Format::RedisConf,
        }
    }
}

/// A value of any of the three formats.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Node {
    Flag(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Table(Table),
}

/// The keys of a table with their values, in order. A key may occur twice.
#[derive(Debug, Default)]
struct Table(Vec<(String, Node)>);

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Table;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Table, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Table(pairs))
            }
        }
        from.deserialize_map(Pairs)
    }
}

/// Reads the settings of a text.
pub(super) fn parse(text: &str, path: &Path, format: Format) -> Result<Vec<Setting>, ConfigError> {
    fn read<E: Display>(table: Result<Table, E>, path: &Path) -> Result<Table, ConfigError> {
        table.map_err(|error| ConfigError::at(Origin::File(path.to_owned(), 0), error))
    }
    let table = match format {
        Format::Toml => {
            read(toml::from_str(text).map_err(|error| without_text(&error, text)), path)?
        }
        Format::Yaml if text.trim().is_empty() => Table::default(),
        Format::Yaml => {
            let options = serde_saphyr::options! { with_snippet: false };
            read(serde_saphyr::from_str_with_options(text, options), path)?
        }
        Format::Json => read(serde_json::from_str(text), path)?,
        Format::RedisConf => return super::redis_conf::parse(text, path, 0),
    };
    let mut settings = Vec::new();
    for (key, node) in table.0 {
        flatten(key, node, text, path, &mut settings)?;
    }
    refuse_doubles(&settings)?;
    Ok(settings)
}

/// Headings are free, so a directive may stand below two of them, or be there under two names. Nobody can
/// have meant that one of the values is overridden: unlike lines of a redis.conf, keys have no order.
fn refuse_doubles(settings: &[Setting]) -> Result<(), ConfigError> {
    let mut seen = BTreeMap::new();
    for setting in settings {
        let Some((_, directive)) = lookup(&setting.name) else { continue };
        if let Some(first) = seen.insert(directive.id, setting) {
            let reason = match first.name == setting.name {
                true => "it is given twice, under whatever heading".to_owned(),
                false => format!("it is given twice, also as '{}'", first.name),
            };
            return Err(ConfigError::about(setting.origin.clone(), &setting.name, reason));
        }
    }
    Ok(())
}

/// The error of a TOML text, without its lines: they may hold a password.
fn without_text(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map_or(0, |span| text[..span.start].lines().count().max(1));
    format!("line {line}: {}", error.message())
}

/// Adds the setting of a key, or those under a heading.
fn flatten(
    key: String,
    node: Node,
    text: &str,
    path: &Path,
    settings: &mut Vec<Setting>,
) -> Result<(), ConfigError> {
    // Keys may have `_` where directives have `-`.
    let known = lookup(&key).or_else(|| lookup(&key.replace('_', "-")));
    let origin = Origin::File(path.to_owned(), line_of(&key, text));
    match (node, known) {
        (node, None) if key.eq_ignore_ascii_case("user") => add_users(&node, &origin, settings)?,
        (Node::Table(table), None) => {
            for (key, node) in table.0 {
                if matches!(node, Node::Table(_)) && lookup(&key).is_none() {
                    let reason = "headings cannot hold headings";
                    return Err(ConfigError::about(origin, &key, reason));
                }
                flatten(key, node, text, path, settings)?;
            }
        }
        (node, known) => {
            let many = known.is_some_and(|(_, directive)| directive.takes_many_words());
            let mut words = Vec::new();
            collect_words(&node, many, &mut words)
                .ok_or_else(|| ConfigError::about(origin.clone(), &key, "unbalanced quotes"))?;
            if words.is_empty() && many {
                words.push(String::new());
            }
            let name = known.map_or(key, |(name, _)| name.to_owned());
            settings.push(Setting { name, words, origin });
        }
    }
    Ok(())
}

/// Adds the setting of each user: a text, or each of a list, is what follows `user` in redis.conf.
fn add_users(node: &Node, origin: &Origin, settings: &mut Vec<Setting>) -> Result<(), ConfigError> {
    let wrong = |reason| ConfigError::about(origin.clone(), "user", reason);
    let nodes = match node {
        Node::List(nodes) => nodes,
        node => std::slice::from_ref(node),
    };
    for node in nodes {
        let Node::Text(line) = node else { return Err(wrong("only texts define users")) };
        let words = split_words(line).ok_or_else(|| wrong("unbalanced quotes"))?;
        settings.push(Setting { name: "user".into(), words, origin: origin.clone() });
    }
    Ok(())
}

/// The words of a value. Texts of directives with many words are split like a line.
fn collect_words(node: &Node, many: bool, words: &mut Vec<String>) -> Option<()> {
    match node {
        Node::Flag(flag) => words.push(if *flag { "yes" } else { "no" }.into()),
        Node::Signed(number) => words.push(number.to_string()),
        Node::Unsigned(number) => words.push(number.to_string()),
        Node::Float(number) => words.push(number.to_string()),
        Node::Text(text) if many => words.extend(split_words(text)?),
        Node::Text(text) => words.push(text.clone()),
        Node::List(nodes) => {
            nodes.iter().try_for_each(|node| collect_words(node, many, words))?;
        }
        Node::Table(table) => {
            for (key, node) in &table.0 {
                words.push(key.clone());
                collect_words(node, many, words)?;
            }
        }
    }
    Some(())
}

/// The line on which a key first occurs, 0 if it cannot be determined.
fn line_of(key: &str, text: &str) -> usize {
    let holds = |line: &str| {
        line.match_indices(key).any(|(at, _)| {
            let before = line[..at].trim_start_matches(['{', ' ', '\t', ',', '[', '"', '\'']);
            let after = line[at + key.len()..].trim_start_matches(['"', '\'', ' ', '\t']);
            before.is_empty() && after.starts_with(['=', ':', ']', '.'])
        })
    };
    text.lines().position(holds).map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(file: &str, text: &str) -> BTreeMap<String, String> {
        let path = Path::new(file);
        let settings = parse(text, path, Format::of(path)).unwrap();
        settings.into_iter().map(|setting| (setting.name, setting.words.join("|"))).collect()
    }

    fn expected(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, words)| ((*name).into(), (*words).into())).collect()
    }

    const SAME: &[(&str, &str)] = &[
        ("appendonly", "yes"),
        ("bind", "127.0.0.1|::1"),
        ("client-output-buffer-limit", "pubsub|32mb|8mb|60"),
        ("maxmemory", "1gb"),
        ("port", "6380"),
        ("requirepass", "a b"),
        ("save", "3600|1|300|100"),
    ];

    #[test]
    fn the_three_formats_say_the_same() {
        let toml = r#"
            port = 6380
            appendonly = true
            save = [[3600, 1], [300, 100]]
            requirepass = "a b"
            bind = "127.0.0.1 ::1"
            [limits]
            maxmemory = "1gb"
            [client-output-buffer-limit]
            pubsub = ["32mb", "8mb", 60]
        "#;
        let yaml = "
port: 6380
appendonly: yes
save: 3600 1 300 100
requirepass: a b
bind: [127.0.0.1, '::1']
limits:
  maxmemory: 1gb
client_output_buffer_limit:
  pubsub: 32mb 8mb 60
";
        let json = r#"{"port": 6380, "appendonly": true, "save": ["3600 1", "300 100"],
            "requirepass": "a b", "bind": ["127.0.0.1", "::1"], "limits": {"maxmemory": "1gb"},
            "client-output-buffer-limit": "pubsub 32mb 8mb 60"}"#;
        assert_eq!(settings("a.toml", toml), expected(SAME));
        assert_eq!(settings("a.YML", yaml), expected(SAME));
        assert_eq!(settings("a.json", json), expected(SAME));
    }

    #[test]
    fn each_text_is_a_user() {
        let path = Path::new("a.toml");
        let settings = parse("user = ['a on >\"b c\"', 'd off']", path, Format::Toml).unwrap();
        let words: Vec<_> = settings.iter().map(|setting| setting.words.join("|")).collect();
        assert_eq!(words, ["a|on|>b c", "d|off"]);
        assert!(settings.iter().all(|setting| setting.name == "user"));
        for wrong in ["user = 'a \"'", "[user]\na = 'on'", "USER = [['a', 'on']]", "user = 1"] {
            parse(wrong, path, Format::Toml).expect_err(wrong);
        }
    }

    #[test]
    fn nothing_in_a_list_or_text_means_none() {
        assert_eq!(settings("a.toml", "save = []"), expected(&[("save", "")]));
        assert_eq!(settings("a.toml", "save = ''"), expected(&[("save", "")]));
        assert_eq!(settings("a.yaml", "  \n"), expected(&[]));
    }

    #[test]
    fn a_directive_is_given_once() {
        for (file, text) in [
            ("a.toml", "port = 1\n[tls]\nport = 3\n"),
            ("a.toml", "[a]\nsave = '1 1'\n[b]\nsave = '2 2'\n"),
            ("a.yaml", "tls:\n  port: 3\nlimits:\n  port: 1\n"),
            ("a.yaml", "hash-max-ziplist-entries: 1\nhash-max-listpack-entries: 2\n"),
            ("a.json", "{\"port\": 1, \"port\": 2}"),
            ("a.json", "{\"a\": {\"server-cpulist\": \"0\", \"server_cpulist\": \"1\"}}"),
        ] {
            let path = Path::new(file);
            let error = parse(text, path, Format::of(path)).expect_err(text).to_string();
            assert!(error.contains("it is given twice"), "{error}");
        }
        let both = "{\"user\": \"a on\", \"users\": {\"user\": \"b on\"}}";
        assert_eq!(parse(both, Path::new("a.json"), Format::Json).unwrap().len(), 2);
    }

    #[test]
    fn a_broken_file_is_one_line_with_its_place() {
        for (file, text) in [("a.toml", "port = \n"), ("a.yaml", "a: [1"), ("a.json", "{\"a\": }")]
        {
            let path = Path::new(file);
            let error = parse(text, path, Format::of(path)).unwrap_err().to_string();
            assert!(error.starts_with(file) && error.contains("line 1"), "{error}");
            assert_eq!(error.lines().count(), 1);
        }
    }

    #[test]
    fn a_broken_file_is_not_quoted() {
        for (file, text) in [
            ("a.toml", "requirepass = \"hunter2\nport = 1"),
            ("a.toml", "requirepass = hunter2\n"),
            ("a.toml", "requirepass = \"a\" \"hunter2\"\n"),
            ("a.toml", "requirepass = \"a\"\nrequirepass = \"hunter2\"\n"),
            ("a.yaml", "requirepass: \"hunter2\nport: 1"),
            ("a.yaml", "requirepass: {hunter2\n"),
            ("a.yaml", "requirepass: 'a' hunter2\n"),
            ("a.json", "{\"requirepass\": \"a\" \"hunter2\"}"),
            ("a.json", "{\"requirepass\": \"hunter2"),
            ("a.json", "{\"requirepass\": hunter2}"),
            ("a.conf", "requirepass \"hunter2\n"),
        ] {
            let path = Path::new(file);
            let error = parse(text, path, Format::of(path)).expect_err(text).to_string();
            assert!(!error.contains("hunter"), "{error}");
        }
    }

    #[test]
    fn keys_are_found_on_their_line() {
        assert_eq!(line_of("port", "# port\nport = 1\n"), 2);
        assert_eq!(line_of("port", "{\n  \"tls-port\": 1,\n  \"port\": 2}"), 3);
        assert_eq!(line_of("a", "b = 1"), 0);
    }
}
