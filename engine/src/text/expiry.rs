//! Expiry times in arguments: one grammar for `SET`, `GETEX`, `EXPIRE` and their kin.

use crate::cx::Cx;
use crate::failure::Failure;
use crate::text::args::integer;

/// The unit of a time in an argument, and whether it counts from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Milliseconds in one.
    pub ms: i64,
    /// Whether it counts from now.
    pub relative: bool,
}

/// `EX`: seconds from now.
pub const EX: Unit = Unit { ms: 1000, relative: true };
/// `PX`: milliseconds from now.
pub const PX: Unit = Unit { ms: 1, relative: true };
/// `EXAT`: Unix seconds.
pub const EXAT: Unit = Unit { ms: 1000, relative: false };
/// `PXAT`: Unix milliseconds.
pub const PXAT: Unit = Unit { ms: 1, relative: false };

impl Unit {
    /// Unix milliseconds; `None` when they do not fit.
    pub fn absolute(self, value: i64, now_ms: u64) -> Option<i64> {
        let base = if self.relative { i64::try_from(now_ms).ok()? } else { 0 };
        value.checked_mul(self.ms)?.checked_add(base)
    }
}

/// `ERR invalid expire time in 'set' command`, for the running command.
pub fn invalid_expire(cx: &Cx<'_>) -> Failure {
    Failure::text(format!("ERR invalid expire time in '{}' command", cx.command_name()))
}

/// Argument `index` as an expiry that comes with a value: it must be positive.
pub fn positive_expiry(cx: &Cx<'_>, index: usize, unit: Unit) -> Result<u64, Failure> {
    let value = integer(cx.args.arg(index))?;
    let at = if value > 0 { unit.absolute(value, cx.now.wall_ms) } else { None };
    at.map(|at| at as u64).ok_or_else(|| invalid_expire(cx))
}

/// Whether a key with this expiry counts as expired already. Never while a log is replayed: the key
/// existed when it was logged, and the log contains its deletion.
pub fn is_past(cx: &Cx<'_>, at_ms: i64) -> bool {
    !cx.session.is_timeless() && at_ms <= cx.now.wall_ms as i64
}
