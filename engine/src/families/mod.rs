//! The built-in commands, one file per family. Each file ends with its rows.

pub mod connection;
pub mod string;
pub mod transactions;

use crate::command::Spec;

/// Every family's rows.
pub const ALL: &[&[Spec]] = &[connection::COMMANDS, string::COMMANDS, transactions::COMMANDS];
