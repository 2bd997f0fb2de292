//! [`Effects`]: what a write appends to the log, if that is not the command itself.

use crate::text::args::OwnedRequest;
use storage::Db;

/// The commands that are logged for a call.
#[derive(Debug, Default)]
pub(crate) enum Effects {
    /// The command itself, as it came; this is the default.
    #[default]
    Verbatim,
    /// Nothing.
    Nothing,
    /// These commands instead, each with its database.
    Replaced(Vec<(Db, OwnedRequest)>),
}

impl Effects {
    /// Adds an effect that replaces the verbatim command.
    pub fn replace(&mut self, db: Db, effect: &[&[u8]]) {
        let owned = OwnedRequest::new(effect.iter().copied());
        match self {
            Effects::Replaced(all) => all.push((db, owned)),
            _ => *self = Effects::Replaced(vec![(db, owned)]),
        }
    }

    /// Logs nothing, unless other effects were given before.
    pub fn suppress(&mut self) {
        if matches!(self, Effects::Verbatim) {
            *self = Effects::Nothing;
        }
    }
}
