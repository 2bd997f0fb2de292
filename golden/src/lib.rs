//! Golden scripts: small sessions whose replies are kept, and which read as if typed into
//! redis-cli.
//!
//! A [`Script`] contains what each client sends. A [`ScriptDriver`] runs it: [`EngineDriver`] with an
//! engine in this process (no sockets, controlled time), [`SocketDriver`] with any RESP server.
//! [`transcribe`] writes the replies in RESP2 and, where they differ, in RESP3. So the same script
//! serves as a test of every backend, to compare two configurations, and to compare with a real
//! Redis.
//!
//! The crate does not know what any command is supposed to reply; that is in the kept transcripts.
//! `golden/README.md` describes the form of scripts.
//!
//! | module | what |
//! | --- | --- |
//! | `engine_driver` | `EngineDriver`: scripts against an engine in this process |
//! | `log_proof` | that what was logged is what happened: the log of a script, replayed into an empty engine, must lead to the data that the script left |
//! | `render` | answers as text, in redis-cli's notation |
//! | `script` | `Script`: the steps of a golden script, parsed |
//! | `socket_driver` | `SocketDriver`: scripts against any server that speaks RESP |
//! | `transcript` | carrying a script out and writing down what was answered |

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
pub use transcript::{ScriptDriver, TranscriptEntry, record, transcribe};
