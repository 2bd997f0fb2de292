//! `cargo xtask new-command FAMILY NAME`: a handler, a row and a golden script that run at once.
//!
//! It writes a small but complete command (`NAME key`, which replies with the length of a value),
//! to be changed into the intended one. `CONTRIBUTING.md` describes the next steps.

mod edit;
mod template;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use engine::command::CommandTable;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use template::Template;

/// Write a command to start from: a handler, a row and a golden script that run at once
#[derive(Args)]
pub struct NewCommandArgs {
    /// The family: a file or folder in commands/src, made if it is not there
    family: String,
    /// The command's name
    name: String,
}

const FAMILIES: &str = "commands/src";

/// Words that cannot be the name of a function or a module.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Writes the files and says what to do with them.
pub fn run(args: &NewCommandArgs, root: &Path) -> Result<()> {
    let name = args.name.to_ascii_lowercase();
    let table = CommandTable::new(commands::all()).context("the table of commands")?;
    ensure!(table.find(name.as_bytes()).is_none(), "there is a command named {name} already");
    let mut tree = Tree::new(root);
    let script = scaffold(&mut tree, &args.family, &name)?;
    let written = tree.save()?;
    format(root, &written);
    let next = template::next_steps(&args.family, &name, &script, &written);
    println!("{next}");
    Ok(())
}

/// The project's files, with changes that are not on disk yet: all are made, or none.
struct Tree {
    root: PathBuf,
    changed: BTreeMap<String, String>,
}

impl Tree {
    fn new(root: &Path) -> Self {
        Tree { root: root.to_path_buf(), changed: BTreeMap::new() }
    }

    fn exists(&self, path: &str) -> bool {
        self.changed.contains_key(path) || self.root.join(path).exists()
    }

    fn read(&self, path: &str) -> Result<String> {
        if let Some(text) = self.changed.get(path) {
            return Ok(text.clone());
        }
        std::fs::read_to_string(self.root.join(path)).with_context(|| format!("reading {path}"))
    }

    fn create(&mut self, path: &str, text: String) -> Result<()> {
        ensure!(!self.exists(path), "{path} is there already");
        self.changed.insert(path.to_string(), text);
        Ok(())
    }

    /// Changes a file; what `edit` cannot find is an error that names the file.
    fn edit(&mut self, path: &str, edit: impl FnOnce(&str) -> Result<String>) -> Result<()> {
        let text = edit(&self.read(path)?).with_context(|| format!("changing {path}"))?;
        self.changed.insert(path.to_string(), text);
        Ok(())
    }

    fn save(&self) -> Result<Vec<String>> {
        for (path, text) in &self.changed {
            let path = self.root.join(path);
            let folder = path.parent().context("a file in a folder")?;
            std::fs::create_dir_all(folder)?;
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(self.changed.keys().cloned().collect())
    }
}

/// Imports may need other line breaks than they got; a toolchain without rustfmt does without.
fn format(root: &Path, written: &[String]) {
    let rust = written.iter().filter(|path| path.ends_with(".rs"));
    let status =
        Command::new("rustfmt").args(["--edition", "2024"]).args(rust).current_dir(root).status();
    if !status.is_ok_and(|status| status.success()) {
        eprintln!("rustfmt could not be run: run `cargo fmt` when it can");
    }
}

/// Where a family keeps what is to be written.
enum Layout {
    /// A folder: the handler in a file of its own, the row in the list of the file `rows`.
    Folder { rows: String },
    /// One file: the handler in front of the rows.
    File(String),
    /// A list of lists of rows (`ALL` of the file `registry`): a new file with both.
    Registry { registry: String, folder: String },
}

fn layout(tree: &Tree, family: &str) -> Result<Layout> {
    let (file, folder) = (format!("{FAMILIES}/{family}.rs"), format!("{FAMILIES}/{family}"));
    let main = format!("{folder}/mod.rs");
    if tree.exists(&file) {
        let registered = tree.read(&format!("{FAMILIES}/lib.rs"))?;
        ensure!(registered.contains(&format!(" {family}::COMMANDS,")), "{family} is no family");
        ensure!(edit::has_rows(&tree.read(&file)?), "{file} has no list of rows to add to");
        return Ok(Layout::File(file));
    }
    if !tree.exists(&main) {
        let registry = format!("{FAMILIES}/lib.rs");
        return Ok(Layout::Registry { registry, folder: FAMILIES.to_string() });
    }
    if edit::has_registry(&tree.read(&main)?) {
        return Ok(Layout::Registry { registry: main, folder });
    }
    for rows in [main, format!("{folder}/rows.rs")] {
        if tree.exists(&rows) && edit::has_rows(&tree.read(&rows)?) {
            return Ok(Layout::Folder { rows });
        }
    }
    bail!("{folder} has no list of rows to add to")
}

/// Makes all changes in `tree`; the golden script's path.
fn scaffold(tree: &mut Tree, family: &str, name: &str) -> Result<String> {
    check_name(family, "_")?;
    check_name(name, "_.-")?;
    ensure!(!KEYWORDS.contains(&family), "{family} is a word of Rust's: choose another family");
    match layout(tree, family)? {
        Layout::Registry { registry, folder } => in_new_file(tree, family, name, registry, folder)?,
        Layout::Folder { rows } => in_folder(tree, family, name, &rows)?,
        Layout::File(file) => in_file(tree, family, name, &file)?,
    }
    let script = format!("golden/scripts/{family}/{}.txt", identifier(name));
    tree.create(&script, Template::new(family, name, "").golden())?;
    Ok(script)
}

fn check_name(name: &str, also: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || also.contains(c);
    let fine = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(allowed);
    ensure!(fine, "{name:?} is no name: letters in lower case, digits and any of {also}");
    Ok(())
}

/// A name as Rust takes it.
fn identifier(name: &str) -> String {
    let plain = name.replace(['.', '-'], "_");
    if KEYWORDS.contains(&plain.as_str()) { format!("{plain}_command") } else { plain }
}

/// [`identifier`], or another if that one is `taken`.
fn free_identifier(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let identifier = identifier(name);
    if taken(&identifier) { format!("{identifier}_command") } else { identifier }
}

fn in_new_file(
    tree: &mut Tree,
    family: &str,
    name: &str,
    registry: String,
    folder: String,
) -> Result<()> {
    // In `commands/src` itself the file is the family; elsewhere it is one command of it.
    let top = folder == FAMILIES;
    let module = if top {
        family.to_string()
    } else {
        free_identifier(name, |module| tree.exists(&format!("{folder}/{module}.rs")))
    };
    let function = identifier(name);
    let template = Template::new(family, name, &function);
    tree.create(&format!("{folder}/{module}.rs"), template.file_with_rows())?;
    tree.edit(&registry, |text| {
        let text = edit::add_module(text, if top { "pub " } else { "" }, &module)?;
        edit::add_to_registry(&text, &module)
    })
}

fn in_folder(tree: &mut Tree, family: &str, name: &str, rows: &str) -> Result<()> {
    let folder = format!("{FAMILIES}/{family}");
    let module = free_identifier(name, |module| tree.exists(&format!("{folder}/{module}.rs")));
    let function = identifier(name);
    let template = Template::new(family, name, &function);
    tree.create(&format!("{folder}/{module}.rs"), template.file())?;
    tree.edit(&format!("{folder}/mod.rs"), |text| edit::add_module(text, "", &module))?;
    let row = Template::new(family, name, &format!("{module}::{function}")).row();
    tree.edit(rows, |text| {
        let text = edit::add_row(text, name, &row)?;
        let text = edit::add_imports(&text, "engine::command", template::ROW_IMPORTS);
        let beside = rows.ends_with("/mod.rs");
        Ok(if beside { text } else { edit::add_imports(&text, "super", &[&module]) })
    })
}

fn in_file(tree: &mut Tree, family: &str, name: &str, file: &str) -> Result<()> {
    let text = tree.read(file)?;
    let function = free_identifier(name, |name| text.contains(&format!("fn {name}(")));
    let template = Template::new(family, name, &function);
    tree.edit(file, |text| {
        let text = edit::add_before_rows(text, &template.handler(""))?;
        let mut text = edit::add_row(&text, name, &template.row())?;
        for (path, items) in template.handler_imports() {
            text = edit::add_imports(&text, path, items);
        }
        Ok(edit::add_imports(&text, "engine::command", template::ROW_IMPORTS))
    })
}

#[cfg(test)]
mod tests;
