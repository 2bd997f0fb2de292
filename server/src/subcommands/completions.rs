//! `varve completions SHELL`: prints the script with which a shell completes subcommands, options
//! and directives.

use crate::config;
use crate::error::StartError;
use clap::{Arg, Args, Command};
use clap_complete::Shell;
use engine::config::Effect;
use std::io::{self, Write};

/// Print a script that has a shell complete this program's words: `source <(varve completions bash)`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// Fails if standard output cannot be written.
pub fn run(args: &CompletionsArgs) -> Result<(), StartError> {
    io::stdout().write_all(&script(args.shell)).map_err(StartError::other)
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut with_directives(), "varve", &mut script);
    script
}

/// The command line with every directive that does something as an option. When serving they are words that the
/// configuration reads, not options of clap's.
fn with_directives() -> Command {
    let applied = engine::config::all().filter(|row| row.effect == Effect::Applied && !row.hidden);
    let options = applied.map(|row| Arg::new(row.name).long(row.name).help(row.summary));
    super::add_to(config::cli()).args(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_learns_subcommands_and_directives() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let script = String::from_utf8(script(shell)).expect("text");
            for word in ["migrate", "completions", "appendonly", "kill-leader-every"] {
                let is_there =
                    script.contains(word) || word.starts_with("kill") && !cfg!(feature = "cluster");
                assert!(is_there, "{shell}: {word}");
            }
        }
    }
}
