//! [`User`] and [`Selector`]: what one user may do.

use crate::command::CommandId;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

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

    /// Adds a command, or takes it away.
    pub(super) fn set(&mut self, id: CommandId, on: bool) {
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
    pub(super) fn new(all_channels: bool) -> Self {
        Selector { all_channels, ..Selector::default() }
    }

    /// Whether nothing is forbidden.
    pub fn is_unrestricted(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels
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
}

/// Compares without telling by the time taken how much was right.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    let differing = given.iter().zip(wanted).fold(0, |sum, (a, b)| sum | (a ^ b));
    given.len() == wanted.len() && differing == 0
}

/// SHA-256 in hexadecimal.
pub(super) fn hash(password: &[u8]) -> Vec<u8> {
    hex(&Sha256::digest(password))
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> Vec<u8> {
    let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That the time does not depend on where the difference is follows from there being no branch in the comparison;
    /// this is what it must not lose by that.
    #[test]
    fn a_difference_is_found_wherever_it_is() {
        let wanted = hash(b"secret");
        assert!(same(&wanted, &wanted));
        for at in 0..wanted.len() {
            for bit in 0..8 {
                let mut other = wanted.clone();
                other[at] ^= 1 << bit;
                assert!(!same(&other, &wanted), "bit {bit} of byte {at}");
            }
            assert!(!same(&wanted[..at], &wanted) && !same(&wanted, &wanted[..at]), "length {at}");
        }
        assert!(same(b"", b""));
    }

    #[test]
    fn each_password_of_a_user_admits_and_no_other() {
        let mut user = User::new(true);
        user.passwords = [&b"first"[..], b"second", b"third"].map(hash).to_vec();
        assert!(!user.admits(b"first"), "it is switched off");
        user.enabled = true;
        assert!([&b"first"[..], b"second", b"third"].iter().all(|password| user.admits(password)));
        for wrong in [&b""[..], b"firs", b"first ", b"SECOND", b"third\0", &hash(b"first")] {
            assert!(!user.admits(wrong), "{wrong:?}");
        }
        user.passwords.clear();
        assert!(!user.admits(b"") && !user.admits(b"first"), "nobody has a password");
        user.nopass = true;
        assert!(user.admits(b"") && user.admits(b"anything"));
    }
}
