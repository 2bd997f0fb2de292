//! A persistent backend as the base of the log: which part of the log its image lacks.
//!
//! See the module documentation of [`super`] for why this is exact.

use super::error::LoadError;
use super::files::FileSet;
use super::log::seq_of;
use storage::backend::{Backend, Locks};
use storage::journal::{LOG, Position};
use storage::{Error, Result};

/// The mark that is stored by [`Backend::set_checkpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// No log has been in front of this store.
    None,
    /// The base is being loaded; the data in the store are part of it.
    Loading,
    /// Everything before this increment is in the store.
    From(u64),
}

const LOADING: &[u8] = b"loading";

impl Mark {
    fn read(backend: &dyn Backend) -> Result<Self> {
        let Some(mark) = backend.checkpoint()? else { return Ok(Mark::None) };
        if mark == LOADING {
            return Ok(Mark::Loading);
        }
        let seq = mark.strip_prefix(b"from ").and_then(resp::parse_i64);
        let seq = seq.and_then(|seq| u64::try_from(seq).ok());
        seq.map(Mark::From).ok_or_else(|| Error::corrupt("the store's mark of the log"))
    }
}

/// Notes that everything before increment `seq` is in the store, which is synced.
pub(super) fn set_from(backend: &dyn Backend, seq: u64) -> Result<()> {
    backend.set_checkpoint(format!("from {seq}").as_bytes())?;
    backend.flush()
}

/// Notes that the base is being loaded.
pub(super) fn set_loading(backend: &dyn Backend) -> Result<()> {
    backend.set_checkpoint(LOADING)?;
    backend.flush()
}

/// Removes the data of an interrupted load: the base is loaded again from its start.
pub(super) fn clear(backend: &dyn Backend) -> Result<()> {
    let dbs = backend.used_dbs();
    let mut cleared = Ok(());
    backend.transact(Locks::All, 0, &mut |tx| {
        cleared = dbs.iter().try_for_each(|&db| tx.clear(db).map(drop));
        tx.set_last(Position::log(0));
    })?;
    cleared
}

/// The part of the log that is to be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// The base and all increments.
    Base,
    /// The increments from this one on.
    Increment(u64),
}

/// Decides it, and refuses combinations of store and log that do not belong together.
pub(super) fn start(set: &mut FileSet, image: Option<&dyn Backend>) -> Result<Start, LoadError> {
    let refuse = |cause: String| Err(LoadError::of(&set.dir, cause));
    let Some(backend) = image else {
        return match &set.manifest.image {
            Some(name) => refuse(format!(
                "this log is only the tail of a {name} store, and means nothing without it: \
                 start with storage {name}"
            )),
            None => Ok(Start::Base),
        };
    };
    let name = backend.name();
    let at_dir = |error: Error| LoadError::of(&set.dir, error);
    let mark = Mark::read(backend).map_err(at_dir)?;
    let applied = seq_of(backend.last(LOG));
    match (&set.manifest.image, mark) {
        (Some(other), _) if other != name => {
            refuse(format!("this log is the tail of a {other} store, not of {name}"))
        }
        (_, mark) if set.fresh => {
            // New records must not carry positions the store has seen.
            let from = if let Mark::From(seq) = mark { seq } else { 0 };
            set.seq_min = from.max(applied) + 1;
            Ok(Start::Increment(set.seq_min))
        }
        (Some(_), Mark::None | Mark::Loading) => {
            refuse(format!("this log is only the tail of a {name} store, but that store is empty"))
        }
        (None, Mark::None) if !backend.used_dbs().is_empty() => refuse(format!(
            "both this log and the {name} store hold data, and they do not belong together: \
             remove one of them, or start with appendonly no"
        )),
        (None, Mark::None | Mark::Loading) => Ok(Start::Base),
        (_, Mark::From(seq)) => {
            let first = set.manifest.increments.first().map_or(1, |part| part.seq);
            if first > seq {
                return refuse(format!(
                    "the {name} store needs increments from {seq} on, but the first is {first}"
                ));
            }
            set.seq_min = seq;
            Ok(Start::Increment(seq))
        }
    }
}
