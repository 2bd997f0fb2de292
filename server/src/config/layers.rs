//! Puts the layers on top of each other.

use super::error::{ConfigError, Origin};
use super::structured::{self, Format};
use super::{command_line, environment};
use engine::config::{ConfigStore, Directive, Effect, Id, lookup};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest configuration file, in bytes; a larger one is refused.
const FILE_MAX: u64 = 64 << 20;

/// Lines of a redis.conf that stop the start, because what they ask for would be missed, and the reasons.
pub(super) const REFUSED: &[(&str, &str)] =
    &[("loadmodule", "Varve does not load modules"), ("sentinel", "Varve is no Sentinel")];

/// The reason why a line of this name is refused, if it is. Names with a dot are settings of modules.
fn reason_against(name: &str) -> Option<&'static str> {
    let name = if name.contains('.') { "loadmodule" } else { name };
    REFUSED.iter().find(|(refused, _)| *refused == name).map(|(_, reason)| *reason)
}

/// A directive in a layer, not yet parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub name: String,
    pub words: Vec<String>,
    pub origin: Origin,
}

/// The configuration a server starts with.
#[derive(Default)]
pub struct Loaded {
    /// All values.
    pub store: Arc<ConfigStore>,
    /// The file read, absolute, for `CONFIG REWRITE` and `INFO`; `None` without one and for standard
    /// input.
    pub file: Option<PathBuf>,
    /// The directives that some layer sets, be it to their default, and the last that does.
    pub given: BTreeMap<Id, Origin>,
    /// Warnings for the owner, one line each.
    pub warnings: Vec<String>,
    /// `rename-command` lines, in order: old name, new name (empty: the command is to be removed).
    /// They protect commands: a server that cannot apply them must not start.
    pub renamed_commands: Vec<(String, String)>,
    /// `user` lines, in order: name and rules of an ACL user each.
    /// They protect data: a server that cannot apply them must not start.
    pub users: Vec<Vec<String>>,
    /// The sources that were read, so that they can be read again; `None` for a configuration built
    /// by a program.
    pub sources: Option<Sources>,
}

/// The sources of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    args: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Sources {
    /// Reads all layers again. The environment is that of the start, because a process cannot be
    /// given another.
    ///
    /// # Errors
    /// Fails like [`load`], and for standard input, which cannot be read twice.
    pub fn read_again(&self) -> Result<Loaded, ConfigError> {
        if command_line::parse(&self.args)?.file.as_deref() == Some("-") {
            let origin = Origin::File("standard input".into(), 0);
            return Err(ConfigError::at(origin, "it cannot be read again"));
        }
        load(&self.args, self.environment.iter().cloned())
    }
}

/// Reads all layers: defaults, the file named by `args` (the words after the program's name), the
/// environment, then the options in `args`.
///
/// # Errors
/// Fails with the first error; the server should print it and exit with status 1.
pub fn load(
    args: &[String],
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, ConfigError> {
    let command_line = command_line::parse(args)?;
    let environment = environment::ours(environment);
    let sources = Sources { args: args.to_vec(), environment: environment.clone() };
    let (variables, warnings) = environment::parse(environment)?;
    let loaded = Loaded { warnings, sources: Some(sources), ..Loaded::default() };
    let mut layers = Layers { loaded, kept: BTreeSet::new() };
    if let Some(file) = &command_line.file {
        let settings = read_file(file, &mut layers.loaded)?;
        layers.apply(settings)?;
    }
    layers.apply(variables)?;
    layers.apply(command_line.settings)?;
    layers.warn_of_kept();
    Ok(layers.loaded)
}

/// The settings of the file; notes its path.
fn read_file(name: &str, loaded: &mut Loaded) -> Result<Vec<Setting>, ConfigError> {
    if name == "-" {
        let path = Path::new("standard input");
        let text = read_text(std::io::stdin().lock());
        let text = text.map_err(|error| ConfigError::at(Origin::File(path.into(), 0), error))?;
        return structured::parse(&text, path, Format::RedisConf);
    }
    let path = Path::new(name);
    let text = std::fs::File::open(path).and_then(read_text).map_err(|error| {
        let reason = format!("can't read the configuration file: {error}");
        ConfigError::at(Origin::File(path.to_owned(), 0), reason)
    })?;
    loaded.file = Some(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    structured::parse(&text, path, Format::of(path))
}

fn read_text(source: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    source.take(FILE_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_MAX {
        return Err(std::io::Error::other("it is longer than 64 MiB"));
    }
    Ok(text)
}

/// Lines that old files may hold; Redis 7 ignores them.
pub(super) const FORGOTTEN: &[&str] =
    &["list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands"];

struct Layers {
    loaded: Loaded,
    /// Directives that were set without effect.
    kept: BTreeSet<&'static str>,
}

impl Layers {
    /// Applies the settings of one layer, in order.
    fn apply(&mut self, settings: Vec<Setting>) -> Result<(), ConfigError> {
        // `save` lines of one layer add up; those of an earlier layer are replaced.
        let mut save = Vec::new();
        for setting in settings {
            match lookup(&setting.name) {
                Some((_, directive)) if directive.id == Id::Save => {
                    if setting.words == [""] {
                        save.clear();
                    }
                    save.extend(setting.words.iter().filter(|word| !word.is_empty()).cloned());
                    let words = if save.is_empty() { setting.words } else { save.clone() };
                    self.set(directive, &Setting { words, ..setting })?;
                }
                Some((_, directive)) => self.set(directive, &setting)?,
                None => self.other_line(setting)?,
            }
        }
        Ok(())
    }

    fn set(&mut self, directive: &'static Directive, setting: &Setting) -> Result<(), ConfigError> {
        let wrong = |reason| ConfigError::about(setting.origin.clone(), &setting.name, reason);
        if setting.words.is_empty() {
            return Err(wrong("it has no value".to_owned()));
        }
        let words: Vec<&str> = setting.words.iter().map(String::as_str).collect();
        self.loaded.store.load(directive, &words).map_err(wrong)?;
        self.loaded.given.insert(directive.id, setting.origin.clone());
        match directive.effect {
            Effect::Kept if !self.loaded.store.is_default(directive.id) => {
                self.kept.insert(directive.name);
            }
            _ => {
                self.kept.remove(directive.name);
            }
        }
        Ok(())
    }

    /// A line that is no directive with a value.
    fn other_line(&mut self, setting: Setting) -> Result<(), ConfigError> {
        let Setting { name, mut words, origin } = setting;
        let refuse = |reason: &str| Err(ConfigError::about(origin.clone(), &name, reason));
        let lower = name.to_ascii_lowercase();
        if let Some(reason) = reason_against(&lower) {
            return refuse(reason);
        }
        match (lower.as_str(), words.len()) {
            ("rename-command", 2) => {
                let new_name = words.pop().unwrap_or_default();
                let old_name = words.pop().unwrap_or_default();
                self.loaded.renamed_commands.push((old_name, new_name));
            }
            ("user", 1..) => self.loaded.users.push(words),
            ("rename-command" | "user", _) => return refuse("wrong number of arguments"),
            ("include", _) => return refuse("only files in redis.conf syntax include others"),
            (forgotten, 1) if FORGOTTEN.contains(&forgotten) => {
                self.loaded.warnings.push(format!("{origin}: '{name}' is out of use: ignored"));
            }
            _ => return Err(ConfigError::unknown(origin, &name)),
        }
        Ok(())
    }

    /// One warning for all directives without effect.
    fn warn_of_kept(&mut self) {
        if !self.kept.is_empty() {
            let names: Vec<_> = self.kept.iter().copied().collect();
            let warning = format!("kept, but without effect in Varve: {}", names.join(", "));
            self.loaded.warnings.push(warning);
        }
    }
}
