//! The contents of a capture: its requests by command, as the engine's `commandstats` would count them.

use crate::format::{Arg, Reader, Record, Tail};
use crate::privacy::Roles;
use anyhow::{Context, Result};
use engine::text::args::OwnedRequest;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Prints a file's header and its requests by command, most frequent first.
///
/// # Errors
/// Fails if it cannot be read, or is damaged.
pub fn print(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let mut reader = Reader::new(BufReader::new(file))?;
    let (mut counts, mut lost, mut last_us) = (BTreeMap::<String, u64>::new(), 0, 0);
    let roles = Roles::default();
    while let Some((at, record)) = reader.next()? {
        last_us = last_us.max(at);
        match record {
            Record::Request { args, .. } => *counts.entry(name(&args, &roles)).or_default() += 1,
            Record::Lost { count } => lost += count,
            _ => {}
        }
    }
    let header = reader.header();
    println!(
        "{} of {} ({}), {:.1} s",
        header.method,
        header.source,
        header.server,
        last_us as f64 / 1e6
    );
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.iter().for_each(|(name, count)| println!("{count:>12} {name}"));
    if lost > 0 {
        println!("{lost:>12} lost");
    }
    if let Some(Tail::Torn { bytes }) = reader.tail() {
        println!("the file was cut off: its last {bytes} bytes are left out");
    }
    Ok(())
}

fn name(args: &[Arg<'_>], roles: &Roles) -> String {
    let request = OwnedRequest::new(args.iter().map(Arg::bytes));
    match roles.table().resolve(request.view()) {
        Some(entry) => entry.full_name.clone(),
        None => String::from_utf8_lossy(args.first().map_or(b"", |arg| arg.bytes())).to_lowercase(),
    }
}
