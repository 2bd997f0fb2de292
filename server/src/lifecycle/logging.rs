//! The log: `loglevel`, `logfile`, `log-format`.

use crate::StartError;
use crate::system::writable;
use engine::config::{ConfigStore, Id, Value};
use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Registry, reload};

/// Sets up the log as configured, for the whole process, and applies later `CONFIG SET loglevel`.
///
/// # Errors
/// Fails if the log file cannot be opened, or a log was set up already.
pub fn init(config: &Arc<ConfigStore>) -> Result<(), StartError> {
    let path = config.text(Id::Logfile);
    let (writer, colors) = writer(&path)?;
    let (level, handle) = reload::Layer::new(level(config.choice(Id::Loglevel)));
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false);
    let registry = Registry::default().with(level);
    let done = match config.choice(Id::LogFormat) {
        "json" => registry.with(lines.json().flatten_event(true)).try_init(),
        _ => registry.with(lines.with_ansi(colors)).try_init(),
    };
    done.map_err(StartError::other)?;
    let weak = Arc::downgrade(config);
    config.on_change(Box::new(move |id, _: &Value| match (id, weak.upgrade()) {
        (Id::Loglevel, Some(config)) => {
            let new = self::level(config.choice(Id::Loglevel));
            handle.reload(new).map_err(|error| error.to_string())
        }
        _ => Ok(()),
    }));
    Ok(())
}

/// Whether the log can be written there, as far as that can be checked without creating the file.
///
/// # Errors
/// Fails if the file cannot be opened, or there is no folder for it in which files can be made.
pub(crate) fn check(logfile: &str) -> Result<(), StartError> {
    let path = Path::new(logfile);
    let folder = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        parent => parent.unwrap_or(path),
    };
    match path.exists() || logfile.is_empty() {
        true => writer(logfile).map(drop),
        false => std::fs::read_dir(folder)
            .and_then(|_| writable::check(folder))
            .map_err(|error| StartError::file("open the log file", path, error)),
    }
}

/// Reports panics in the log, with the text that the standard library prints on standard error.
pub fn report_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("?");
        tracing::error!(place, text, "a thread panicked");
        before(panic);
    }));
}

/// The destination of log lines, and whether colours make sense there.
fn writer(path: &str) -> Result<(BoxMakeWriter, bool), StartError> {
    if path.is_empty() {
        let colors = std::io::stdout().is_terminal();
        return Ok((BoxMakeWriter::new(std::io::stdout), colors));
    }
    let file = OpenOptions::new().append(true).create(true).open(path);
    let file =
        file.map_err(|error| StartError::file("open the log file", Path::new(path), error))?;
    Ok((BoxMakeWriter::new(Mutex::new(file)), false))
}

/// Libraries that report their ordinary doings at the level of our notices.
const TALKATIVE: &[&str] = &["fjall", "lsm_tree", "sled"];

/// Redis's levels in terms of tracing's; Redis's `verbose` is between `notice` and `debug`.
fn level(name: &str) -> Targets {
    let level = match name {
        "debug" => LevelFilter::TRACE,
        "verbose" => LevelFilter::DEBUG,
        "warning" => LevelFilter::WARN,
        "nothing" => LevelFilter::OFF,
        _ => LevelFilter::INFO,
    };
    let quiet = if level == LevelFilter::INFO { LevelFilter::WARN } else { level };
    Targets::new().with_default(level).with_targets(TALKATIVE.iter().map(|name| (*name, quiet)))
}
