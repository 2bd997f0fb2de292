//! Scripts and functions: EVAL, SCRIPT, FCALL, FUNCTION.

mod eval;
mod flags;
mod functions;
mod host;
mod libraries;
mod rows;
pub(crate) mod running;
mod scripts;
mod state;
mod watch;

pub use rows::COMMANDS;
pub use state::{Figures, Scripting};
