//! [`CommandTable`]: every row, found by name in a few nanoseconds without allocating.

use super::id::CommandId;
use super::keys::{self, Found};
use super::spec::{Begin, Categories, Find, Flag, Flags, Group, Handler, LockRule, Spec};
use crate::engine::Engine;
use crate::failure::{Failure, unknown_subcommand, wrong_arity};
use resp::Request;
use std::fmt;

/// A row as the dispatcher uses it: the slow facts turned into bits.
pub struct CommandEntry {
    /// The row.
    pub spec: &'static Spec,
    /// The row's handler.
    pub handler: Handler,
    /// `get`, `client|id`.
    pub full_name: String,
    /// The name that clients use, in lower case: its own name unless it was renamed, empty if it
    /// was disabled. A subcommand's is never read.
    name: String,
    /// The first word of its requests as a log has it, if clients use another.
    pub renamed: Option<&'static str>,
    /// The entry's number.
    pub id: CommandId,
    /// The row's flags, and [`Flag::MovableKeys`] if its keys say so.
    pub flags: Flags,
    /// The ACL categories.
    pub categories: Categories,
    /// The first key's argument, when every request has it in the same place.
    pub first_key: Option<usize>,
    /// Whether that key is the only one, so that one shard is all to lock.
    pub single_key: bool,
    /// Whether it takes a microsecond or less according to its row, so that several calls are
    /// measured together.
    pub quick: bool,
    /// [`accepted_arity`].
    arity: i32,
    /// Entries of the subcommands.
    pub subcommands: Vec<CommandId>,
    /// The container, for a subcommand.
    pub parent: Option<CommandId>,
}

impl CommandEntry {
    /// Whether the row has `flag`.
    #[inline]
    pub fn has(&self, flag: Flag) -> bool {
        self.flags.contains(flag.set())
    }

    /// Whether it may have effects for the log and for replicas.
    #[inline]
    pub fn replicates(&self) -> bool {
        self.flags.intersects(Flag::Write.set() | Flag::MayReplicate.set())
    }

    /// Whether it may have effects for the log. A published message is none.
    pub fn appends(&self) -> bool {
        self.replicates() && !self.is_message()
    }

    /// Whether it publishes or subscribes.
    pub fn is_message(&self) -> bool {
        self.spec.group == Group::PubSub
    }

    /// Whether it is a subcommand of `container`.
    pub fn is_within(&self, engine: &Engine, container: &str) -> bool {
        self.parent.is_some_and(|id| engine.commands.entry(id).spec.name == container)
    }

    /// Whether a request of `argc` arguments has the right number of them. A container accepts none
    /// but those that it runs itself: a second word would be a subcommand, and it knows no such.
    #[inline]
    pub fn accepts(&self, argc: usize) -> bool {
        let arity = self.arity;
        if arity >= 0 { argc == arity as usize } else { argc >= arity.unsigned_abs() as usize }
    }

    /// The reason why a known command does not accept a request: the number of its arguments, or a
    /// second word that is no subcommand.
    pub fn refusal(&self, request: Request<'_>) -> Failure {
        match !self.subcommands.is_empty() && request.len() > 1 {
            true => unknown_subcommand(request),
            false => wrong_arity(&self.full_name),
        }
    }

    /// The keys of a request, `None` when they cannot be made out (a count beyond the arguments).
    pub fn keys(&self, request: Request<'_>) -> Option<Found> {
        keys::find(self.spec, request)
    }

    /// The arguments of a request by which a cluster routes it: its keys, or shard channels.
    pub fn routed(&self, request: Request<'_>) -> Option<Found> {
        keys::find_routed(self.spec, request)
    }

    fn new(spec: &'static Spec, id: CommandId, parent: Option<&CommandEntry>) -> Self {
        let full_name = match parent {
            Some(parent) => format!("{}|{}", parent.full_name, spec.name),
            None => spec.name.to_owned(),
        };
        let first_key = first_key(spec);
        CommandEntry {
            spec,
            handler: spec.handler,
            full_name,
            name: spec.name.to_owned(),
            renamed: None,
            id,
            flags: spec.flag_set() | movable(spec),
            categories: spec.category_set(),
            first_key,
            single_key: first_key.is_some()
                && matches!(spec.locks, LockRule::Keys)
                && matches!(spec.keys, [only] if matches!(only.find, Find::Range { last: 0, .. })),
            quick: is_quick(spec),
            arity: accepted_arity(spec),
            subcommands: Vec::new(),
            parent: parent.map(|p| p.id),
        }
    }
}

/// [`Spec::arity`]; of a container one that fits its name alone, if it runs that, or nothing.
fn accepted_arity(spec: &Spec) -> i32 {
    match (spec.subcommands.is_empty(), spec.arity) {
        (true, arity) => arity,
        (false, -1) => 1,
        (false, _) => i32::MIN,
    }
}

/// A command that may block is measured by itself, because waiting does not count.
fn is_quick(spec: &Spec) -> bool {
    let has = |flag| spec.flags.contains(&flag);
    !has(Flag::Blocking) && (has(Flag::Fast) || spec.quick)
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
fn movable(spec: &Spec) -> Flags {
    let movable = spec.keys.iter().any(|k| {
        !matches!((k.begin, k.find), (Begin::Index(_), Find::Range { .. }))
            || k.flags.contains("incomplete")
    });
    if movable { Flag::MovableKeys.set() } else { Flags::empty() }
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

/// The entry for a name.
#[derive(Clone, Copy)]
struct Slot {
    /// [`pack`] of the name.
    packed: u64,
    /// The command's number, or [`EMPTY`].
    id: CommandId,
    /// Whether equal `packed` means equal names.
    exact: bool,
    /// Whether the second word may choose another entry.
    container: bool,
}

const EMPTY_SLOT: Slot = Slot { packed: 0, id: EMPTY, exact: false, container: false };

/// All commands of a server.
pub struct CommandTable {
    entries: Vec<CommandEntry>,
    /// Open addressing by name hash; top-level commands only.
    slots: Box<[Slot]>,
}

impl CommandTable {
    /// The number of a command by its full name; [`CommandId::MAX`], which none has, if it is not there.
    pub(crate) fn id_of(&self, full_name: &str) -> CommandId {
        let found = self.entries().iter().find(|entry| entry.full_name == full_name);
        found.map_or(CommandId::MAX, |entry| entry.id)
    }

    /// Builds the table from slices of rows.
    ///
    /// # Errors
    /// Fails if a name occurs twice.
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

    /// Gives a command another name, or with an empty one takes it away (`rename-command`). Logs keep
    /// the name it had, so that they are good for a server with other names.
    ///
    /// # Errors
    /// There is no such command, or the new name is taken.
    pub fn rename(&mut self, old: &str, new: &str) -> Result<(), String> {
        let id = self.find(old.as_bytes()).map(|entry| entry.id);
        let id = id.ok_or("No such command in rename-command")?;
        if !new.is_empty() && self.find(new.as_bytes()).is_some() {
            return Err("Target command name already exists".into());
        }
        let entry = &mut self.entries[usize::from(id)];
        entry.name = new.to_lowercase();
        let original = entry.spec.name;
        let within = std::iter::once(id).chain(std::mem::take(&mut entry.subcommands));
        let within: Vec<CommandId> = within.collect();
        within.iter().for_each(|id| self.entries[usize::from(*id)].renamed = Some(original));
        self.entries[usize::from(id)].subcommands = within[1..].to_vec();
        self.slots.fill(EMPTY_SLOT);
        for index in 0..self.entries.len() {
            self.index(index).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn index(&mut self, index: usize) -> Result<(), DuplicateCommand> {
        let entry = &self.entries[index];
        if entry.parent.is_some() || entry.name.is_empty() {
            return Ok(());
        }
        let name = entry.name.as_bytes();
        let packed = pack(name);
        let mask = self.slots.len() - 1;
        let mut slot = hash(packed) & mask;
        while self.slots[slot].id != EMPTY {
            if self.entries[self.slots[slot].id as usize].name.as_bytes() == name {
                return Err(DuplicateCommand(entry.name.clone()));
            }
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = Slot {
            packed,
            id: index as CommandId,
            exact: name.len() < 8 && name.iter().all(u8::is_ascii_lowercase),
            container: !entry.subcommands.is_empty(),
        };
        Ok(())
    }

    /// Every entry, containers before their subcommands.
    pub fn entries(&self) -> &[CommandEntry] {
        &self.entries
    }

    /// The entry with this number.
    #[inline]
    pub fn entry(&self, id: CommandId) -> &CommandEntry {
        &self.entries[id as usize]
    }

    /// Finds a top-level command, ignoring case.
    #[inline(always)]
    pub fn find(&self, name: &[u8]) -> Option<&CommandEntry> {
        self.slot(name).map(|slot| self.entry(slot.id))
    }

    #[inline(always)]
    fn slot(&self, name: &[u8]) -> Option<Slot> {
        self.slot_of(name, pack(name))
    }

    #[inline(always)]
    fn slot_of(&self, name: &[u8], packed: u64) -> Option<Slot> {
        let mask = self.slots.len() - 1;
        let mut at = hash(packed) & mask;
        loop {
            let slot = self.slots[at];
            if slot.packed == packed && (slot.exact || self.is_named(slot.id, name)) {
                return Some(slot);
            }
            if slot.id == EMPTY {
                return None;
            }
            at = (at + 1) & mask;
        }
    }

    /// The comparison that a packed name does not settle.
    #[inline(never)]
    fn is_named(&self, id: CommandId, name: &[u8]) -> bool {
        let entry = self.entries.get(id as usize);
        entry.is_some_and(|entry| entry.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// Finds the entry that runs a request: the subcommand's, where the command is a container and
    /// its second word is known; the container's own otherwise.
    #[inline(always)]
    pub fn resolve(&self, request: Request<'_>) -> Option<&CommandEntry> {
        let slot = self.slot(request.arg(0))?;
        let entry = self.entry(slot.id);
        Some(if slot.container { self.within(entry, request) } else { entry })
    }

    /// The entry of a request whose first word is `entry`'s name.
    fn within<'t>(&'t self, entry: &'t CommandEntry, request: Request<'_>) -> &'t CommandEntry {
        request.get(1).and_then(|word| self.subcommand(entry, word)).unwrap_or(entry)
    }

    /// [`CommandTable::resolve`], quicker when the request is for the same command as the one
    /// before, which `last` remembers.
    #[inline(always)]
    pub fn resolve_like<'t>(
        &'t self,
        request: Request<'_>,
        last: &mut Option<(u64, &'t CommandEntry)>,
    ) -> Option<&'t CommandEntry> {
        let packed = pack(request.arg(0));
        match *last {
            Some((known, entry)) if known == packed => Some(entry),
            _ => self.resolve_anew(request, packed, last),
        }
    }

    #[inline(never)]
    fn resolve_anew<'t>(
        &'t self,
        request: Request<'_>,
        packed: u64,
        last: &mut Option<(u64, &'t CommandEntry)>,
    ) -> Option<&'t CommandEntry> {
        let slot = self.slot_of(request.arg(0), packed)?;
        if slot.exact && !slot.container {
            let entry = self.entry(slot.id);
            *last = Some((packed, entry));
            return Some(entry);
        }
        Some(self.within(self.entry(slot.id), request))
    }

    /// The subcommand of a container, ignoring case.
    pub fn subcommand(&self, container: &CommandEntry, word: &[u8]) -> Option<&CommandEntry> {
        container
            .subcommands
            .iter()
            .map(|&id| self.entry(id))
            .find(|sub| sub.spec.name.as_bytes().eq_ignore_ascii_case(word))
    }

    /// Finds by full name: `get`, `client|id` (ignoring case).
    pub fn find_full(&self, name: &[u8]) -> Option<&CommandEntry> {
        match name.iter().position(|&b| b == b'|') {
            None => self.find_original(name),
            Some(bar) => self.subcommand(self.find_original(&name[..bar])?, &name[bar + 1..]),
        }
    }

    /// As [`CommandTable::find`]; a command that was renamed also by its own name.
    fn find_original(&self, name: &[u8]) -> Option<&CommandEntry> {
        let renamed = |entry: &&CommandEntry| entry.parent.is_none() && entry.renamed.is_some();
        self.find(name).or_else(|| {
            let mut renamed = self.entries.iter().filter(renamed);
            renamed.find(|entry| entry.spec.name.as_bytes().eq_ignore_ascii_case(name))
        })
    }
}

fn push_with_subcommands(
    entries: &mut Vec<CommandEntry>,
    spec: &'static Spec,
) -> Result<(), DuplicateCommand> {
    let parent = entries.len();
    entries.push(CommandEntry::new(spec, parent as CommandId, None));
    for sub in spec.subcommands {
        let id = entries.len() as CommandId;
        let entry = CommandEntry::new(sub, id, Some(&entries[parent]));
        if entries[parent + 1..].iter().any(|e| e.spec.name == sub.name) {
            return Err(DuplicateCommand(entry.full_name));
        }
        entries.push(entry);
        entries[parent].subcommands.push(id);
    }
    Ok(())
}

/// Slots for `count` names, at most a quarter full so that most probes hit at once.
fn empty_slots(count: usize) -> Box<[Slot]> {
    vec![EMPTY_SLOT; (count * 4).next_power_of_two().max(16)].into_boxed_slice()
}

/// Converts a name to a number that is the same in upper and lower case. Up to seven bytes are kept
/// with their number; of longer names the first and the last eight bytes are mixed.
///
/// The bit that distinguishes cases is set in every byte. Only letters become lower-case letters by
/// that, so a short name of letters is determined by its number.
#[inline(always)]
fn pack(name: &[u8]) -> u64 {
    const CASE: u64 = 0x2020_2020_2020_2020;
    const CASE_7: u64 = CASE >> 8;
    let len = name.len();
    if len >= 8 {
        let (head, tail) = (word(name, 0), word(name, len - 8));
        // The top bit keeps them apart from short ones.
        return ((head | CASE) ^ (tail | CASE).rotate_left(29) ^ len as u64) | 1 << 63;
    }
    let bytes = if len >= 4 {
        half(name, 0) | half(name, len - 4) << (8 * (len - 4))
    } else {
        match *name {
            [a, b, c] => u64::from(a) | u64::from(b) << 8 | u64::from(c) << 16,
            [a, b] => u64::from(a) | u64::from(b) << 8,
            [a] => u64::from(a),
            _ => 0,
        }
    };
    (bytes | CASE_7) | (len as u64) << 56
}

#[inline(always)]
fn hash(packed: u64) -> usize {
    (packed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize
}

/// Eight bytes as a number.
#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

/// Four bytes as a number.
#[inline(always)]
fn half(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |chunk| u64::from(u32::from_le_bytes(*chunk)))
}
