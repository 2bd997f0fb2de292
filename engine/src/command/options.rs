//! [`Options`]: the words that a command takes as options, and the number of arguments that follow
//! each.
//!
//! If an option is followed by a key, the command's handler and its [`super::KeyFinder`] use the
//! same list. So they agree about which argument is an option and which is a value, whatever the
//! values are.

use resp::Request;

/// The number of arguments that follow an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Exactly this many.
    Exactly(usize),
    /// All remaining arguments, and at least this many.
    Rest(usize),
}

/// The options of a command: each word, in capitals, with the arguments that it takes.
#[derive(Clone, Copy, Debug)]
pub struct Options(pub &'static [(&'static str, Takes)]);

/// An option that a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// Its word, as [`Options`] spells it.
    pub word: &'static str,
    /// The argument behind the word.
    pub at: usize,
}

impl Options {
    /// The options of `request` from argument `from` on, in order. An error is an argument that is
    /// none of the words, or is one with too few arguments behind it; the walk goes on behind it.
    pub fn walk<'r>(self, request: Request<'r>, from: usize) -> Walk<'r> {
        Walk { options: self, request, at: from }
    }
}

/// The walk along a request's options: see [`Options::walk`].
pub struct Walk<'r> {
    options: Options,
    request: Request<'r>,
    at: usize,
}

/// An argument that is no option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoOption;

impl Iterator for Walk<'_> {
    type Item = Result<Given, NoOption>;

    fn next(&mut self) -> Option<Self::Item> {
        let arg = self.request.get(self.at)?;
        self.at += 1;
        let at = self.at;
        let left = self.request.len() - at;
        let known = self.options.0.iter();
        let known = known.copied().find(|(word, _)| arg.eq_ignore_ascii_case(word.as_bytes()));
        let (word, taken) = match known {
            Some((word, Takes::Exactly(count))) if count <= left => (word, count),
            Some((word, Takes::Rest(least))) if least <= left => (word, left),
            _ => return Some(Err(NoOption)),
        };
        self.at += taken;
        Some(Ok(Given { word, at }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::args::OwnedRequest;

    const OPTIONS: Options = Options(&[
        ("FLAG", Takes::Exactly(0)),
        ("TWO", Takes::Exactly(2)),
        ("ALL", Takes::Rest(1)),
    ]);

    fn walked(line: &str) -> Vec<Result<(&'static str, usize), NoOption>> {
        let request = OwnedRequest::new(line.split(' ').map(str::as_bytes));
        let walk = OPTIONS.walk(request.view(), 1);
        walk.map(|given| given.map(|given| (given.word, given.at))).collect()
    }

    #[test]
    fn values_are_not_taken_for_words() {
        assert_eq!(
            walked("X two FLAG all flag ALL two"),
            [Ok(("TWO", 2)), Ok(("FLAG", 5)), Ok(("ALL", 6))]
        );
    }

    #[test]
    fn what_is_no_option_is_told_and_passed() {
        assert_eq!(walked("X flag nosuch flag"), [Ok(("FLAG", 2)), Err(NoOption), Ok(("FLAG", 4))]);
        assert_eq!(walked("X two flag"), [Err(NoOption), Ok(("FLAG", 3))]);
        assert_eq!(walked("X all"), [Err(NoOption)]);
    }
}
