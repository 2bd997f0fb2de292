//! Commands for keys of any type, and for whole databases.

mod databases;
mod expire;
pub(crate) mod iterate;
mod keys;
mod migrate;
mod moving;
mod object;
mod rows;
mod serialized;

use engine::cx::Cx;
use engine::failure::{Failure, NOT_INTEGER, failure};
use engine::text::args::integer;
use storage::Db;

pub use expire::{expire_at, persist_key};
pub use rows::COMMANDS;

/// A number beyond C's `int`.
const NOT_I32: Failure =
    failure("ERR value is out of range, value must between -2147483648 and 2147483647");

/// Two names for one key.
const SAME_OBJECT: Failure = failure("ERR source and destination objects are the same");

/// Parses a C `int`, where it is the number of a database.
fn c_int(argument: &[u8], not_a_number: Failure, too_large: Failure) -> Result<i32, Failure> {
    i32::try_from(integer(argument).map_err(|_| not_a_number)?).map_err(|_| too_large)
}

/// The database of this number, if there is one.
fn known_database(cx: &Cx<'_>, number: i32) -> Result<Db, Failure> {
    let known = Db::try_from(number).ok().filter(|&db| db < cx.engine.databases());
    known.ok_or(failure("ERR DB index is out of range"))
}

/// Argument `index` as the number of a database.
pub(super) fn database(cx: &Cx<'_>, index: usize) -> Result<Db, Failure> {
    known_database(cx, c_int(cx.args.arg(index), NOT_INTEGER, NOT_I32)?)
}
