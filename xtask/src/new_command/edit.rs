//! Insertions into source text, where rustfmt and people would put them.

use anyhow::{Context, Result};

pub const ROWS: &str = "pub const COMMANDS: &[Spec] = &[";
const REGISTRY: &str = "pub const ALL: &[&[Spec]] = &[\n";

/// rustfmt.toml's `max_width`.
const WIDTH_MAX: usize = 100;

/// Whether a file has a list of rows.
pub fn has_rows(text: &str) -> bool {
    text.contains(ROWS)
}

/// Whether a file has a list of lists of rows.
pub fn has_registry(text: &str) -> bool {
    text.contains(REGISTRY)
}

/// Every line four columns further in.
pub fn indent(text: &str) -> String {
    let shifted = |line: &str| if line.is_empty() { "\n".into() } else { format!("    {line}\n") };
    text.lines().map(shifted).collect()
}

fn insert(text: &str, at: usize, what: &str) -> String {
    format!("{}{what}{}", &text[..at], &text[at..])
}

/// Where `[…]` begins behind its bracket and ends before it; `start` is how it begins.
fn list(text: &str, start: &str) -> Result<(usize, usize)> {
    let from = text.find(start).with_context(|| format!("no `{start}`"))? + start.len();
    let len = text[from..].find("];\n").context("a list without an end")?;
    Ok((from, from + len))
}

/// Adds `row` to the rows: in its place if they are in the order of their names, at the end if not.
pub fn add_row(text: &str, name: &str, row: &str) -> Result<String> {
    let text = &spread(text)?;
    let (from, to) = list(text, ROWS)?;
    let mut rows = Vec::new();
    let start = "\n    Spec {\n        name: \"";
    for (at, _) in text[from..to].match_indices(start) {
        let rest = &text[from + at + start.len()..];
        rows.push((rest.split('"').next().unwrap_or_default(), from + at + 1));
    }
    let sorted = rows.is_sorted();
    let next = rows.iter().find(|(other, _)| sorted && *other > name);
    let at = next.map_or(to, |(_, at)| *at);
    Ok(insert(text, at, &indent(&format!("{row},"))))
}

/// A list of one row is written `&[Spec {`: gives it the form that more rows fit into.
fn spread(text: &str) -> Result<String> {
    let (from, to) = list(text, ROWS)?;
    if text[from..].starts_with('\n') {
        return Ok(text.to_string());
    }
    let only = indent(&format!("{},", &text[from..to]));
    Ok(format!("{}\n{only}{}", &text[..from], &text[to..]))
}

/// Adds `item` in front of the rows and what is said about them.
pub fn add_before_rows(text: &str, item: &str) -> Result<String> {
    let mut at = text.find(ROWS).context("no list of rows")?;
    while let Some(above) = text[..at].strip_suffix('\n') {
        let line = above.rfind('\n').map_or(0, |end| end + 1);
        if !above[line..].starts_with("///") && !above[line..].starts_with("#[") {
            break;
        }
        at = line;
    }
    Ok(insert(text, at, &format!("{item}\n")))
}

/// Adds `module::COMMANDS` to the list of lists, in order.
pub fn add_to_registry(text: &str, module: &str) -> Result<String> {
    let (from, to) = list(text, REGISTRY)?;
    let entry = format!("    {module}::COMMANDS,\n");
    let at = position_in_order(&text[from..to], &entry).map_or(to, |at| from + at);
    Ok(insert(text, at, &entry))
}

/// The first line of `text` that belongs behind `line`.
fn position_in_order(text: &str, line: &str) -> Option<usize> {
    let mut at = 0;
    for other in text.split_inclusive('\n') {
        if other > line {
            return Some(at);
        }
        at += other.len();
    }
    None
}

/// Adds `mod module;` to the first block of modules, in order.
pub fn add_module(text: &str, visibility: &str, module: &str) -> Result<String> {
    // Where the current declaration begins, its attributes included.
    let (mut at, mut begins, mut place) = (0, 0, None);
    for line in text.split_inclusive('\n') {
        at += line.len();
        match module_name(line) {
            Some(other) if other > module => {
                place = Some(begins);
                break;
            }
            Some(_) => place = Some(at),
            None if line.starts_with("#[") => continue,
            None if place.is_some() => break,
            None => {}
        }
        begins = at;
    }
    let place = place.context("no `mod …;` to put another beside")?;
    Ok(insert(text, place, &format!("{visibility}mod {module};\n")))
}

/// The module a line declares.
fn module_name(line: &str) -> Option<&str> {
    let (visibility, rest) = line.strip_suffix(";\n")?.split_once("mod ")?;
    let plain =
        visibility.is_empty() || (visibility.starts_with("pub") && visibility.ends_with(' '));
    plain.then_some(rest)
}

/// A `use` declaration, broken over lines as rustfmt does.
pub fn import(path: &str, items: &[&str]) -> String {
    if let [only] = items {
        return format!("use {path}::{only};\n");
    }
    let line = format!("use {path}::{{{}}};\n", items.join(", "));
    // rustfmt leaves two columns for what might follow, and the line's end is counted here.
    if line.len() < WIDTH_MAX {
        return line;
    }
    let mut lines = vec![String::from("   ")];
    for item in items {
        // A line as long as is allowed is too long for a list.
        if lines[lines.len() - 1].len() + item.len() + 2 >= WIDTH_MAX {
            lines.push(String::from("   "));
        }
        let last = lines.len() - 1;
        lines[last].push_str(&format!(" {item},"));
    }
    format!("use {path}::{{\n{}\n}};\n", lines.join("\n"))
}

/// Makes sure that `items` of `path` are imported, in the declaration there is or in a new one.
pub fn add_imports(text: &str, path: &str, items: &[&str]) -> String {
    let Some((from, to, mut present)) = imported(text, path) else {
        return add_import_line(text, &import(path, items));
    };
    for item in items {
        if !present.contains(item) {
            let at = present.iter().position(|other| other > item).unwrap_or(present.len());
            present.insert(at, item);
        }
    }
    format!("{}{}{}", &text[..from], import(path, &present), &text[to..])
}

/// Extent and items of the file's `use path::…;`. One with braces inside braces is left alone.
fn imported<'t>(text: &'t str, path: &str) -> Option<(usize, usize, Vec<&'t str>)> {
    let start = format!("\nuse {path}::");
    text.match_indices(&start).find_map(|(at, _)| {
        let items = at + start.len();
        let len = text[items..].find(";\n")?;
        let inside = text[items..items + len].trim_start_matches('{').trim_end_matches('}');
        let flat = !inside.contains(['{', '}']);
        let list = text[items..].starts_with('{') || !inside.contains("::");
        let names = inside.split(',').map(str::trim).filter(|item| !item.is_empty());
        (flat && list).then(|| (at + 1, items + len + 2, names.collect()))
    })
}

/// Puts a declaration in order among the others.
fn add_import_line(text: &str, line: &str) -> String {
    let (mut at, mut place) = (0, None);
    for other in text.split_inclusive('\n') {
        if other.starts_with("use ") {
            if import_order(other) > import_order(line) {
                place = Some(at);
                break;
            }
            // Behind the whole declaration, which may have several lines.
            place = text[at..].find(";\n").map(|len| at + len + 2);
        }
        at += other.len();
    }
    insert(text, place.unwrap_or(text.len()), line)
}

/// rustfmt's order: the paths into this crate come first, the nearest before the others.
fn import_order(line: &str) -> (usize, &str) {
    let near = ["use self::", "use super::", "use crate::"];
    (near.iter().position(|path| line.starts_with(path)).unwrap_or(near.len()), line)
}
