//! [`Script`]: the steps of a golden script, parsed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// How a step's answer is written down or compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Elements in sorted order.
    pub sorted: bool,
    /// Only the answer's type.
    pub shape: bool,
    /// Not compared with an oracle older than Redis 7.2.
    pub newer: bool,
    /// Not compared with an oracle.
    pub ours: bool,
    /// Numbers of clients are shown as their names.
    pub ids: bool,
}

/// The action of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A client sends a command.
    Send {
        /// The client; empty for the main one.
        client: String,
        /// The command and its arguments.
        args: Vec<Vec<u8>>,
    },
    /// Milliseconds pass.
    Advance(u64),
    /// A client closes its connection.
    Bye(String),
}

/// One line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The line without its marks, as it is shown.
    pub text: String,
    /// Its action; `None` for comments and empty lines, which are only shown.
    pub action: Option<Action>,
    /// How its answer is treated.
    pub mark: Mark,
}

/// A parsed script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// `family/name`.
    pub name: String,
    /// Its lines.
    pub steps: Vec<Step>,
}

/// A line that is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// The script.
    pub script: String,
    /// Counted from one.
    pub line: usize,
    /// A description of the error.
    pub reason: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.script, self.line, self.reason)
    }
}

impl std::error::Error for ScriptError {}

impl Script {
    /// Parses the text of a script.
    ///
    /// # Errors
    /// Fails at the first line that is not understood.
    pub fn parse(name: &str, text: &str) -> Result<Script, ScriptError> {
        let step = |(number, line): (usize, &str)| {
            Step::parse(line).map_err(|reason| ScriptError {
                script: name.to_owned(),
                line: number + 1,
                reason,
            })
        };
        let steps = text.lines().enumerate().map(step).collect::<Result<_, _>>()?;
        Ok(Script { name: name.to_owned(), steps })
    }

    /// Reads `root/family/name.txt`.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or parsed.
    pub fn read(root: &Path, name: &str) -> io::Result<Script> {
        let text = std::fs::read_to_string(root.join(name).with_extension("txt"))?;
        Script::parse(name, &text).map_err(io::Error::other)
    }

    /// The commands that the script is about, as the table has them (`get`, `client|id`): those that its
    /// line `# Commands: GET, CLIENT ID` names.
    pub fn subjects(&self) -> impl Iterator<Item = String> {
        let lists = self.steps.iter().filter_map(|step| step.text.strip_prefix("# Commands: "));
        lists.flat_map(|list| list.split(", ")).map(|name| name.to_lowercase().replace(' ', "|"))
    }

    /// Names of all commands sent, as the table may have them, each word by itself and with the one behind
    /// it: `get` and `get|k`, `client` and `client|id`.
    pub fn sent(&self) -> impl Iterator<Item = String> {
        let word = |arg: &[u8]| String::from_utf8_lossy(arg).to_lowercase();
        let names = move |step: &Step| match &step.action {
            Some(Action::Send { args, .. }) => {
                let name = word(args.first().map_or(&[], Vec::as_slice));
                let both = args.get(1).map(|second| format!("{name}|{}", word(second)));
                [Some(name), both]
            }
            _ => [None, None],
        };
        self.steps.iter().flat_map(names).flatten()
    }
}

impl Step {
    fn parse(line: &str) -> Result<Step, String> {
        let mut mark = Mark::default();
        let mut rest = line.trim();
        if rest.is_empty() || rest.starts_with('#') {
            return Ok(Step { text: rest.to_owned(), action: None, mark });
        }
        while let Some(word) = rest.split_whitespace().next().filter(|w| w.starts_with('@')) {
            let behind = rest[word.len()..].trim_start();
            match word {
                "@sorted" => mark.sorted = true,
                "@shape" => mark.shape = true,
                "@newer" => mark.newer = true,
                "@ours" => mark.ours = true,
                "@ids" => mark.ids = true,
                "@advance" => {
                    let ms = behind.parse().map_err(|_| "@advance takes milliseconds")?;
                    let action = Some(Action::Advance(ms));
                    return Ok(Step { text: rest.to_owned(), action, mark });
                }
                "@bye" => {
                    let action = Some(Action::Bye(behind.to_owned()));
                    return Ok(Step { text: rest.to_owned(), action, mark });
                }
                other => return Err(format!("unknown mark {other}")),
            }
            rest = behind;
        }
        let (client, command) = split_client(rest);
        let args = resp::split_words(command.as_bytes()).ok_or("unbalanced quotes")?;
        if args.is_empty() {
            return Err("no command".into());
        }
        let action = Some(Action::Send { client: client.to_owned(), args });
        Ok(Step { text: rest.to_owned(), action, mark })
    }
}

/// `b: GET k` → (`b`, `GET k`).
fn split_client(line: &str) -> (&str, &str) {
    match line.split_once(": ") {
        Some((name, command))
            if name.len() <= 8 && name.bytes().all(|b| b.is_ascii_lowercase()) =>
        {
            (name, command)
        }
        _ => ("", line),
    }
}

/// Names (`family/name`) of all scripts below a folder, sorted.
///
/// # Errors
/// Fails if a folder cannot be read.
pub fn scripts_under(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for family in sorted_entries(root)? {
        if family.is_dir() {
            names.extend(sorted_entries(&family)?.iter().filter_map(|file| name_of(root, file)));
        }
    }
    Ok(names)
}

fn sorted_entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.sort();
    Ok(paths)
}

fn name_of(root: &Path, file: &Path) -> Option<String> {
    let relative = file.strip_prefix(root).ok()?.to_str()?;
    Some(relative.strip_suffix(".txt")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_clients_and_quotes() {
        let script =
            Script::parse("t", "# hi\n\n@newer @sorted b: SADD s \"a b\"\n@advance 5").unwrap();
        assert_eq!(script.steps[0].action, None);
        let mark = Mark { sorted: true, newer: true, ..Mark::default() };
        assert_eq!(script.steps[2].mark, mark);
        let args = vec![b"SADD".to_vec(), b"s".to_vec(), b"a b".to_vec()];
        assert_eq!(script.steps[2].action, Some(Action::Send { client: "b".into(), args }));
        assert_eq!(script.steps[3].action, Some(Action::Advance(5)));
    }

    #[test]
    fn what_is_not_understood_names_the_line() {
        let error = Script::parse("t", "PING\n@nonsense PING").unwrap_err();
        assert_eq!(error.line, 2);
        assert!(Script::parse("t", "SET \"open").is_err());
    }
}
