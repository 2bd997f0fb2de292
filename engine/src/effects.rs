//! [`Effects`]: what a write leaves in the log, when it is not the command as it came.

use crate::args::OwnedRequest;
use storage::Db;

/// What to log for one command.
#[derive(Debug, Default)]
pub(crate) enum Effects {
    /// The command verbatim: the row's default.
    #[default]
    Verbatim,
    /// Nothing.
    Nothing,
    /// These commands.
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

    /// Logs nothing, unless something else was already given.
    pub fn suppress(&mut self) {
        if matches!(self, Effects::Verbatim) {
            *self = Effects::Nothing;
        }
    }
}
