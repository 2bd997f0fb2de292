//! RESP2, RESP3 and inline commands: parsed without copying, written without allocating.
//!
//! Promises: the arguments of a request are ranges into the caller's bytes; a reply is written
//! directly into an [`Output`]; every limit that a peer could exceed is checked before memory is
//! allocated. The crate knows nothing of commands, sessions and sockets.

mod batch;
mod inline;
mod number;
mod output;
mod parser;
mod reply;
mod value;

pub use batch::{Batch, Range, Request, Span};
pub use inline::split_words;
pub use number::{format_double, parse_i64};
pub use output::{Output, SHARE_MIN};
pub use parser::{Limits, Parser, Progress, ProtocolError};
pub use reply::{Deferred, Proto, Reply};
pub use value::{DecodeError, Value, decode, decode_whole, encode_command, skip_reply};
