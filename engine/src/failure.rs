//! [`Failure`]: why a command answers with an error, and the error texts shared by many commands.
//!
//! The texts are Redis's (`shared.*` in its server.c): clients match on them.

use resp::Request;
use std::borrow::Cow;

/// A handler's result: `Ok` if it replied or waits, and else the error that is its reply.
pub type Outcome = Result<(), Failure>;

/// An error reply, its first word the error code: `ERR …`, `WRONGTYPE …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub Cow<'static, str>);

impl Failure {
    /// An error with a text made at run time.
    pub fn text(text: impl Into<String>) -> Self {
        Failure(Cow::Owned(text.into()))
    }

    /// The text, with its code and without the leading `-`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The code: the first word.
    pub fn code(&self) -> &str {
        self.0.split(' ').next().unwrap_or("ERR")
    }
}

/// An error with a fixed text.
pub const fn failure(text: &'static str) -> Failure {
    Failure(Cow::Borrowed(text))
}

/// Another type than the command is for.
pub const WRONG_TYPE: Failure =
    failure("WRONGTYPE Operation against a key holding the wrong kind of value");
/// Arguments that make no sense together.
pub const SYNTAX: Failure = failure("ERR syntax error");
/// An argument is not a signed 64-bit number.
pub const NOT_INTEGER: Failure = failure("ERR value is not an integer or out of range");
/// An argument is not a floating-point number.
pub const NOT_FLOAT: Failure = failure("ERR value is not a valid float");
/// The key must exist.
pub const NO_SUCH_KEY: Failure = failure("ERR no such key");
/// An index beyond the end.
pub const INDEX_OUT_OF_RANGE: Failure = failure("ERR index out of range");
/// A value is out of the permitted range.
pub const OUT_OF_RANGE: Failure = failure("ERR value is out of range");
/// Authentication is needed first.
pub const NO_AUTH: Failure = failure("NOAUTH Authentication required.");
/// A write, and too few replicas follow.
pub const NO_REPLICAS: Failure = failure("NOREPLICAS Not enough good replicas to write.");
/// A replica whose link to its master is down may not show its data.
pub const MASTER_DOWN: Failure =
    failure("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.");
/// A write, on a replica.
pub const READ_ONLY: Failure = failure("READONLY You can't write against a read only replica.");
/// Memory is over `maxmemory`.
pub const OOM: Failure = failure("OOM command not allowed when used memory > 'maxmemory'.");
/// Connections wait too long, and this request is one of the share that is refused.
pub const OVERLOADED: Failure =
    failure("OVERLOADED The server cannot serve all requests in time. Try again later.");
/// The error for other clients while a script runs too long.
pub const BUSY_SCRIPT: Failure = failure(
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
);
/// And while a function does.
pub const BUSY_FUNCTION: Failure = failure(
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
);
/// A transaction with a failed command in it.
pub const EXEC_ABORT: Failure =
    failure("EXECABORT Transaction discarded because of previous errors.");

impl From<storage::Error> for Failure {
    fn from(error: storage::Error) -> Self {
        match error {
            storage::Error::WrongType => WRONG_TYPE,
            storage::Error::Busy => BUSY_SCRIPT,
            storage::Error::TooLarge => {
                failure("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
            }
            other => Failure::text(format!("ERR {other}")),
        }
    }
}

/// `ERR wrong number of arguments …`; `name` as in [`crate::command::CommandEntry::full_name`].
pub fn wrong_arity(name: &str) -> Failure {
    Failure::text(format!("ERR wrong number of arguments for '{name}' command"))
}

/// The reply to an unknown command, with the beginning of its arguments as in Redis.
pub fn unknown_command(request: Request<'_>) -> Failure {
    let name = lossy(request.arg(0), 128);
    let mut shown = String::new();
    for arg in request.iter().skip(1) {
        if shown.len() >= 128 {
            break;
        }
        let room = 128 - shown.len();
        shown.push_str(&format!("'{}' ", lossy(arg, room)));
    }
    Failure::text(format!("ERR unknown command '{name}', with args beginning with: {shown}"))
}

/// The reply to a second word that is no subcommand.
pub fn unknown_subcommand(request: Request<'_>) -> Failure {
    let Some(word) = request.get(1) else {
        return wrong_arity(&lossy(request.arg(0), 128).to_lowercase());
    };
    let container = lossy(request.arg(0), 128).to_uppercase();
    Failure::text(format!("ERR unknown subcommand '{}'. Try {container} HELP.", lossy(word, 128)))
}

/// The reply to a known subcommand with arguments it does not take.
pub fn subcommand_syntax(request: Request<'_>) -> Failure {
    let word = lossy(request.get(1).unwrap_or_default(), 128);
    let container = lossy(request.arg(0), 128).to_uppercase();
    Failure::text(format!(
        "ERR unknown subcommand or wrong number of arguments for '{word}'. Try {container} HELP."
    ))
}

/// A client's bytes as Redis shows them in errors: they end before the first zero byte, as in C.
pub fn shown(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes.split(|&byte| byte == 0).next().unwrap_or_default())
}

/// At most `max` bytes of `bytes` as text.
fn lossy(bytes: &[u8], max: usize) -> Cow<'_, str> {
    shown(&bytes[..bytes.len().min(max)])
}
