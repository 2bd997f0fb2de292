//! [`Log`]: the log of a server, if it writes one; opening, rewriting and closing it.

#[cfg(not(feature = "aof"))]
mod absent;
#[cfg(feature = "aof")]
mod aof;
pub(crate) mod late;
#[cfg(feature = "aof")]
mod latency;
#[cfg(feature = "aof")]
mod loader;
#[cfg(feature = "aof")]
mod parallel;

#[cfg(not(feature = "aof"))]
pub(crate) use absent::{Log, open, open_late};
#[cfg(feature = "aof")]
pub(crate) use aof::{Log, open, open_late};
