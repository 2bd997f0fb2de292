//! Programs of random commands, the same for the same seed.
//!
//! Commands come from the table: a row's syntax defines the arguments, [`pools`] their values, and
//! [`arguments`] puts them together. So a new command of an existing family is covered by its row.
//! Commands that need more than their syntax are in [`special`].

mod arguments;
mod catalog;
#[cfg(test)]
mod declared;
mod expiring;
mod family;
mod pools;
mod program;
mod special;

pub use catalog::Catalog;
pub use family::Family;
pub use program::{Program, generate, preparation};
pub use special::{ends_with_all, inner_command, may_be_simplified, suits_older};

/// One command of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The client that sends it: 0, or 1 where two are needed.
    pub client: usize,
    /// The command and its arguments.
    pub args: Vec<Vec<u8>>,
}

impl Command {
    /// From the first client, of words.
    pub fn new(words: &[&str]) -> Self {
        Command { client: 0, args: words.iter().map(|word| word.as_bytes().to_vec()).collect() }
    }

    /// From the first client: a name and its arguments.
    pub fn of(name: &str, args: &[&[u8]]) -> Self {
        let name = std::iter::once(name.as_bytes());
        let args = name.chain(args.iter().copied()).map(<[u8]>::to_vec).collect();
        Command { client: 0, args }
    }

    /// As a line of a golden script.
    pub fn line(&self) -> String {
        let words: Vec<String> = self.args.iter().map(|arg| quoted(arg)).collect();
        let client = if self.client == 0 { "" } else { "b: " };
        format!("{client}{}", words.join(" "))
    }
}

/// The word at `at`, lower-case.
pub fn word(args: &[Vec<u8>], at: usize) -> String {
    args.get(at).map(|arg| String::from_utf8_lossy(arg).to_lowercase()).unwrap_or_default()
}

/// As it is where that is safe, else in quotes.
fn quoted(arg: &[u8]) -> String {
    let plain = |&byte: &u8| byte.is_ascii_graphic() && !b"\"'\\#".contains(&byte);
    match !arg.is_empty() && arg.iter().all(plain) {
        true => String::from_utf8_lossy(arg).into_owned(),
        false => engine::testing::quote(arg),
    }
}
