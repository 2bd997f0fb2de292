//! [`Log`]: the log of a server, if it writes one; opening, rewriting and closing it.

#[cfg(feature = "aof")]
mod aof;
#[cfg(not(feature = "aof"))]
mod none;

#[cfg(feature = "aof")]
pub(crate) use aof::{Log, open, open_late};
#[cfg(not(feature = "aof"))]
pub(crate) use none::{Log, open, open_late};
