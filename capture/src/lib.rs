//! A server's traffic: recorded to a file, replayed against other servers, and advice from that.
//!
//! | module | what |
//! | --- | --- |
//! | [`format`] | the file: compact, versioned, checksummed |
//! | [`monitor`] | the lines of `MONITOR` |
//! | [`record`] | a live server's traffic into a file, by `CAPTURE` or `MONITOR` |
//! | [`privacy`] | which arguments are keys and values; hashing the ones, scrubbing the others |
//! | [`plan`] | a capture prepared for replaying: which connection sends what, and when |
//! | [`replay`] | sending it, with its timing and concurrency, and measuring |
//! | [`trial`] | one replay against one freshly started server |
//! | [`advise`] | trials of every combination, and the choice among them |
//! | [`lab`] | servers under test: starting, pinning, freezing, their resource use |
//!
//! Used by the program `varve` (`varve capture`, `varve advise`) and by `cargo xtask bench`.
//! The crate knows nothing of how a server works inside: it is a program that listens on a port.

pub mod advise;
pub mod format;
pub mod lab;
pub mod monitor;
pub mod plan;
pub mod privacy;
pub mod record;
pub mod replay;
pub mod trial;
