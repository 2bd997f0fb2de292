//! The rules (`on`, `>secret`, `~key:*`, `+@read`, `-flushall`, `(…)` …) that change what a user may do. They are those of
//! Redis's ACL documentation.

use super::user::{Commands, KeyPattern, Sanitize, Selector, User, hash, is_space};
use crate::command::{Category, CommandEntry, CommandId, CommandTable};

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
type Ruled = Result<(), RuleError>;

impl Selector {
    /// Applies a rule about commands, keys or channels.
    fn apply(&mut self, rule: &[u8], table: &CommandTable) -> Ruled {
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

impl User {
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
