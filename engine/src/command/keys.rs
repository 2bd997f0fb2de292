//! Finding a request's keys: by the row's key specs, or by a function that the row names.

use super::spec::{Begin, Find, KeySpec, Spec};
use resp::{Request, parse_i64};
use smallvec::SmallVec;

/// One key among a request's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPosition {
    /// Index of the argument.
    pub index: usize,
    /// How the command uses it, in the words of [`KeySpec::flags`].
    pub flags: &'static str,
}

impl KeyPosition {
    /// Whether the command reveals the key's value, which takes the permission to read.
    pub fn is_read(self) -> bool {
        self.has("ACCESS")
    }

    /// Whether the command may change the key, which takes the permission to write.
    pub fn is_written(self) -> bool {
        self.has("INSERT") || self.has("DELETE") || self.has("UPDATE")
    }

    fn has(self, word: &str) -> bool {
        self.flags.split(' ').any(|flag| flag == word)
    }
}

/// The keys of one request; on the stack for all but the longest requests.
pub type Found = SmallVec<[KeyPosition; 16]>;

/// Finds the keys of a request whose positions do not determine them, with the same
/// [`super::Options`] that the handler uses. It is given the row's specs, whose flags it returns.
/// `None` if the keys cannot be determined; the handler then refuses the request without using any
/// key.
pub type KeyFinder = fn(&'static [KeySpec], Request<'_>) -> Option<Found>;

/// Collects the keys of `request`; `None` if they cannot be determined.
pub(super) fn find(spec: &Spec, request: Request<'_>) -> Option<Found> {
    match spec.find_keys {
        Some(find) => find(spec.keys, request),
        None => by_specs(spec.keys.iter().filter(|spec| is_key(spec)), request),
    }
}

/// Collects the arguments of `request` by which a cluster routes it: its keys, or shard channels.
pub(super) fn find_routed(spec: &Spec, request: Request<'_>) -> Option<Found> {
    match spec.keys.iter().all(is_key) {
        true => find(spec, request),
        false => by_specs(spec.keys.iter(), request),
    }
}

fn is_key(spec: &KeySpec) -> bool {
    !spec.flags.contains("not_key")
}

fn by_specs<'s>(specs: impl Iterator<Item = &'s KeySpec>, request: Request<'_>) -> Option<Found> {
    let mut found = Found::new();
    for spec in specs {
        let Some(begin) = begin(spec, request) else { continue };
        extend(&mut found, spec, begin, request)?;
    }
    Some(found)
}

fn begin(spec: &KeySpec, request: Request<'_>) -> Option<usize> {
    match spec.begin {
        Begin::Index(index) => Some(index as usize),
        Begin::Keyword(word, from) => keyword(request, word, from).map(|at| at + 1),
        Begin::Unknown => None,
    }
}

/// The position of `word`: searched from argument `from` on, or backwards from the end if that is
/// negative.
fn keyword(request: Request<'_>, word: &str, from: i32) -> Option<usize> {
    let is_word = |&i: &usize| request.arg(i).eq_ignore_ascii_case(word.as_bytes());
    if from >= 0 {
        (from as usize..request.len()).find(is_word)
    } else {
        let last = request.len().checked_sub(from.unsigned_abs() as usize)?;
        (1..=last).rev().find(is_word)
    }
}

fn extend(found: &mut Found, spec: &KeySpec, begin: usize, request: Request<'_>) -> Option<()> {
    let argc = request.len();
    let (first, last, step) = match spec.find {
        Find::Range { last, step, limit } => (begin, range_end(begin, last, limit, argc), step),
        Find::KeyNum { index, first, step } => {
            let count = parse_i64(request.get(begin + index as usize)?)?;
            let count = usize::try_from(count).ok().filter(|&count| count > 0)?;
            let first = begin + first as usize;
            let last = first.checked_add((count - 1).checked_mul(step as usize)?)?;
            if last >= argc {
                return None;
            }
            (first, last + 1, step)
        }
        Find::Unknown => return Some(()),
    };
    let indices = (first..last.min(argc)).step_by(step.max(1) as usize);
    found.extend(indices.map(|index| KeyPosition { index, flags: spec.flags }));
    Some(())
}

/// One past the last key of a range spec.
fn range_end(begin: usize, last: i32, limit: i32, argc: usize) -> usize {
    if last >= 0 {
        return begin + last as usize + 1;
    }
    let rest = argc.saturating_sub(begin);
    match limit {
        0 | 1 => (argc + 1).saturating_sub(last.unsigned_abs() as usize),
        divisor => begin + rest / divisor as usize,
    }
}
