//! Sets: sorted integers, packed bytes, or a table.

use super::entry::{Entry, Payload};
use super::hashing::Hasher;
use super::intset::{IntSet, canonical_integer};
use super::packed::{Packed, Scratch, put_item};
use super::value::Elements;
use std::ops::Range;
use storage::EncodingLimits;
use storage::tx::Kind;

/// A set's representation.
#[derive(Debug)]
pub enum SetValue {
    /// All members are integers.
    Ints(Box<IntSet>),
    /// Few, short members.
    Small(Packed),
    /// Anything else.
    Large(Elements),
}

impl SetValue {
    /// The empty set.
    pub fn new() -> Self {
        SetValue::Ints(Box::new(IntSet::new()))
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        match self {
            SetValue::Ints(ints) => ints.len(),
            SetValue::Small(packed) => packed.count(),
            SetValue::Large(elements) => elements.table.len(),
        }
    }

    /// Allocated bytes.
    pub fn bytes(&self) -> usize {
        match self {
            SetValue::Ints(ints) => size_of::<IntSet>() + ints.allocated(),
            SetValue::Small(packed) => packed.allocated(),
            SetValue::Large(elements) => elements.bytes(),
        }
    }

    /// Redis's name of the encoding.
    pub fn encoding(&self) -> &'static str {
        match self {
            SetValue::Ints(_) => "intset",
            SetValue::Small(_) => "listpack",
            SetValue::Large(_) => "hashtable",
        }
    }

    /// Whether `member` is in it.
    pub fn contains(&self, hasher: &Hasher, member: &[u8]) -> bool {
        match self {
            SetValue::Ints(ints) => {
                canonical_integer(member).is_some_and(|value| ints.search(value).is_ok())
            }
            SetValue::Small(packed) => find(packed, member).is_some(),
            SetValue::Large(elements) => elements.table.get(hasher.hash(member), member).is_some(),
        }
    }

    /// Adds a member; false when it was there.
    pub fn insert(&mut self, hasher: &Hasher, limits: &EncodingLimits, member: &[u8]) -> bool {
        match self {
            SetValue::Ints(ints) => match canonical_integer(member) {
                Some(value) if ints.search(value).is_ok() => return false,
                Some(value) if ints.len() < limits.set_intset_entries => {
                    return ints.insert(value);
                }
                _ => {}
            },
            SetValue::Small(packed) => {
                if find(packed, member).is_some() {
                    return false;
                }
                if packed.count() < limits.set_entries && member.len() <= limits.set_value {
                    append(packed, member);
                    return true;
                }
            }
            SetValue::Large(elements) => return add(elements, hasher, member),
        }
        self.convert(hasher, limits, member);
        self.insert(hasher, limits, member)
    }

    /// Changes to a representation that can take `member`.
    fn convert(&mut self, hasher: &Hasher, limits: &EncodingLimits, member: &[u8]) {
        let small = matches!(self, SetValue::Ints(_))
            && self.len() < limits.set_entries
            && member.len() <= limits.set_value
            // Longer than the limit only when the limit is shorter than a number.
            && limits.set_value >= 20
            && canonical_integer(member).is_none();
        if small {
            let mut packed = Packed::new();
            self.for_each(&mut |member| {
                append(&mut packed, member);
                true
            });
            *self = SetValue::Small(packed);
        } else {
            let mut elements = Elements::new();
            self.for_each(&mut |member| add(&mut elements, hasher, member));
            *self = SetValue::Large(elements);
        }
    }

    /// Removes a member; false when it was not there.
    pub fn remove(&mut self, hasher: &Hasher, member: &[u8]) -> bool {
        match self {
            SetValue::Ints(ints) => {
                canonical_integer(member).is_some_and(|value| ints.remove(value))
            }
            SetValue::Small(packed) => {
                let Some(range) = find(packed, member) else { return false };
                packed.splice(range, &[]);
                packed.add_count(-1);
                true
            }
            SetValue::Large(elements) => {
                let Some(found) = elements.table.find(hasher.hash(member), member) else {
                    return false;
                };
                elements.entry_bytes -= found.remove(hasher).bytes();
                true
            }
        }
    }

    /// Visits every member until `visit` says false.
    pub fn for_each(&self, visit: &mut dyn FnMut(&[u8]) -> bool) {
        match self {
            SetValue::Ints(ints) => {
                let mut text = itoa::Buffer::new();
                let _ = (0..ints.len()).all(|at| visit(text.format(ints.at(at)).as_bytes()));
            }
            SetValue::Small(packed) => {
                let mut at = packed.start();
                while let Some((item, next)) = packed.item(at) {
                    if !visit(packed.get(item)) {
                        return;
                    }
                    at = next;
                }
            }
            SetValue::Large(elements) => elements.table.for_each(&mut |entry| visit(entry.key())),
        }
    }

    /// Visits about `count` members; the next cursor. Compact sets are visited whole, as in Redis.
    pub fn scan(
        &self,
        hasher: &Hasher,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&[u8]) -> bool,
    ) -> u64 {
        if let SetValue::Large(elements) = self {
            let mut going = true;
            return elements.table.scan(hasher, cursor, count, &mut |entry| {
                going = going && visit(entry.key());
            });
        }
        self.for_each(visit);
        0
    }

    /// The member a random number chooses, written to `out`; false when there are none.
    pub fn random(&self, random: u64, out: &mut Vec<u8>) -> bool {
        out.clear();
        if self.len() == 0 {
            return false;
        }
        let index = (random % self.len() as u64) as usize;
        match self {
            SetValue::Ints(ints) => {
                out.extend_from_slice(itoa::Buffer::new().format(ints.at(index)).as_bytes());
            }
            SetValue::Small(packed) => {
                let mut at = packed.start();
                for _ in 0..index {
                    at = packed.item(at).map_or(at, |(_, next)| next);
                }
                if let Some((item, _)) = packed.item(at) {
                    out.extend_from_slice(packed.get(item));
                }
            }
            SetValue::Large(elements) => {
                if let Some(entry) = elements.table.random(random) {
                    out.extend_from_slice(entry.key());
                }
            }
        }
        true
    }
}

fn add(elements: &mut Elements, hasher: &Hasher, member: &[u8]) -> bool {
    let hash = hasher.hash(member);
    if elements.table.get(hash, member).is_some() {
        return false;
    }
    let entry = Entry::new(Kind::String, member, Payload::Inline(&[]), None);
    elements.entry_bytes += entry.bytes();
    elements.table.insert(hasher, hash, entry);
    true
}

fn append(packed: &mut Packed, member: &[u8]) {
    let mut scratch = Scratch::new();
    put_item(&mut scratch, member);
    packed.splice(packed.end()..packed.end(), &scratch);
    packed.add_count(1);
}

/// The whole record of a member.
fn find(packed: &Packed, member: &[u8]) -> Option<Range<usize>> {
    let mut at = packed.start();
    while let Some((item, next)) = packed.item(at) {
        if packed.equals(&item, member) {
            return Some(at..next);
        }
        at = next;
    }
    None
}
