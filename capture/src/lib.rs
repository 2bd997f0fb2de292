//! A server's traffic as a file, and servers under test.
//!
//! | module | what |
//! | --- | --- |
//! | [`format`] | the file: compact, versioned, checksummed |
//! | [`monitor`] | the lines of `MONITOR` |
//! | [`lab`] | servers under test: starting, pinning, freezing, what they use |
//!
//! Used by `cargo xtask bench`.
//! Must not know: how a server works inside; it is a program that listens on a port.

pub mod format;
pub mod lab;
pub mod monitor;
