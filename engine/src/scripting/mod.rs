//! State of scripts and functions that sessions share: their texts, the VMs that run them, which locks
//! they need, and which of them run too long. The commands are in the `commands` crate.

pub mod eval;
mod flags;
pub mod host;
pub mod libraries;
pub mod loading;
pub mod running;
pub mod state;
mod watch;

pub use state::{Figures, Scripting};
