//! [`Effects`]: what a write leaves in the log, when it is not the command as it came.

use crate::args::OwnedRequest;
use crate::command::Flag;
use crate::cx::Rest;
use crate::dispatch::Call;
use smallvec::SmallVec;
use storage::{Appended, Db};

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

/// Collects what a command of a transaction did.
pub(crate) fn collect(all: &mut Vec<(Db, Vec<Vec<u8>>)>, call: Call<'_>, db: Db, effects: Effects) {
    match effects {
        Effects::Verbatim if call.entry.has(Flag::Write) => {
            let mut args: Vec<Vec<u8>> = call.request.iter().map(<[u8]>::to_vec).collect();
            if let Some(name) = call.entry.renamed {
                args[0] = name.as_bytes().to_vec();
            }
            all.push((db, args));
        }
        Effects::Verbatim | Effects::Nothing => {}
        Effects::Replaced(many) => {
            all.extend(many.iter().map(|(db, effect)| (*db, owned_args(effect))));
        }
    }
}

/// Appends what a command did to the journal.
#[inline(always)]
pub(crate) fn log(
    journal: &dyn storage::Journal,
    call: &Call<'_>,
    (slot, db): (u16, Db),
    rest: Option<&Rest>,
) -> Option<Appended> {
    match rest.map_or(&Effects::Verbatim, |rest| &rest.effects) {
        Effects::Verbatim if call.entry.has(Flag::Write) || call.entry.has(Flag::MayReplicate) => {
            let mut args: SmallVec<[&[u8]; 16]> = call.request.iter().collect();
            if let Some(name) = call.entry.renamed {
                args[0] = name.as_bytes();
            }
            Some(journal.append(slot, db, &args))
        }
        Effects::Verbatim | Effects::Nothing => None,
        Effects::Replaced(all) => match &all[..] {
            [(db, one)] => {
                let args: SmallVec<[&[u8]; 16]> = one.view().iter().collect();
                Some(journal.append(slot, *db, &args))
            }
            many => {
                let many: Vec<_> = many.iter().map(|(db, e)| (*db, owned_args(e))).collect();
                Some(journal.append_atomic(slot, &many))
            }
        },
    }
}

/// The arguments of an effect.
pub(crate) fn owned_args(request: &OwnedRequest) -> Vec<Vec<u8>> {
    request.view().iter().map(<[u8]>::to_vec).collect()
}
