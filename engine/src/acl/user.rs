//! [`User`] and [`Selector`]: what one user may do, and the rules (`on`, `>secret`, `~key:*`,
//! `+@read`, `-flushall`, `(…)` …) that change it. The rules are those of Redis's ACL documentation.

use crate::command::{Category, CommandEntry, CommandId, CommandTable};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The reason why a rule was refused; [`RuleError::text`] is Redis's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// There is no such rule.
    Syntax,
    /// There is no such command or category.
    Unknown,
    /// A key pattern after `~*`.
    AfterAllKeys,
    /// A channel pattern after `&*`.
    AfterAllChannels,
    /// A password to remove that is not there.
    NoSuchPassword,
    /// The text is not a SHA-256 in hexadecimal.
    BadHash,
    /// `+config|get|x`.
    FirstArgOfSubcommand,
}

impl RuleError {
    /// Redis's text for the error, without the modifier it is about.
    pub const fn text(self) -> &'static str {
        match self {
            RuleError::Syntax => "Syntax error",
            RuleError::Unknown => "Unknown command or category name in ACL",
            RuleError::AfterAllKeys => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            RuleError::AfterAllChannels => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try 'resetchannels' to start with an empty list of channels"
            }
            RuleError::NoSuchPassword => {
                "The password you are trying to remove from the user does not exist"
            }
            RuleError::BadHash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            RuleError::FirstArgOfSubcommand => {
                "Allowing first-arg of a subcommand is not supported"
            }
        }
    }
}

/// The outcome of a rule.
pub(super) type Ruled = Result<(), RuleError>;

/// A set of commands, a bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands(Vec<u64>);

impl Commands {
    /// Whether a command is in the set.
    #[inline]
    pub fn contains(&self, id: CommandId) -> bool {
        let word = self.0.get(usize::from(id) / 64).copied().unwrap_or(0);
        word >> (id % 64) & 1 != 0
    }

    fn set(&mut self, id: CommandId, on: bool) {
        let (at, bit) = (usize::from(id) / 64, 1 << (id % 64));
        if at >= self.0.len() {
            self.0.resize(at + 1, 0);
        }
        match on {
            true => self.0[at] |= bit,
            false => self.0[at] &= !bit,
        }
    }
}

/// Keys that may be used, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPattern {
    /// A glob pattern.
    pub pattern: Vec<u8>,
    /// They may be read.
    pub read: bool,
    /// They may be changed.
    pub write: bool,
}

/// A set of permissions. A request may run if one of the user's selectors allows all of it.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// Every key.
    pub all_keys: bool,
    /// Every channel.
    pub all_channels: bool,
    /// Every command, without exception.
    pub all_commands: bool,
    /// Whether the rules began with `+@all`: commands that are not taken away are permitted.
    pub subtractive: bool,
    /// Commands that may run.
    pub commands: Commands,
    /// Commands of which only calls with these first arguments may run.
    pub first_args: BTreeMap<CommandId, Vec<Vec<u8>>>,
    /// The rules after `+@all` or `-@all` as they were given, each with its sign.
    pub rules: Vec<Vec<u8>>,
    /// Keys, unless all.
    pub keys: Vec<KeyPattern>,
    /// Channels, unless all.
    pub channels: Vec<Vec<u8>>,
}

impl Selector {
    fn new(all_channels: bool) -> Self {
        Selector { all_channels, ..Selector::default() }
    }

    /// Whether nothing is forbidden.
    pub fn is_unrestricted(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels
    }

    /// Applies a rule about commands, keys or channels.
    pub(super) fn apply(&mut self, rule: &[u8], table: &CommandTable) -> Ruled {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        if is("allkeys") || is("~*") {
            self.all_keys = true;
            self.keys.clear();
        } else if is("resetkeys") {
            self.all_keys = false;
            self.keys.clear();
        } else if is("allchannels") || is("&*") {
            self.all_channels = true;
            self.channels.clear();
        } else if is("resetchannels") {
            self.all_channels = false;
            self.channels.clear();
        } else if is("allcommands") || is("+@all") {
            self.set_all_commands(table, true);
        } else if is("nocommands") || is("-@all") {
            self.set_all_commands(table, false);
        } else {
            return self.apply_prefixed(rule, table);
        }
        Ok(())
    }

    fn apply_prefixed(&mut self, rule: &[u8], table: &CommandTable) -> Ruled {
        match rule {
            [b'~', pattern @ ..] => self.add_keys(pattern, true, true),
            [b'%', rest @ ..] => self.add_keys_for(rest),
            [b'&', pattern @ ..] => self.add_channels(pattern),
            [sign @ (b'+' | b'-'), b'@', name @ ..] => self.set_category(*sign, name, table),
            [b'+', name @ ..] => self.allow(name, table),
            [b'-', name @ ..] => {
                let entry = table.find_full(name).ok_or(RuleError::Unknown)?;
                self.set_command(entry, false);
                self.note_rule(b'-', name);
                Ok(())
            }
            _ => Err(RuleError::Syntax),
        }
    }

    /// `%R~…`, `%W~…`, `%RW~…`.
    fn add_keys_for(&mut self, rest: &[u8]) -> Ruled {
        let tilde = rest.iter().position(|byte| *byte == b'~').ok_or(RuleError::Syntax)?;
        let (mut read, mut write) = (false, false);
        for letter in &rest[..tilde] {
            match letter.to_ascii_uppercase() {
                b'R' if !read => read = true,
                b'W' if !write => write = true,
                _ => return Err(RuleError::Syntax),
            }
        }
        if !read && !write {
            return Err(RuleError::Syntax);
        }
        self.add_keys(&rest[tilde + 1..], read, write)
    }

    fn add_keys(&mut self, pattern: &[u8], read: bool, write: bool) -> Ruled {
        if self.all_keys {
            return Err(RuleError::AfterAllKeys);
        }
        check_no_spaces(pattern)?;
        match self.keys.iter_mut().find(|known| known.pattern == pattern) {
            Some(known) => {
                known.read |= read;
                known.write |= write;
            }
            None => self.keys.push(KeyPattern { pattern: pattern.to_vec(), read, write }),
        }
        Ok(())
    }

    fn add_channels(&mut self, pattern: &[u8]) -> Ruled {
        if self.all_channels {
            return Err(RuleError::AfterAllChannels);
        }
        check_no_spaces(pattern)?;
        if !self.channels.iter().any(|known| known == pattern) {
            self.channels.push(pattern.to_vec());
        }
        Ok(())
    }

    fn set_all_commands(&mut self, table: &CommandTable, on: bool) {
        self.all_commands = on;
        self.subtractive = on;
        self.rules.clear();
        self.first_args.clear();
        table.entries().iter().for_each(|entry| self.commands.set(entry.id, on));
    }

    fn set_category(&mut self, sign: u8, name: &[u8], table: &CommandTable) -> Ruled {
        let known = |category: &&Category| category.name().as_bytes().eq_ignore_ascii_case(name);
        let category = Category::ALL.iter().find(known).ok_or(RuleError::Unknown)?;
        for entry in table.entries().iter().filter(|e| e.categories.contains(category.set())) {
            self.set_one(entry.id, sign == b'+');
        }
        self.note_rule(sign, &[b"@", name].concat());
        Ok(())
    }

    fn set_one(&mut self, id: CommandId, on: bool) {
        self.commands.set(id, on);
        self.all_commands &= on;
        self.first_args.remove(&id);
    }

    /// A command with all its subcommands.
    fn set_command(&mut self, entry: &CommandEntry, on: bool) {
        self.set_one(entry.id, on);
        entry.subcommands.iter().for_each(|id| self.set_one(*id, on));
    }

    /// `+command`, `+command|subcommand`, `+command|first-argument`.
    fn allow(&mut self, name: &[u8], table: &CommandTable) -> Ruled {
        if let Some(entry) = table.find_full(name) {
            self.set_command(entry, true);
            self.note_rule(b'+', name);
            return Ok(());
        }
        let bar = name.iter().rposition(|byte| *byte == b'|').ok_or(RuleError::Unknown)?;
        let (command, first) = (&name[..bar], &name[bar + 1..]);
        let entry = table.find_full(command).ok_or(RuleError::Unknown)?;
        if entry.parent.is_some() {
            return Err(RuleError::FirstArgOfSubcommand);
        }
        if first.is_empty() {
            return Err(RuleError::Syntax);
        }
        if !entry.subcommands.is_empty() {
            return Err(RuleError::Unknown);
        }
        let known = self.first_args.entry(entry.id).or_default();
        if !known.iter().any(|arg| arg.eq_ignore_ascii_case(first)) {
            known.push(first.to_vec());
        }
        self.note_rule(b'+', name);
        Ok(())
    }

    /// Records a rule for showing it, in place of rules that it makes void.
    fn note_rule(&mut self, sign: u8, rule: &[u8]) {
        let rule = rule.to_ascii_lowercase();
        self.rules.retain(|old| {
            let old = &old[1..];
            !(old.starts_with(&rule) && matches!(old.get(rule.len()), None | Some(b'|')))
        });
        self.rules.push([&[sign], &rule[..]].concat());
    }
}

/// Spaces would make the rules of a user unreadable.
fn check_no_spaces(text: &[u8]) -> Ruled {
    match text.iter().any(|byte| is_space(*byte)) {
        true => Err(RuleError::Syntax),
        false => Ok(()),
    }
}

/// Whether Redis allows this byte neither in names of users nor in patterns: white space and zero.
pub fn is_space(byte: u8) -> bool {
    byte == 0 || byte == 0x0b || byte.is_ascii_whitespace()
}

/// Whether the payloads that a user sends with `RESTORE` are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sanitize {
    /// They are checked.
    Yes,
    /// They are not checked.
    Skip,
}

/// A user.
#[derive(Clone, Debug)]
pub struct User {
    /// `on`.
    pub enabled: bool,
    /// Any password will do.
    pub nopass: bool,
    /// `sanitize-payload`.
    pub sanitize: Sanitize,
    /// SHA-256 in hexadecimal.
    pub passwords: Vec<Vec<u8>>,
    /// The rules outside of parentheses.
    pub root: Selector,
    /// The rules of each pair of parentheses, in their order.
    pub selectors: Vec<Selector>,
}

impl User {
    /// A new user: `off`, and may do nothing.
    pub fn new(all_channels: bool) -> Self {
        User {
            enabled: false,
            nopass: false,
            sanitize: Sanitize::Yes,
            passwords: Vec::new(),
            root: Selector::new(all_channels),
            selectors: Vec::new(),
        }
    }

    /// The default user at first.
    pub fn all_powerful() -> Self {
        let mut user = User::new(true);
        (user.enabled, user.nopass) = (true, true);
        // The bits of single commands follow from the rule when one of them is taken away.
        (user.root.all_keys, user.root.all_commands, user.root.subtractive) = (true, true, true);
        user
    }

    /// Whether nothing is forbidden, so that requests need not be looked at.
    pub fn is_unrestricted(&self) -> bool {
        self.all().any(Selector::is_unrestricted)
    }

    /// All selectors, the one without parentheses first.
    pub fn all(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.selectors)
    }

    /// Whether this password permits authentication as this user.
    pub fn admits(&self, password: &[u8]) -> bool {
        if !self.enabled {
            return false;
        }
        let hash = hash(password);
        // All are compared, whichever fits, and in full.
        let fits = self.passwords.iter().fold(false, |fits, known| fits | same(known, &hash));
        self.nopass || fits
    }

    /// Applies a rule.
    ///
    /// # Errors
    /// Returns the reason why it was refused. A user with a refused rule must not be used.
    pub fn apply(
        &mut self,
        rule: &[u8],
        table: &CommandTable,
        all_channels: bool,
    ) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        if is("on") || is("off") {
            self.enabled = is("on");
        } else if is("nopass") {
            self.nopass = true;
            self.passwords.clear();
        } else if is("resetpass") {
            self.nopass = false;
            self.passwords.clear();
        } else if is("skip-sanitize-payload") {
            self.sanitize = Sanitize::Skip;
        } else if is("sanitize-payload") {
            self.sanitize = Sanitize::Yes;
        } else if is("clearselectors") {
            self.selectors.clear();
        } else if is("reset") {
            *self = User::new(all_channels);
            self.root.set_all_commands(table, false);
        } else {
            return self.apply_prefixed(rule, table, all_channels);
        }
        Ok(())
    }

    fn apply_prefixed(&mut self, rule: &[u8], table: &CommandTable, all_channels: bool) -> Ruled {
        match rule {
            [b'>', password @ ..] => self.add_password(hash(password)),
            [b'#', hash @ ..] => self.add_password(checked_hash(hash)?),
            [b'<', password @ ..] => return self.remove_password(&hash(password)),
            [b'!', hash @ ..] => return self.remove_password(&checked_hash(hash)?),
            [b'(', inside @ .., b')'] => {
                let mut selector = Selector::new(all_channels);
                let words = inside.split(|byte| is_space(*byte)).filter(|word| !word.is_empty());
                for word in words {
                    selector.apply(word, table)?;
                }
                self.selectors.push(selector);
            }
            rule => {
                self.settle_bits(table);
                return self.root.apply(rule, table);
            }
        }
        Ok(())
    }

    /// The default user is made before there is a table of commands.
    fn settle_bits(&mut self, table: &CommandTable) {
        if self.root.all_commands && self.root.commands == Commands::default() {
            self.root.set_all_commands(table, true);
        }
    }

    fn add_password(&mut self, hash: Vec<u8>) {
        self.nopass = false;
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
    }

    fn remove_password(&mut self, hash: &[u8]) -> Ruled {
        let at = self.passwords.iter().position(|known| known == hash);
        self.passwords.remove(at.ok_or(RuleError::NoSuchPassword)?);
        Ok(())
    }
}

/// Compares without telling by the time taken how much was right.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    let differing = given.iter().zip(wanted).fold(0, |sum, (a, b)| sum | (a ^ b));
    given.len() == wanted.len() && differing == 0
}

/// SHA-256 in hexadecimal.
fn hash(password: &[u8]) -> Vec<u8> {
    hex(&Sha256::digest(password))
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> Vec<u8> {
    let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn checked_hash(hash: &[u8]) -> Result<Vec<u8>, RuleError> {
    let good = hash.len() == 64 && hash.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if good { Ok(hash.to_vec()) } else { Err(RuleError::BadHash) }
}

/// Puts the words of a selector together that were split at its spaces.
///
/// # Errors
/// The word that opened a parenthesis which nothing closes.
pub fn merge_selectors<'a>(
    words: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Vec<u8>>, Vec<u8>> {
    let mut merged: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<(Vec<u8>, Vec<u8>)> = None;
    for word in words {
        match &mut open {
            Some((_, text)) => {
                text.push(b' ');
                text.extend_from_slice(word);
            }
            None if word.starts_with(b"(") => open = Some((word.to_vec(), word.to_vec())),
            None => merged.push(word.to_vec()),
        }
        if word.ends_with(b")")
            && let Some((_, text)) = open.take()
        {
            merged.push(text);
        }
    }
    match open {
        Some((start, _)) => Err(start),
        None => Ok(merged),
    }
}
