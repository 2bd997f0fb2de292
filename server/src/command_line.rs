//! The program: reads the configuration, serves, ends with an exit code.

use crate::config::{self, Invocation};
use crate::error::StartError;
use crate::lifecycle::logging;
use crate::listening::handover;
use crate::subcommands;
use crate::system::supervisor;
use crate::{Server, ServerBuilder};
use engine::config::Id;
use std::process::ExitCode;

/// Runs `builder`'s server with the process's arguments and environment: all that `main` does.
///
/// Runs the program. An error at start is one line on standard error, and exit code 1.
pub fn run(builder: ServerBuilder) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let invocation = match config::parse_invocation(subcommands::add_to(config::cli()), args) {
        Ok(invocation) => invocation,
        // clap prints help and version, too.
        Err(error) => error.exit(),
    };
    let served = match invocation {
        Invocation::Serve(words) => serve(builder, &words),
        Invocation::Subcommand(name, matches) => subcommands::run(&name, &matches),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("varve: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(builder: ServerBuilder, words: &[String]) -> Result<(), StartError> {
    // Until they can be obeyed, they must not end a server that loads.
    handover::ignore_signals().map_err(StartError::other)?;
    handover::program();
    let loaded = config::load(words, std::env::vars())?;
    let warnings = loaded.warnings.clone();
    let inherited = handover::inherit().map_err(StartError::other)?;
    let daemonize = !inherited.from_us;
    let mut builder = builder.config(loaded).inherit(inherited);
    let config = builder.configure()?;
    if config.boolean(Id::Daemonize) && daemonize {
        supervisor::daemonize()
            .map_err(|error| StartError::other(format!("daemonize: {error}")))?;
    }
    logging::init(&config)?;
    logging::report_panics();
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let server = builder.build()?;
    write_pid_file(&config.text(Id::Pidfile));
    show_banner(&server, config.text(Id::Logfile).is_empty(), config.choice(Id::LogFormat));
    supervisor::tell_ready(&config);
    let successor = server.successor();
    let ended = server.run_to_end();
    remove_pid_file(&config.text(Id::Pidfile));
    let engine = ended?;
    if engine.backend.persistent() {
        drop(engine);
    } else {
        // The system takes memory back at once; freeing a large data set key by key takes seconds.
        std::mem::forget(engine);
    }
    match successor.lock().take() {
        None => Ok(()),
        Some(sockets) => {
            let error = handover::begin_anew(handover::program(), sockets);
            Err(StartError::other(format!("the new program did not start: {error}")))
        }
    }
}

/// Plain text for people who look at the terminal; log lines where lines have a form.
fn show_banner(server: &Server, on_terminal: bool, format: &str) {
    let banner = server.banner();
    if on_terminal && format == "text" {
        println!("{banner}");
    } else {
        banner.lines().for_each(|line| tracing::info!("{}", line.trim()));
    }
}

/// A file that cannot be written is no reason not to serve, as in Redis.
fn write_pid_file(path: &str) {
    if path.is_empty() {
        return;
    }
    if let Err(error) = std::fs::write(path, format!("{}\n", std::process::id())) {
        tracing::warn!("can't write the pid file {path}: {error}");
    }
}

fn remove_pid_file(path: &str) {
    if !path.is_empty() {
        // It does not matter if the file was removed already.
        let _ = std::fs::remove_file(path);
    }
}
