//! The program's subcommands: `varve bigkeys`, `varve config`, `varve completions`, `varve doctor`, `varve migrate`, `varve export`, `varve import`, with the feature `capture` `varve capture`
//! and `varve advise`, and with the feature `cluster` `varve cluster try`.

mod completions;
mod configuration;
mod doctor;

use crate::error::StartError;
use crate::migrate::bigkeys::{self, BigKeysArgs};
use crate::migrate::export::{self, ExportArgs};
use crate::migrate::import::{self, ImportArgs};
use crate::migrate::{self, MigrateArgs};
use clap::{ArgMatches, Args, Command, FromArgMatches};
use completions::CompletionsArgs;
use configuration::ConfigArgs;
use doctor::DoctorArgs;

/// Adds the subcommands that this program was built with.
pub fn add_to(cli: Command) -> Command {
    let cli = cli
        .subcommand(BigKeysArgs::augment_args(Command::new("bigkeys")))
        .subcommand(ConfigArgs::augment_args(Command::new("config")))
        .subcommand(CompletionsArgs::augment_args(Command::new("completions")))
        .subcommand(DoctorArgs::augment_args(Command::new("doctor")))
        .subcommand(ExportArgs::augment_args(Command::new("export")))
        .subcommand(ImportArgs::augment_args(Command::new("import")))
        .subcommand(MigrateArgs::augment_args(Command::new("migrate")));
    #[cfg(feature = "capture")]
    let cli = add_capture(cli);
    #[cfg(feature = "cluster")]
    let cli = {
        use crate::cluster::trial::ClusterArgs;
        cli.subcommand(ClusterArgs::augment_args(Command::new("cluster")))
    };
    cli
}

#[cfg(feature = "capture")]
fn add_capture(cli: Command) -> Command {
    use capture::{advise::AdviseArgs, record::RecordArgs};
    cli.subcommand(RecordArgs::augment_args(Command::new("capture")))
        .subcommand(AdviseArgs::augment_args(Command::new("advise")))
}

/// Runs a subcommand by name.
///
/// # Errors
/// Fails like the subcommand.
pub fn run(name: &str, matches: &ArgMatches) -> Result<(), StartError> {
    match name {
        "bigkeys" => bigkeys::run(&read::<BigKeysArgs>(matches)),
        "config" => configuration::run(&read::<ConfigArgs>(matches)),
        "completions" => completions::run(&read::<CompletionsArgs>(matches)),
        "doctor" => doctor::run(&read::<DoctorArgs>(matches)),
        "export" => export::run(&read::<ExportArgs>(matches)),
        "import" => import::run(&read::<ImportArgs>(matches)),
        "migrate" => migrate::run(&read::<MigrateArgs>(matches)),
        #[cfg(feature = "cluster")]
        "cluster" => crate::cluster::trial::run(&read(matches)),
        _ => run_captures(name, matches),
    }
}

/// Parses a subcommand's arguments. An error ends the program, with clap's message.
fn read<T: FromArgMatches>(matches: &ArgMatches) -> T {
    T::from_arg_matches(matches).unwrap_or_else(|error| error.exit())
}

#[cfg(feature = "capture")]
fn run_captures(name: &str, matches: &ArgMatches) -> Result<(), StartError> {
    use capture::{advise, record};
    let fail = |error: anyhow::Error| StartError::Other(format!("{error:#}"));
    match name {
        "capture" => record::run(&read(matches)).map_err(fail),
        "advise" => {
            let program = std::env::current_exe().map_err(|error| fail(error.into()))?;
            advise::run(&read(matches), &program).map_err(fail)
        }
        _ => Err(unknown(name)),
    }
}

#[cfg(not(feature = "capture"))]
fn run_captures(name: &str, _matches: &ArgMatches) -> Result<(), StartError> {
    Err(unknown(name))
}

fn unknown(name: &str) -> StartError {
    StartError::Other(format!("there is no subcommand '{name}'"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_lines_are_well_formed() {
        super::add_to(crate::config::cli()).debug_assert();
    }
}
