//! RESP2, RESP3 and inline commands: parsed without copying, written without allocating.
//!
//! Promises: the arguments of a request are ranges into the caller's bytes; a reply is written
//! directly into an [`Output`]; every limit that a peer could exceed is checked before memory is
//! allocated. The crate knows nothing of commands, sessions and sockets.
//!
//! | module | what |
//! | --- | --- |
//! | `batch` | parsed requests: the position of each argument in the buffer |
//! | `inline` | inline requests: a line of words, quoted as in a shell, for users of `telnet` or `nc` |
//! | `number` | numbers as the protocol writes them: strict decimal integers, and doubles in Redis's text form |
//! | `output` | `Output`: the bytes waiting to be written to one peer, as a queue of chunks for `writev` |
//! | `parser` | parses requests: finds every complete request of a pipeline in one pass, without copying |
//! | `reply` | replies: one method for each kind, which writes directly into an `Output`, in the protocol version that the client chose |
//! | `value` | the client's side: writes commands and reads replies |

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
