//! A user as the rules that make it again.

use super::Acl;
use super::user::{KeyPattern, Sanitize, Selector, User};

impl Selector {
    /// `+@all -flushall`: the rules about commands.
    pub fn describe_commands(&self) -> Vec<u8> {
        let mut text = if self.subtractive { b"+@all".to_vec() } else { b"-@all".to_vec() };
        for rule in &self.rules {
            text.push(b' ');
            text.extend_from_slice(rule);
        }
        text
    }

    /// `~a* %R~b*`: the rules about keys.
    pub fn describe_keys(&self) -> Vec<u8> {
        match self.all_keys {
            true => b"~*".to_vec(),
            false => self.keys.iter().map(describe_key).collect::<Vec<_>>().join(&b' '),
        }
    }

    /// `&a*`: the rules about channels.
    pub fn describe_channels(&self) -> Vec<u8> {
        match self.all_channels {
            true => b"&*".to_vec(),
            false => {
                let rules = self.channels.iter().map(|channel| [b"&", &channel[..]].concat());
                rules.collect::<Vec<_>>().join(&b' ')
            }
        }
    }

    fn describe(&self) -> Vec<u8> {
        let channels = match self.all_channels {
            true => self.describe_channels(),
            false => [b"resetchannels ", &self.describe_channels()[..]].concat(),
        };
        let parts = [self.describe_keys(), channels.trim_ascii_end().to_vec()];
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        parts.chain([self.describe_commands()]).collect::<Vec<_>>().join(&b' ')
    }
}

fn describe_key(key: &KeyPattern) -> Vec<u8> {
    let sign: &[u8] = match (key.read, key.write) {
        (true, false) => b"%R~",
        (false, true) => b"%W~",
        _ => b"~",
    };
    [sign, &key.pattern].concat()
}

impl User {
    /// The words of `ACL GETUSER`'s `flags`.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.enabled { "on" } else { "off" }];
        if self.nopass {
            flags.push("nopass");
        }
        flags.push(match self.sanitize {
            Sanitize::Yes => "sanitize-payload",
            Sanitize::Skip => "skip-sanitize-payload",
        });
        flags
    }

    /// All rules: the text that follows `user NAME` in a file.
    pub fn describe(&self) -> Vec<u8> {
        let mut words: Vec<Vec<u8>> = self.flags().iter().map(|f| f.as_bytes().to_vec()).collect();
        words.extend(self.passwords.iter().map(|hash| [b"#", &hash[..]].concat()));
        words.push(self.root.describe());
        let selectors = self.selectors.iter().map(|s| [b"(", &s.describe()[..], b")"].concat());
        words.extend(selectors);
        words.join(&b' ')
    }
}

/// The line that makes a user: `user NAME RULES`.
pub fn user_line(name: &[u8], user: &User) -> Vec<u8> {
    [b"user ", name, b" ", &user.describe()].concat()
}

impl Acl {
    /// The lines that make all users, by name.
    pub fn user_lines(&self) -> Vec<Vec<u8>> {
        self.list().iter().map(|(name, user)| user_line(name, user)).collect()
    }
}
