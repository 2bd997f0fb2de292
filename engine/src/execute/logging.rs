//! Logging of calls, and of deletions that no request asked for. No other module makes effects for
//! a journal.

use super::effects::Effects;
use super::{Call, Changes};
use smallvec::SmallVec;
use storage::{Appended, Db, Expired, Journal};

impl Effects {
    /// Passes each effect of `call`, which ran in database `db`, to `each`: its database and its
    /// arguments. Only this function decides what is logged of a call.
    #[inline(always)]
    pub fn render(&self, call: &Call<'_>, db: Db, mut each: impl FnMut(Db, &[&[u8]])) {
        match self {
            Effects::Verbatim if call.entry.replicates() => {
                let mut args: SmallVec<[&[u8]; 16]> = call.request.iter().collect();
                if let Some(name) = call.entry.renamed {
                    args[0] = name.as_bytes();
                }
                each(db, &args);
            }
            Effects::Verbatim | Effects::Nothing => {}
            Effects::Replaced(all) => {
                for (db, effect) in all {
                    let args: SmallVec<[&[u8]; 16]> = effect.view().iter().collect();
                    each(*db, &args);
                }
            }
        }
    }

    /// Adds the effects of `call` to those that are logged together.
    pub fn collect(&self, call: &Call<'_>, db: Db, all: &mut Vec<(Db, Vec<Vec<u8>>)>) {
        self.render(call, db, |db, args| {
            all.push((db, args.iter().map(|arg| arg.to_vec()).collect()));
        });
    }
}

/// Appends the effects of a command in database `db` to the journal; several effects are logged
/// together.
#[inline(always)]
pub(crate) fn log(
    journal: &dyn Journal,
    call: &Call<'_>,
    (slot, db): (u16, Db),
    changes: &Changes,
) -> Option<Appended> {
    let effects = changes.effects();
    if let Effects::Replaced(many) = effects
        && many.len() > 1
    {
        let mut all = Vec::with_capacity(many.len());
        effects.collect(call, db, &mut all);
        return Some(journal.append_atomic(slot, &all));
    }
    let mut appended = None;
    effects.render(call, db, |db, args| appended = Some(journal.append(slot, db, args)));
    appended
}

/// Appends the deletion of a key, or of fields of a hash, that no request asked for.
pub(crate) fn log_deletion(journal: &dyn Journal, slot: u16, deleted: &Expired) -> Appended {
    let Expired { db, key, fields } = deleted;
    let name: &[u8] = if fields.is_empty() { b"DEL" } else { b"HDEL" };
    let mut effect: SmallVec<[&[u8]; 8]> = SmallVec::from_slice(&[name, key]);
    effect.extend(fields.iter().map(|field| &field[..]));
    journal.append(slot, *db, &effect)
}
