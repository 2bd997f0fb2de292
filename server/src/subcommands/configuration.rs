//! `varve config`: is a configuration right, what does it say, and have a running server read it again.

use crate::ServerBuilder;
use crate::config::{self, Loaded};
use crate::error::StartError;
use clap::{Args, Subcommand};
use engine::config::Id;
use std::path::Path;

/// Check a configuration, show where each value comes from, or have a running server read it again
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    what: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Say what is wrong, without starting anything; exit code 1 if something is
    Check(Words),
    /// Show the values that are set, and where each was
    Show(Show),
    /// Have the server read its configuration again that has written the `pidfile` of this one
    Reload(Words),
    /// Print all directives in Markdown
    Reference,
}

/// The arguments with which a server would be started.
#[derive(Debug, Args)]
struct Words {
    /// A file and directives, as for serving: [FILE] [--directive words…]…
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

#[derive(Debug, Args)]
struct Show {
    /// Show the defaults, too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    words: Words,
}

impl Words {
    fn load(&self) -> Result<Loaded, StartError> {
        let loaded = config::load(&self.words, std::env::vars())?;
        loaded.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
        Ok(loaded)
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Fails for an error in the configuration, or if the server cannot be reached.
pub fn run(args: &ConfigArgs) -> Result<(), StartError> {
    match &args.what {
        Task::Check(words) => {
            let loaded = words.load()?;
            let file = loaded.file.as_ref().map(|file| file.display().to_string());
            ServerBuilder::default().config(loaded).check()?;
            println!("{}: good", file.as_deref().unwrap_or("configuration"));
        }
        Task::Show(Show { all, words }) => print!("{}", config::show(&words.load()?, *all)),
        Task::Reload(words) => reload(&words.load()?)?,
        Task::Reference => print!("{}", config::reference()),
    }
    Ok(())
}

/// Whether a process runs this program, as far as the system tells. The process id may have been
/// reused by another program, which a SIGHUP would end.
fn is_this_program(pid: libc::pid_t) -> bool {
    let name = |path: std::io::Result<std::path::PathBuf>| {
        let name = path.ok()?.file_name()?.to_str()?.to_owned();
        // The program file was replaced while it was running.
        Some(name.trim_end_matches(" (deleted)").to_owned())
    };
    let theirs = name(std::fs::read_link(format!("/proc/{pid}/exe")));
    !Path::new("/proc/self/exe").exists() || theirs == name(std::env::current_exe())
}

/// Sends a signal to the server whose process id is in the pid file.
fn reload(loaded: &Loaded) -> Result<(), StartError> {
    let path = loaded.store.text(Id::Pidfile);
    if path.is_empty() {
        return Err(StartError::other("no 'pidfile' is configured: send SIGHUP to the server"));
    }
    let text = std::fs::read_to_string(Path::new(&*path))
        .map_err(|error| StartError::file("read the pid file", path.as_ref().as_ref(), error))?;
    let pid = text.trim().parse::<libc::pid_t>().ok().filter(|pid| *pid > 0);
    let pid = pid.ok_or_else(|| StartError::other(format!("{path} holds no process's number")))?;
    if !is_this_program(pid) {
        let reason =
            "that process is no server like this one: it left the file behind, and has ended";
        return Err(StartError::other(format!("process {pid} of {path}: {reason}")));
    }
    // SAFETY: kill takes two numbers and touches no memory of ours.
    if unsafe { libc::kill(pid, libc::SIGHUP) } != 0 {
        let error = std::io::Error::last_os_error();
        return Err(StartError::other(format!("process {pid} of {path}: {error}")));
    }
    println!("process {pid} reads its configuration again; its log says what was applied");
    Ok(())
}
