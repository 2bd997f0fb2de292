//! Golden scripts: small sessions whose answers are kept, readable as if typed into redis-cli.
//!
//! A [`Script`] says which client sends what. A [`Driver`] carries it out: [`EngineDriver`] against
//! an engine in this process (no sockets, time under control), [`SocketDriver`] against any server
//! that speaks RESP. [`transcribe`] writes down what was answered in RESP2 and, where it differs,
//! in RESP3. The same script therefore serves as a test of every backend, as a mirror between two
//! configurations, and as a comparison with a real Redis.
//!
//! Must not know: what any command is supposed to answer. That is in the kept transcripts.
//! The form of scripts is described in `golden/README.md`.

mod engine_driver;
mod log_proof;
mod render;
mod script;
mod socket_driver;
mod transcript;

pub use engine_driver::EngineDriver;
pub use render::{Shape, render};
pub use script::{Action, Mark, Script, ScriptError, Step, scripts_under};
pub use socket_driver::SocketDriver;
pub use transcript::{Driver, Entry, record, transcribe};
