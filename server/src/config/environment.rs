//! The environment layer: `VARVE_…`, the place for secrets and containers.

use super::error::{ConfigError, Origin, suggestion};
use super::layers::Setting;
use super::redis_conf::split_words;
use engine::config::{Directive, names};
use std::fs::File;
use std::io::Read;

const PREFIX: &str = "VARVE_";

/// The largest size of a file named by a `_FILE` variable, in bytes: secrets are short.
const SECRET_MAX: u64 = 64 << 10;

/// The variables that may be settings.
pub(super) fn ours(
    environment: impl IntoIterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    environment.into_iter().filter(|(variable, _)| variable.starts_with(PREFIX)).collect()
}

/// The settings in the environment, and warnings about variables that are none.
///
/// Unknown names only warn: the environment is shared, and Kubernetes puts `VARVE_SERVICE_HOST` and
/// `VARVE_PORT=tcp://…` into every pod beside a service named `varve`.
pub(super) fn parse(
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(Vec<Setting>, Vec<String>), ConfigError> {
    let mut settings = Vec::new();
    let mut warnings = Vec::new();
    for (variable, value) in environment {
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        match directive_of(name) {
            Some(_) if value.starts_with("tcp://") => {
                warnings.push(format!("{variable} ignored: a service address of Kubernetes"));
            }
            Some((name, directive)) => {
                settings.push(setting(&variable, name, directive, value)?);
            }
            None => match name.strip_suffix("_FILE").and_then(directive_of) {
                Some((name, directive)) => {
                    let value = contents(&variable, name, &value)?;
                    settings.push(setting(&variable, name, directive, value)?);
                }
                None => {
                    warnings.push(format!("{variable} ignored: no directive{}", suggestion(name)));
                }
            },
        }
    }
    Ok((settings, warnings))
}

/// Reads the file named by a `VARVE_…_FILE` variable, the way in which orchestrators pass secrets,
/// and returns its text without trailing line ends. A file that is empty or too long is an error.
fn contents(variable: &str, name: &str, path: &str) -> Result<String, ConfigError> {
    let wrong =
        |reason: String| ConfigError::about(Origin::Environment(variable.to_owned()), name, reason);
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(SECRET_MAX + 1).read_to_string(&mut text));
    read.map_err(|error| wrong(format!("can't read {path}: {error}")))?;
    let value = text.trim_end_matches(['\r', '\n']);
    // A file that is just being written must not be taken for the wish to have no password.
    match value.len() as u64 {
        0 => Err(wrong(format!("{path} is empty"))),
        1..=SECRET_MAX => Ok(value.to_owned()),
        _ => Err(wrong(format!("{path} is longer than {SECRET_MAX} bytes"))),
    }
}

fn setting(
    variable: &str,
    name: &str,
    directive: &Directive,
    value: String,
) -> Result<Setting, ConfigError> {
    let origin = Origin::Environment(variable.to_owned());
    let words = match directive.takes_many_words() {
        true if value.trim().is_empty() => vec![String::new()],
        true => split_words(&value)
            .ok_or_else(|| ConfigError::about(origin.clone(), name, "unbalanced quotes"))?,
        false => vec![value],
    };
    Ok(Setting { name: name.to_owned(), words, origin })
}

/// The directive for a name in capitals.
fn directive_of(name: &str) -> Option<(&'static str, &'static Directive)> {
    let wanted = name.to_ascii_lowercase();
    names().find(|(known, _)| known.replace('-', "_") == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> (Vec<(String, Vec<String>)>, Vec<String>) {
        let owned = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let (settings, warnings) = parse(owned).unwrap();
        (settings.into_iter().map(|setting| (setting.name, setting.words)).collect(), warnings)
    }

    #[test]
    fn names_in_capitals_are_directives() {
        let (settings, warnings) = read(&[
            ("VARVE_PORT", "7000"),
            ("VARVE_HASH_MAX_ZIPLIST_ENTRIES", "9"),
            ("VARVE_SERVER_CPULIST", "0-3"),
            ("VARVE_REQUIREPASS", "a \"b"),
            ("VARVE_SAVE", ""),
            ("VARVE_BIND", "* -::*"),
            ("PATH", "/bin"),
        ]);
        let one = |name: &str, words: &[&str]| {
            (name.to_owned(), words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
        };
        let expected = [
            one("port", &["7000"]),
            one("hash-max-ziplist-entries", &["9"]),
            one("server-cpulist", &["0-3"]),
            one("requirepass", &["a \"b"]),
            one("save", &[""]),
            one("bind", &["*", "-::*"]),
        ];
        assert_eq!(settings, expected);
        assert!(warnings.is_empty());
    }

    #[test]
    fn secrets_come_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "with space \n").unwrap();
        let path = path.to_str().unwrap();
        // A directive that ends in `-file` is itself.
        let (settings, warnings) =
            read(&[("VARVE_REQUIREPASS_FILE", path), ("VARVE_TLS_CERT_FILE", path)]);
        let expected = [("requirepass", "with space "), ("tls-cert-file", path)];
        let expected = expected.map(|(name, word)| (name.to_owned(), vec![word.to_owned()]));
        assert_eq!(settings, expected);
        assert!(warnings.is_empty());
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "\n").unwrap();
        let empty = empty.to_str().unwrap().to_owned();
        let error = parse([("VARVE_REQUIREPASS_FILE".into(), empty)]).unwrap_err();
        assert!(error.to_string().ends_with("is empty"), "{error}");
        let error = parse([("VARVE_REQUIREPASS_FILE".into(), "/none".into())]).unwrap_err();
        let text = "environment variable VARVE_REQUIREPASS_FILE: 'requirepass': can't read /none: ";
        assert!(error.to_string().starts_with(text), "{error}");
    }

    #[test]
    fn strangers_warn() {
        let (settings, warnings) = read(&[
            ("VARVE_PORT", "tcp://10.0.0.1:6379"),
            ("VARVE_MAXMEMRY", "1gb"),
            ("VARVE_SERVICE_HOST", "10.0.0.1"),
        ]);
        assert!(settings.is_empty());
        assert_eq!(warnings.len(), 3);
        assert!(warnings[1].ends_with("did you mean 'maxmemory'?"), "{warnings:?}");
    }
}
