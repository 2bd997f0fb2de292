//! Finding a request's keys by its row's key specs.

use super::spec::{Access, Begin, Find, KeySpec};
use resp::Request;
use smallvec::SmallVec;

/// One key among a request's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPosition {
    /// Index of the argument.
    pub index: usize,
    /// Which of the row's specs found it.
    pub spec: usize,
    /// What happens to it.
    pub access: Access,
}

/// The keys of one request; on the stack for all but the longest requests.
pub type Found = SmallVec<[KeyPosition; 16]>;

/// Collects the keys of `request`; `None` when a count does not fit the arguments.
pub(super) fn find(specs: &[KeySpec], request: Request<'_>) -> Option<Found> {
    let mut found = Found::new();
    for (number, spec) in specs.iter().enumerate() {
        if spec.flags.contains("not_key") {
            continue;
        }
        let Some(begin) = begin(spec, request) else { continue };
        if spec.replaces_earlier() {
            found.clear();
        }
        extend(&mut found, number, spec, begin, request)?;
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

/// Where `word` stands: from argument `from` on, or from the end backwards when negative.
fn keyword(request: Request<'_>, word: &str, from: i32) -> Option<usize> {
    let is_word = |&i: &usize| request.arg(i).eq_ignore_ascii_case(word.as_bytes());
    if from >= 0 {
        (from as usize..request.len()).find(is_word)
    } else {
        let last = request.len().checked_sub(from.unsigned_abs() as usize)?;
        (1..=last).rev().find(is_word)
    }
}

fn extend(
    found: &mut Found,
    number: usize,
    spec: &KeySpec,
    begin: usize,
    request: Request<'_>,
) -> Option<()> {
    let argc = request.len();
    let (first, last, step) = match spec.find {
        Find::Range { last, step, limit } => (begin, range_end(begin, last, limit, argc), step),
        Find::KeyNum { index, first, step } => {
            let count: usize = parse_count(request.get(begin + index as usize)?)?;
            let first = begin + first as usize;
            if count == 0 {
                return Some(());
            }
            let last = first.checked_add(count.checked_sub(1)?.checked_mul(step as usize)?)?;
            if last >= argc {
                return None;
            }
            (first, last + 1, step)
        }
        Find::Unknown => return Some(()),
    };
    let access = spec.access();
    let indices = (first..last.min(argc)).step_by(step.max(1) as usize);
    found.extend(indices.map(|index| KeyPosition { index, spec: number, access }));
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

fn parse_count(bytes: &[u8]) -> Option<usize> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}
