//! The texts a new command begins with.

use super::edit::indent;

/// The imports of a row from `engine::command`.
pub const ROW_IMPORTS: &[&str] = &["Flag::*", "Group", "SPEC", "Spec", "key"];

/// The parts of a value's type that the texts mention.
struct Kind {
    /// The variant of `Group`.
    group: &'static str,
    /// The word for a value of it.
    noun: &'static str,
    /// The transaction's access to a collection; none for strings.
    open: Option<&'static str>,
    /// A command that makes a key `k` of this type.
    sample: &'static str,
    /// A command that makes a key `other` of another type.
    other: &'static str,
}

/// One command's texts.
pub struct Template<'a> {
    family: &'a str,
    name: &'a str,
    function: &'a str,
    kind: Kind,
}

impl<'a> Template<'a> {
    /// `function` is the handler as the row names it.
    pub fn new(family: &'a str, name: &'a str, function: &'a str) -> Self {
        Template { family, name, function, kind: kind(family) }
    }

    fn shown(&self) -> String {
        self.name.to_ascii_uppercase()
    }

    /// The handler's own file, in a folder whose rows are elsewhere.
    pub fn file(&self) -> String {
        format!("//! {}.\n\n{}\n{}", self.shown(), self.imports(&[]), self.handler("pub "))
    }

    /// A file that has everything.
    pub fn file_with_rows(&self) -> String {
        let (shown, noun) = (self.shown(), self.kind.noun);
        let imports = self.imports(&[("engine::command", ROW_IMPORTS)]);
        let (handler, row) = (self.handler(""), self.row());
        format!(
            "//! Commands of the family {}: {shown}, the length of a {noun}.\n\n{imports}\n{handler}\n\
             /// The rows of this file.\npub const COMMANDS: &[Spec] = &[{row}];\n",
            self.family
        )
    }

    /// The imports of the handler, by path.
    pub fn handler_imports(&self) -> Vec<(&'static str, &'static [&'static str])> {
        let mut imports: Vec<(&'static str, &'static [&'static str])> =
            vec![("engine::cx", &["Cx"]), ("engine::failure", &["Outcome"])];
        if self.kind.open.is_some() {
            imports.push(("storage", &["Open"]));
        }
        imports
    }

    fn imports(&self, more: &[(&'static str, &'static [&'static str])]) -> String {
        let mut imports = more.to_vec();
        imports.extend(self.handler_imports());
        imports.iter().map(|(path, items)| super::edit::import(path, items)).collect()
    }

    /// The function: parse, operate, reply.
    pub fn handler(&self, visibility: &str) -> String {
        let (shown, noun, function) = (self.shown(), self.kind.noun, self.function);
        let operation = match self.kind.open {
            None => "let len = cx.tx.string_len(&key)?;".to_string(),
            Some(open) => format!(
                "let len = match cx.tx.{open}(&key, Open::Existing)? {{\n        \
                 Some(mut {noun}) => {noun}.len()?,\n        None => 0,\n    }};",
                noun = open
            ),
        };
        format!(
            "/// `{shown} key`: the length of a {noun}, 0 without the key.\n\
             {visibility}fn {function}(cx: &mut Cx<'_>) -> Outcome {{\n    \
             // Parse. That there is one argument, the row's arity has made sure.\n    \
             let key = cx.key(1);\n    \
             // Operate, on the keys the row declares. A write would say `cx.modified(…)`.\n    \
             {operation}\n    \
             let found = cx.tx.kind(&key)?.is_some();\n    \
             cx.looked_up(&key, found);\n    \
             // Reply, once.\n    \
             cx.reply.integer(len as i64);\n    \
             Ok(())\n}}\n"
        )
    }

    /// The row, not indented, without a comma.
    pub fn row(&self) -> String {
        let (name, noun) = (self.name, self.kind.noun);
        let fields = format!(
            "name: \"{name}\",\n\
             summary: \"Returns the length of a {noun}.\",\n\
             since: \"7.2.0\",\n\
             complexity: \"O(1)\",\n\
             arity: 2,\n\
             group: Group::{},\n\
             flags: &[Readonly, Fast],\n\
             keys: &[key(\"RO\", 1)],\n\
             syntax: \"key\",\n\
             handler: {},\n\
             ..SPEC\n",
            self.kind.group, self.function
        );
        format!("Spec {{\n{}}}", indent(&fields))
    }

    /// The golden script.
    pub fn golden(&self) -> String {
        let (shown, kind) = (self.shown(), &self.kind);
        format!(
            "# {shown}: the length of a {}. Steps marked @ours are not compared with Redis, which does\n\
             # not know this command; if it does, take the marks away.\n\
             # Commands: {shown}\n\
             @ours {shown} k\n{}\n@ours {shown} k\n\n\
             # Another type, and the wrong number of arguments.\n\
             {}\n@ours {shown} other\n@ours {shown}\n@ours {shown} k other\n",
            kind.noun, kind.sample, kind.other
        )
    }
}

fn kind(family: &str) -> Kind {
    let (noun, open, sample) = match family {
        "hash" => ("hash", Some("hash"), "HSET k field value"),
        "list" => ("list", Some("list"), "RPUSH k a b"),
        "set" => ("set", Some("set"), "SADD k a b"),
        "sorted_set" | "zset" => ("sorted set", Some("sorted_set"), "ZADD k 1 a"),
        _ => ("string", None, "SET k hello"),
    };
    let other = if open.is_some() { "SET other text" } else { "HSET other field value" };
    Kind { group: group(family), noun, open, sample, other }
}

/// The variant of `Group` a family's commands are in; what Redis has no group for is generic.
fn group(family: &str) -> &'static str {
    match family {
        "auth" | "connection" => "Connection",
        "bitmap" => "Bitmap",
        "cluster" => "Cluster",
        "geo" => "Geo",
        "hash" => "Hash",
        "hyperloglog" => "HyperLogLog",
        "list" => "List",
        "pubsub" => "PubSub",
        "scripting" => "Scripting",
        "server" => "Server",
        "set" => "Set",
        "sorted_set" | "zset" => "SortedSet",
        "stream" => "Stream",
        "string" => "String",
        "transactions" => "Transactions",
        _ => "Generic",
    }
}

/// The next steps with the files that were written, as text.
pub fn next_steps(family: &str, name: &str, script: &str, written: &[String]) -> String {
    let stem = script.rsplit('/').next().unwrap_or(script).trim_end_matches(".txt");
    let shown = name.to_ascii_uppercase();
    let mut text = String::new();
    for path in written {
        text.push_str(&format!("wrote {path}\n"));
    }
    text + &format!(
        "\n{shown} runs already. Next:\n\
         1. Accept what it answers, and read the transcript:\n   \
         INSTA_UPDATE=always cargo test --workspace --test golden {family}/{stem}\n\
         2. Try it:\n   \
         cargo run --release &  redis-cli SET k hello; redis-cli {shown} k\n\
         3. Make it the command you want: the handler, each field of the row, the script. Repeat 1.\n\
         4. cargo test --workspace\n\
         If Redis has the command: cargo xtask conformance {family}/{stem}\n\
         CONTRIBUTING.md says what a handler and a row must hold."
    )
}
