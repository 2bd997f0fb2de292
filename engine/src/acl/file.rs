//! Users in an `aclfile`, and in `user` lines of a redis.conf.

use super::changes::UserChanges;
use super::merge_selectors;
use super::user::{User, is_space};
use crate::config::Id;
use std::collections::BTreeMap;

impl UserChanges<'_> {
    /// Replaces all users by those of an `aclfile`'s text; `path` is for errors.
    ///
    /// # Errors
    /// All errors, in the words of `ACL LOAD`. If there are any, nothing was changed.
    pub fn load_users(&self, path: &str, text: &[u8]) -> Result<(), String> {
        let mut users = BTreeMap::new();
        let mut errors = String::new();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if !line.is_empty() {
                self.read_line(line, path, index + 1, &mut users, &mut errors);
            }
        }
        if errors.is_empty() {
            self.replace_users(users.into_iter().collect());
            return Ok(());
        }
        Err(errors
            + "WARNING: ACL errors detected, no change to the previously active ACL rules was performed")
    }

    /// Adds the user that a line describes, or returns what is wrong with the line.
    fn read_line(
        &self,
        line: &[u8],
        path: &str,
        number: usize,
        users: &mut BTreeMap<Vec<u8>, User>,
        errors: &mut String,
    ) {
        let mut words = line.split(|byte| is_space(*byte)).filter(|word| !word.is_empty());
        let (Some(b"user"), Some(name)) = (words.next(), words.next()) else {
            *errors += &format!(
                "{path}:{number} should start with user keyword followed by the username. "
            );
            return;
        };
        if users.contains_key(name) {
            let name = String::from_utf8_lossy(name);
            *errors += &format!("WARNING: Duplicate user '{name}' found on line {number}. ");
            return;
        }
        let all_channels = self.channels_by_default();
        let mut user = User::new(all_channels);
        match merge_selectors(words) {
            Err(_) => {
                *errors +=
                    &format!("{path}:{number}: Unmatched parenthesis in selector definition.");
            }
            Ok(rules) => {
                let mut apply =
                    |rule: &Vec<u8>| user.apply(rule, self.commands, all_channels).err();
                for error in rules.iter().filter_map(&mut apply) {
                    *errors += &format!("{path}:{number}: {}. ", error.text());
                }
            }
        }
        users.insert(name.to_vec(), user);
    }

    /// Reads the users from `aclfile`.
    ///
    /// # Errors
    /// Fails like [`UserChanges::load_users`], and when the file cannot be read.
    pub fn load_acl_file(&self) -> Result<(), String> {
        let path = self.config.text(Id::Aclfile);
        let text = self.host.read_acl_file(&path);
        let text =
            text.map_err(|error| format!("Error loading ACLs, opening file '{path}': {error}"))?;
        self.load_users(&path, &text)
    }

    /// Adds the users of a redis.conf's `user` lines: name and rules of one each.
    ///
    /// # Errors
    /// The text that names the first wrong line.
    pub fn add_users(&self, lines: &[Vec<String>]) -> Result<(), String> {
        let mut seen = std::collections::HashSet::new();
        for line in lines {
            let Some((name, words)) = line.split_first() else { continue };
            let about = |wrong: String| format!("Error in user declaration '{name}': {wrong}");
            if name.bytes().any(is_space) {
                return Err(about("Usernames can't contain spaces or null characters".into()));
            }
            if !seen.insert(name) {
                let wrong = "Duplicate user found. A user can only be defined once in config files";
                return Err(about(wrong.into()));
            }
            let rules = merge_selectors(words.iter().map(String::as_bytes))
                .map_err(|_| about("Unmatched parenthesis in selector definition".into()))?;
            // A line describes the user completely.
            let rules = std::iter::once(b"reset".to_vec()).chain(rules).collect::<Vec<_>>();
            self.set_user(name.as_bytes(), &rules).map_err(|(rule, error)| {
                about(format!("'{}': {}", shown_rule(&rule), error.text()))
            })?;
        }
        Ok(())
    }
}

/// A rule as the server's log may show it: without the password it is about.
fn shown_rule(rule: &[u8]) -> String {
    match rule {
        [sign @ (b'>' | b'<' | b'#' | b'!'), ..] => format!("{}(redacted)", char::from(*sign)),
        rule => String::from_utf8_lossy(rule).into_owned(),
    }
}
