//! [`CommandTable`]: every row, found by name in a few nanoseconds without allocating.

use super::keys::{self, Found};
use super::spec::{Begin, Find, Flag, LockRule, Spec};
use resp::Request;
use std::fmt;

/// A command's number in its table, counting subcommands: index of per-command statistics.
pub type CommandId = u16;

/// A row as the dispatcher uses it: the slow facts turned into bits.
pub struct Entry {
    /// The row.
    pub spec: &'static Spec,
    /// `get`, `client|id`.
    pub full_name: String,
    /// The entry's number.
    pub id: CommandId,
    /// [`Flag::bit`]s.
    pub flags: u32,
    /// ACL category bits.
    pub categories: u32,
    /// The first key's argument, when every request has it in the same place.
    pub first_key: Option<usize>,
    /// Whether that key is the only one, so that one shard is all to lock.
    pub single_key: bool,
    /// Takes a microsecond or less, as far as its row tells: measured together with its kind.
    pub quick: bool,
    /// Entries of the subcommands.
    pub subcommands: Vec<CommandId>,
    /// The container, for a subcommand.
    pub parent: Option<CommandId>,
}

impl Entry {
    /// Whether the row has `flag`.
    #[inline]
    pub fn has(&self, flag: Flag) -> bool {
        self.flags & flag.bit() != 0
    }

    /// Whether a request of `argc` arguments has the right number of them.
    #[inline]
    pub fn accepts(&self, argc: usize) -> bool {
        let arity = self.spec.arity;
        if arity >= 0 { argc == arity as usize } else { argc >= arity.unsigned_abs() as usize }
    }

    /// The keys of a request, `None` when they cannot be made out (a count beyond the arguments).
    pub fn keys(&self, request: Request<'_>) -> Option<Found> {
        keys::find(self.spec.keys, request)
    }

    fn new(spec: &'static Spec, id: CommandId, parent: Option<&Entry>) -> Self {
        let full_name = match parent {
            Some(parent) => format!("{}|{}", parent.full_name, spec.name),
            None => spec.name.to_owned(),
        };
        let first_key = first_key(spec);
        Entry {
            spec,
            full_name,
            id,
            flags: spec.flag_bits() | movable_bit(spec),
            categories: spec.category_bits(),
            first_key,
            single_key: first_key.is_some()
                && matches!(spec.locks, LockRule::Keys)
                && matches!(spec.keys, [only] if matches!(only.find, Find::Range { last: 0, .. })),
            quick: spec.flags.contains(&Flag::Fast) || spec.complexity == "O(1)",
            subcommands: Vec::new(),
            parent: parent.map(|p| p.id),
        }
    }
}

/// The argument of the first key, when the first spec is a plain position.
fn first_key(spec: &Spec) -> Option<usize> {
    let first = spec.keys.first().filter(|k| !k.flags.contains("not_key"))?;
    match (first.begin, first.find) {
        (Begin::Index(index), Find::Range { .. }) => Some(index as usize),
        _ => None,
    }
}

/// Redis derives `movablekeys` from key specs that positions alone do not describe.
fn movable_bit(spec: &Spec) -> u32 {
    let movable = spec.keys.iter().any(|k| {
        !matches!((k.begin, k.find), (Begin::Index(_), Find::Range { .. }))
            || k.flags.contains("incomplete")
    });
    if movable { Flag::MovableKeys.bit() } else { 0 }
}

/// Two rows with one name were given to [`CommandTable::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicateCommand(pub String);

impl fmt::Display for DuplicateCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command '{}' is defined twice", self.0)
    }
}

impl std::error::Error for DuplicateCommand {}

/// Empty slot of the lookup table.
const EMPTY: CommandId = CommandId::MAX;

/// All commands of a server.
pub struct CommandTable {
    entries: Vec<Entry>,
    /// Open addressing by name hash; top-level commands only.
    slots: Box<[CommandId]>,
}

impl CommandTable {
    /// Builds the table from slices of rows.
    ///
    /// # Errors
    /// When a name occurs twice.
    pub fn new(
        families: impl IntoIterator<Item = &'static [Spec]>,
    ) -> Result<Self, DuplicateCommand> {
        let mut entries = Vec::new();
        for spec in families.into_iter().flatten() {
            push_with_subcommands(&mut entries, spec)?;
        }
        let mut table = CommandTable { slots: empty_slots(entries.len()), entries };
        for index in 0..table.entries.len() {
            table.index(index)?;
        }
        Ok(table)
    }

    fn index(&mut self, index: usize) -> Result<(), DuplicateCommand> {
        let entry = &self.entries[index];
        if entry.parent.is_some() {
            return Ok(());
        }
        let name = entry.spec.name.as_bytes();
        let mask = self.slots.len() - 1;
        let mut slot = hash(name) as usize & mask;
        while self.slots[slot] != EMPTY {
            if self.entries[self.slots[slot] as usize].spec.name.as_bytes() == name {
                return Err(DuplicateCommand(entry.spec.name.to_owned()));
            }
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = index as CommandId;
        Ok(())
    }

    /// Every entry, containers before their subcommands.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry with this number.
    #[inline]
    pub fn entry(&self, id: CommandId) -> &Entry {
        &self.entries[id as usize]
    }

    /// Finds a top-level command, ignoring case.
    #[inline(always)]
    pub fn find(&self, name: &[u8]) -> Option<&Entry> {
        let mask = self.slots.len() - 1;
        let mut slot = hash(name) as usize & mask;
        loop {
            let id = self.slots[slot];
            if id == EMPTY {
                return None;
            }
            let entry = &self.entries[id as usize];
            if entry.spec.name.as_bytes().eq_ignore_ascii_case(name) {
                return Some(entry);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Finds the entry that runs a request: the subcommand's, where the command is a container and
    /// its second word is known; the container's own otherwise.
    #[inline(always)]
    pub fn resolve(&self, request: Request<'_>) -> Option<&Entry> {
        let entry = self.find(request.arg(0))?;
        if entry.subcommands.is_empty() {
            return Some(entry);
        }
        Some(request.get(1).and_then(|word| self.subcommand(entry, word)).unwrap_or(entry))
    }

    /// The subcommand of a container, ignoring case.
    pub fn subcommand(&self, container: &Entry, word: &[u8]) -> Option<&Entry> {
        container
            .subcommands
            .iter()
            .map(|&id| self.entry(id))
            .find(|sub| sub.spec.name.as_bytes().eq_ignore_ascii_case(word))
    }

    /// Finds by full name: `get`, `client|id` (ignoring case).
    pub fn find_full(&self, name: &[u8]) -> Option<&Entry> {
        match name.iter().position(|&b| b == b'|') {
            None => self.find(name),
            Some(bar) => self.subcommand(self.find(&name[..bar])?, &name[bar + 1..]),
        }
    }
}

fn push_with_subcommands(
    entries: &mut Vec<Entry>,
    spec: &'static Spec,
) -> Result<(), DuplicateCommand> {
    let parent = entries.len();
    entries.push(Entry::new(spec, parent as CommandId, None));
    for sub in spec.subcommands {
        let id = entries.len() as CommandId;
        let entry = Entry::new(sub, id, Some(&entries[parent]));
        if entries[parent + 1..].iter().any(|e| e.spec.name == sub.name) {
            return Err(DuplicateCommand(entry.full_name));
        }
        entries.push(entry);
        entries[parent].subcommands.push(id);
    }
    Ok(())
}

/// Slots for `count` names, at most a quarter full so that most probes hit at once.
fn empty_slots(count: usize) -> Box<[CommandId]> {
    vec![EMPTY; (count * 4).next_power_of_two().max(16)].into_boxed_slice()
}

/// Hashes a name so that case does not matter: length, first and last eight bytes, with the bit
/// that tells case set in all of them.
#[inline]
fn hash(name: &[u8]) -> u64 {
    const CASE: u64 = 0x2020_2020_2020_2020;
    let (head, tail) = match name.len() {
        8.. => (word(&name[..8]), word(&name[name.len() - 8..])),
        4..8 => (word(&name[..4]), word(&name[name.len() - 4..])),
        _ => (name.iter().fold(0, |w, &b| w << 8 | u64::from(b)), 0),
    };
    let mixed = (head | CASE) ^ (tail | CASE).rotate_left(29) ^ name.len() as u64;
    let product = u128::from(mixed) * u128::from(0x9E37_79B9_7F4A_7C15_u64);
    ((product >> 64) ^ product) as u64
}

/// Up to eight bytes as a number; the length is 4 or 8.
#[inline]
fn word(bytes: &[u8]) -> u64 {
    match bytes.try_into() {
        Ok(eight) => u64::from_le_bytes(eight),
        Err(_) => u64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
    }
}
