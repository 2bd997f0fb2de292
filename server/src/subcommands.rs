//! `varve capture` and `varve advise`: what the program does besides serving, with the feature
//! `capture`.

use crate::error::StartError;
use clap::{ArgMatches, Command};

/// Adds the subcommands that this program was built with.
#[cfg(feature = "capture")]
pub fn add_to(cli: Command) -> Command {
    use capture::{advise::AdviseArgs, record::RecordArgs};
    use clap::Args;
    cli.subcommand(RecordArgs::augment_args(Command::new("capture")))
        .subcommand(AdviseArgs::augment_args(Command::new("advise")))
}

/// Runs a subcommand by name.
///
/// # Errors
/// The subcommand's own.
#[cfg(feature = "capture")]
pub fn run(name: &str, matches: &ArgMatches) -> Result<(), StartError> {
    use capture::{advise, record};
    use clap::FromArgMatches;
    let fail = |error: anyhow::Error| StartError::Other(format!("{error:#}"));
    let wrong = |error: clap::Error| -> StartError { error.exit() };
    match name {
        "capture" => {
            let args = record::RecordArgs::from_arg_matches(matches).map_err(wrong)?;
            record::run(&args).map_err(fail)
        }
        "advise" => {
            let args = advise::AdviseArgs::from_arg_matches(matches).map_err(wrong)?;
            let program = std::env::current_exe().map_err(|error| fail(error.into()))?;
            advise::run(&args, &program).map_err(fail)
        }
        _ => Err(StartError::Other(format!("there is no subcommand '{name}'"))),
    }
}

/// Adds nothing: the program was built without the feature `capture`.
#[cfg(not(feature = "capture"))]
pub fn add_to(cli: Command) -> Command {
    cli
}

/// There is none to run: the program was built without the feature `capture`.
///
/// # Errors
/// Always.
#[cfg(not(feature = "capture"))]
pub fn run(name: &str, _matches: &ArgMatches) -> Result<(), StartError> {
    Err(StartError::Other(format!("there is no subcommand '{name}'")))
}

#[cfg(all(test, feature = "capture"))]
mod tests {
    #[test]
    fn the_command_lines_are_well_formed() {
        super::add_to(crate::config::cli()).debug_assert();
    }
}
