//! The sources of the configuration: defaults, a file, the environment, the command line. For each
//! directive, later layers win.
//!
//! - [`load`] reads all layers into an [`engine::config::ConfigStore`].
//! - [`cli`] is the clap command: `--help` (made from the registry), `--version`, subcommands. The
//!   rest of the command line is passed to [`load`] unchanged.
//! - [`rewrite`] is `CONFIG REWRITE`; `reload` is SIGHUP.
//! - [`show`] shows where each value came from; [`reference`] is `docs/configuration.md`.
//!
//! | layer | form |
//! | --- | --- |
//! | file | `.toml`, `.yaml`/`.yml`, `.json`; anything else, and `-` for standard input, is redis.conf syntax |
//! | environment | `VARVE_MAXMEMORY=1gb`: the name in capitals, with `_` for `-`; `VARVE_REQUIREPASS_FILE=/run/secrets/pass`: the contents of that file |
//! | command line | `varve [file] --port 6380 --save 3600 1 300 100 --appendonly no` |
//!
//! An error is one line that gives the place, the directive, the reason, and the nearest known
//! name.
//! Unknown directives stop the start; directives without effect here are kept with one warning;
//! those whose loss would cost data or security are refused.

mod cli;
mod command_line;
mod environment;
mod error;
mod help;
mod layers;
mod redis_conf;
mod reload;
mod rewrite;
mod rewrite_toml;
mod show;
mod structured;
#[cfg(test)]
mod tests;

pub use cli::{Invocation, cli, parse_invocation};
pub use error::{ConfigError, Origin};
pub use layers::{Loaded, Sources, load};
pub use redis_conf::{quote_word, split_words};
pub(crate) use reload::{Reloaded, Reloader};
pub(crate) use rewrite::replace_file;
pub use rewrite::rewrite;
pub use show::{reference, show};
