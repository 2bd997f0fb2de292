//! The row that describes a command, and the table of all rows.
//!
//! A row is the single source: lookup, arity errors, key extraction, locking, `COMMAND`, ACL
//! categories and the docs page all derive from it.

mod argument;
mod id;
mod keys;
mod options;
mod secrets;
mod shown;
mod spec;
pub mod syntax;
mod table;

pub use argument::{Argument, Kind as ArgumentKind, arguments};
pub use id::CommandId;
pub use keys::{Found, KeyFinder, KeyPosition};
pub use options::{Given, NoOption, Options, Takes, Walk};
pub use secrets::Secret;
pub use shown::REDACTED;
pub use spec::{
    Begin, Categories, Category, Channels, Find, Flag, Flags, Group, Handler, KeySpec, LockRule,
    RunsScript, SPEC, Spec, key, key_range, keyword_keys, numkeys,
};
pub use table::{CommandEntry, CommandTable, DuplicateCommand};
