//! [`StartError`]: why a server did not start, in one line.

use crate::config::ConfigError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The reason why a server did not start. Displayed, it is one line with advice.
#[derive(Debug)]
pub enum StartError {
    /// The configuration is wrong.
    Config(ConfigError),
    /// A layer that was asked for is not in this binary.
    NotCompiledIn {
        /// The directive that asked: `runtime`, `storage`, `appendonly`.
        directive: &'static str,
        /// The value that was given.
        value: String,
        /// The cargo feature that adds it; `None` when there is no such layer in this version.
        feature: Option<&'static str>,
        /// The values that are available.
        available: Vec<&'static str>,
    },
    /// An address cannot be listened on.
    Listen {
        /// The address, or the path of a Unix socket.
        address: String,
        /// The reason.
        source: io::Error,
    },
    /// Something is wrong with a file or a folder.
    File {
        /// The action that failed.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// The reason why it failed.
        source: io::Error,
    },
    /// Another server works in the data folder.
    DirInUse {
        /// The folder.
        path: PathBuf,
        /// The other server's process id, if it is known.
        pid: Option<u32>,
    },
    /// Anything else: damaged data, settings that contradict each other.
    Other(String),
}

impl StartError {
    pub(crate) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        StartError::File { action, path: path.to_owned(), source }
    }

    pub(crate) fn other(cause: impl fmt::Display) -> Self {
        StartError::Other(cause.to_string())
    }

    fn text(&self) -> String {
        match self {
            StartError::Config(error) => error.to_string(),
            StartError::NotCompiledIn { directive, value, feature, available } => {
                let what = match feature {
                    Some(feature) => format!(
                        "is not compiled into this binary: build it with `--features {feature}`"
                    ),
                    None => "is not part of this version".to_owned(),
                };
                let hint = match &available[..] {
                    [] => String::new(),
                    names => format!(", or choose {}", names.join(" or ")),
                };
                format!("{directive} '{value}' {what}{hint}")
            }
            StartError::Listen { address, source } => match source.kind() {
                io::ErrorKind::AddrInUse => {
                    format!("can't listen on {address}: another program already does")
                }
                _ => format!("can't listen on {address}: {}", plain(source)),
            },
            StartError::File { action, path, source } => {
                format!("can't {action} {}: {}", path.display(), plain(source))
            }
            StartError::DirInUse { path, pid } => {
                let who = match pid {
                    Some(pid) => format!("process {pid}"),
                    None => "another server".to_owned(),
                };
                format!(
                    "the data folder {} is in use by {who}: give each server its own `dir`",
                    path.display()
                )
            }
            StartError::Other(text) => text.clone(),
        }
    }
}

/// An I/O error without the "(os error N)" that says nothing to its reader.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        f.write_str(lines.next().unwrap_or("unknown cause"))?;
        lines.try_for_each(|line| write!(f, " {line}"))
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Config(error) => Some(error),
            StartError::Listen { source, .. } | StartError::File { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        StartError::Config(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_compiled_in_names_the_feature() {
        let error = StartError::NotCompiledIn {
            directive: "storage",
            value: "sled".into(),
            feature: Some("storage-sled"),
            available: vec!["memory"],
        };
        assert_eq!(
            error.to_string(),
            "storage 'sled' is not compiled into this binary: build it with `--features \
             storage-sled`, or choose memory"
        );
    }

    #[test]
    fn errors_are_one_line() {
        let error = StartError::Other("a\n\n  b\n".into());
        assert_eq!(error.to_string(), "a b");
        let source = io::Error::from_raw_os_error(libc::EACCES);
        let error = StartError::file("open", Path::new("/x"), source);
        assert_eq!(error.to_string(), "can't open /x: Permission denied");
    }
}
