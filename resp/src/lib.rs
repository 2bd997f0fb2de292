//! RESP2, RESP3 and inline commands: parsed without copying, written without allocating.
//!
//! Promises: a request's arguments are ranges into the caller's bytes; a reply goes straight into
//! an [`Output`]; every limit a peer could exceed is checked before memory is spent.
//! Must not know: commands, sessions, sockets.

mod output;

pub use output::Output;
