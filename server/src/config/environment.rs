//! The environment layer: `VARVE_…`, the place for secrets and containers.

use super::error::{ConfigError, Origin, suggestion};
use super::layers::Setting;
use super::redis_conf::split_words;
use engine::config::{Directive, names};

const PREFIX: &str = "VARVE_";

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
            None => warnings.push(format!("{variable} ignored: no directive{}", suggestion(name))),
        }
    }
    Ok((settings, warnings))
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

/// The directive that a name in capitals stands for.
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
            one("server_cpulist", &["0-3"]),
            one("requirepass", &["a \"b"]),
            one("save", &[""]),
            one("bind", &["*", "-::*"]),
        ];
        assert_eq!(settings, expected);
        assert!(warnings.is_empty());
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
