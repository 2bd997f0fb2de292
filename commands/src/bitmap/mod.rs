//! Bitmap commands: strings seen as bits, numbered from each byte's highest.
//!
//! | module | what |
//! | --- | --- |
//! | [`bits`] | counting and finding bits in bytes |
//! | `single` | SETBIT and GETBIT |
//! | `ranges` | BITCOUNT and BITPOS |
//! | `operate` | BITOP |
//! | `field` | the integers of BITFIELD: types, overflow |
//! | `bitfield` | BITFIELD and BITFIELD_RO |

mod bitfield;
mod bits;
mod field;
mod operate;
mod ranges;
mod rows;
mod single;

use engine::config::Id;
use engine::cx::Cx;
use engine::failure::{Failure, failure};
use resp::parse_i64;
use storage::Key;

pub use rows::COMMANDS;

const NOT_AN_OFFSET: Failure = failure("ERR bit offset is not an integer or out of range");

/// A bit offset, within what `proto-max-bulk-len` allows a string to have. `#n` means the `n`-th
/// field of `width` bits where that is given.
fn offset(cx: &Cx<'_>, arg: &[u8], width: Option<u32>) -> Result<u64, Failure> {
    let (digits, unit) = match (arg.strip_prefix(b"#"), width) {
        (Some(digits), Some(width)) => (digits, u64::from(width)),
        _ => (arg, 1),
    };
    let number = parse_i64(digits).and_then(|number| u64::try_from(number).ok());
    let bit = number.and_then(|number| number.checked_mul(unit));
    let limit = cx.engine.config.memory(Id::ProtoMaxBulkLen);
    // Requests from a log or a master were checked at their source.
    let limit = if cx.session.is_trusted() { u64::MAX } else { limit };
    bit.filter(|bit| bit / 8 < limit).ok_or(NOT_AN_OFFSET)
}

/// Makes the string at `key` long enough to hold byte `last`; whether it had to grow.
fn grow(cx: &mut Cx<'_>, key: &Key<'_>, last: u64) -> Result<bool, Failure> {
    let grows = cx.tx.string_len(key)? <= last;
    if grows {
        cx.tx.set_range(key, last, &[0])?;
        cx.engine.note_growth(0);
    }
    Ok(grows)
}
