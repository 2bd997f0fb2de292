//! The command line as redis-server takes it: an optional file, then `--directive words…`.

use super::error::{ConfigError, Origin};
use super::layers::Setting;
use super::redis_conf::split_words;
use engine::config::lookup;

/// The parsed command line.
#[derive(Debug, Default)]
pub(super) struct CommandLine {
    /// The file; `-` is standard input.
    pub file: Option<String>,
    /// The directives.
    pub settings: Vec<Setting>,
}

/// Parses the words after the program's name.
///
/// An option takes all words up to the next `--…`, and its first word even if that begins with
/// `--`, unless it is a directive itself. `--port=6380` and the single word `"--port 6380"` are
/// understood, too. A lone `-` at either end is the file on standard input.
pub(super) fn parse(args: &[String]) -> Result<CommandLine, ConfigError> {
    let mut parsed = CommandLine::default();
    let mut args = args;
    match args {
        [first, rest @ ..] if !first.starts_with("--") => {
            parsed.file = Some(first.clone());
            args = rest;
        }
        [rest @ .., last] if last == "-" => {
            parsed.file = Some(last.clone());
            args = rest;
        }
        _ => {}
    }
    while let Some((option, rest)) = args.split_first() {
        let Some(option) = option.strip_prefix("--").filter(|name| !name.is_empty()) else {
            let reason = "expected an option: words belong to the option before them";
            return Err(ConfigError::about(Origin::CommandLine, option, reason));
        };
        let (name, mut words) = split_option(option)?;
        let taken = if words.is_empty() { count_words(rest) } else { 0 };
        words.extend_from_slice(&rest[..taken]);
        // `--save` alone switches snapshots off, as in Redis.
        if words.is_empty() && name.eq_ignore_ascii_case("save") {
            words.push(String::new());
        }
        parsed.settings.push(Setting { name, words, origin: Origin::CommandLine });
        args = &rest[taken..];
    }
    Ok(parsed)
}

/// An option's name, and the words that are in the same argument.
fn split_option(option: &str) -> Result<(String, Vec<String>), ConfigError> {
    if let Some((name, value)) = option.split_once('=')
        && let Some((_, directive)) = lookup(name)
    {
        let words = match directive.takes_many_words() {
            true if !value.is_empty() => split_words(value),
            _ => Some(vec![value.to_owned()]),
        };
        return Ok((name.to_owned(), words.ok_or_else(|| unbalanced(name))?));
    }
    // The value behind the name may be a password.
    let name = option.split_ascii_whitespace().next().unwrap_or_default();
    let mut words = split_words(option).ok_or_else(|| unbalanced(name))?;
    let name = if words.is_empty() { String::new() } else { words.remove(0) };
    Ok((name, words))
}

fn unbalanced(name: &str) -> ConfigError {
    ConfigError::about(Origin::CommandLine, name, "unbalanced quotes")
}

/// The number of following arguments that are words of the option.
fn count_words(rest: &[String]) -> usize {
    let is_option = |arg: &String| arg.starts_with("--");
    let is_directive = |arg: &String| {
        let name = arg.trim_start_matches('-');
        is_option(arg) && lookup(name.split(['=', ' ']).next().unwrap_or(name)).is_some()
    };
    match rest.first() {
        Some(first) if !is_directive(first) => {
            1 + rest[1..].iter().take_while(|arg| !is_option(arg)).count()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> (Option<String>, Vec<(String, Vec<String>)>) {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let parsed = parse(&args).unwrap();
        let settings = parsed.settings.into_iter().map(|one| (one.name, one.words));
        (parsed.file, settings.collect())
    }

    fn one(name: &str, words: &[&str]) -> (String, Vec<String>) {
        (name.to_owned(), words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn options_take_words_up_to_the_next() {
        let (file, settings) = read(&[
            "my.conf",
            "--port",
            "6380",
            "--save",
            "3600",
            "1",
            "300",
            "100",
            "--maxmemory=1gb",
            "--bind 0.0.0.0 ::1",
            "--requirepass",
            "--secret",
            "--list-max-listpack-size",
            "-2",
        ]);
        assert_eq!(file.as_deref(), Some("my.conf"));
        let expected = [
            one("port", &["6380"]),
            one("save", &["3600", "1", "300", "100"]),
            one("maxmemory", &["1gb"]),
            one("bind", &["0.0.0.0", "::1"]),
            one("requirepass", &["--secret"]),
            one("list-max-listpack-size", &["-2"]),
        ];
        assert_eq!(settings, expected);
    }

    #[test]
    fn save_may_be_empty() {
        for args in [&["--save", ""][..], &["--save"], &["--save="], &["--save", "--port", "1"]] {
            assert_eq!(read(args).1[0], one("save", &[""]), "{args:?}");
        }
    }

    #[test]
    fn a_dash_is_standard_input() {
        assert_eq!(read(&["-"]).0.as_deref(), Some("-"));
        let (file, settings) = read(&["--port", "1", "-"]);
        assert_eq!((file.as_deref(), settings), (Some("-"), vec![one("port", &["1"])]));
        assert_eq!(read(&[]), (None, vec![]));
    }

    #[test]
    fn quotes_must_match() {
        let args = ["--requirepass \"x".to_owned()];
        assert!(parse(&args).unwrap_err().to_string().contains("unbalanced quotes"));
    }
}
