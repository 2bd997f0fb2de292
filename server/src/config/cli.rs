//! The clap side of the command line: help, version, subcommands.

use clap::{Arg, ArgAction, ArgMatches, Command};

/// Whether to serve, or which subcommand to run.
#[derive(Debug)]
pub enum Invocation {
    /// Serve; these words go to [`super::load`].
    Serve(Vec<String>),
    /// Run a subcommand, by name.
    Subcommand(String, ArgMatches),
}

/// The clap command without subcommands; add them with [`Command::subcommand`].
pub fn cli() -> Command {
    Command::new("varve")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Varve: a Redis-compatible server made of layers that come apart")
        .override_usage("varve [file|-] [--directive words…]…\n       varve <subcommand>")
        .after_help(super::help::first_directives())
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .args_conflicts_with_subcommands(true)
        .arg(
            Arg::new("version")
                .short('v')
                .long("version")
                .action(ArgAction::Version)
                .help("Print the version"),
        )
        .arg(
            Arg::new("words")
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .hide(true),
        )
}

/// Distinguishes serving from subcommands by the words after the program's name. As in Redis,
/// `--help` and `--version` count only as the first word; later they would be directives.
///
/// # Errors
/// Fails with clap's error; `error.exit()` prints help, version or the error message, and exits
/// with the right status.
pub fn parse_invocation(cli: Command, args: Vec<String>) -> Result<Invocation, clap::Error> {
    let first = args.first().map(String::as_str);
    if first == Some("--help-all") {
        // clap calls the text of a help an error.
        let all =
            cli.after_help(super::help::directives()).try_get_matches_from(["varve", "--help"]);
        return all.map(|_| Invocation::Serve(args));
    }
    let for_clap = match first {
        Some("-h" | "--help" | "-v" | "--version") => true,
        Some(first) => cli.find_subcommand(first).is_some(),
        None => false,
    };
    if !for_clap {
        return Ok(Invocation::Serve(args));
    }
    let matches = cli.try_get_matches_from(std::iter::once("varve".to_owned()).chain(args))?;
    Ok(match matches.subcommand() {
        Some((name, matches)) => Invocation::Subcommand(name.to_owned(), matches.clone()),
        None => Invocation::Serve(Vec::new()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invoke(args: &[&str]) -> Result<Invocation, clap::Error> {
        let cli = cli().subcommand(Command::new("advise").arg(Arg::new("file")));
        parse_invocation(cli, args.iter().map(|arg| (*arg).to_owned()).collect())
    }

    #[test]
    fn the_command_is_well_formed() {
        cli().debug_assert();
    }

    #[test]
    fn words_are_served_as_they_are() {
        for args in [&["--port", "1", "-"][..], &["my.conf", "--save", ""], &["-"], &[]] {
            match invoke(args) {
                Ok(Invocation::Serve(words)) => assert_eq!(words, args),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn subcommands_are_claps() {
        match invoke(&["advise", "x.json"]) {
            Ok(Invocation::Subcommand(name, matches)) => {
                assert_eq!(name, "advise");
                assert_eq!(matches.get_one::<String>("file").map(String::as_str), Some("x.json"));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn help_lists_the_registry_and_version_says_who() {
        let help = invoke(&["--help"]).unwrap_err();
        assert_eq!(help.exit_code(), 0);
        let short = help.to_string();
        assert!(short.lines().count() < 80, "{short}");
        for part in ["--maxmemory <bytes>", "advise", "--help-all"] {
            assert!(short.contains(part), "{part} in {short}");
        }
        let help = invoke(&["--help-all"]).unwrap_err();
        assert_eq!(help.exit_code(), 0);
        let help = help.to_string();
        for part in ["--maxmemory <bytes>", "Persistence:", "--appendonly <yes|no>", "Kept"] {
            assert!(help.contains(part), "{part} in {help}");
        }
        let version = invoke(&["-v"]).unwrap_err();
        assert_eq!(version.to_string().trim(), concat!("varve ", env!("CARGO_PKG_VERSION")));
    }
}
