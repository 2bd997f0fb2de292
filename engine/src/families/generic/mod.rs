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

use crate::args::integer;
use crate::cx::Cx;
use crate::failure::{Failure, NOT_INTEGER, failure};
use storage::Db;

pub use expire::{expire_at, persist_key};
pub use rows::COMMANDS;

/// A number beyond C's `int`.
const NOT_I32: Failure =
    failure("ERR value is out of range, value must between -2147483648 and 2147483647");

/// Two names for one key.
const SAME_OBJECT: Failure = failure("ERR source and destination objects are the same");

/// Argument `index` as the number of a database.
fn database(
    cx: &Cx<'_>,
    index: usize,
    not_a_number: Failure,
    too_large: Failure,
) -> Result<Db, Failure> {
    let number = integer(cx.args.arg(index)).map_err(|_| not_a_number)?;
    let number = i32::try_from(number).map_err(|_| too_large)?;
    let known = Db::try_from(number).ok().filter(|&db| db < cx.engine.databases());
    known.ok_or(failure("ERR DB index is out of range"))
}

/// [`database`] with the usual error.
fn database_or_not_integer(cx: &Cx<'_>, index: usize) -> Result<Db, Failure> {
    database(cx, index, NOT_INTEGER, NOT_I32)
}
