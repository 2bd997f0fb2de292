//! Requests as others than their sender may see them: without the secrets that rows and directives
//! declare ([`Secret`]).

use super::options::{Options, Takes};
use super::secrets::Secret;
use super::table::{CommandEntry, CommandTable};
use crate::config::lookup;
use crate::text::args::is_word;
use resp::{Request, parse_i64};
use smallvec::SmallVec;
use std::ops::Range;

/// The text shown in the place of a secret, as in Redis.
pub const REDACTED: &[u8] = b"(redacted)";

/// Ranges of arguments in ascending order.
type Hidden = SmallVec<[Range<usize>; 2]>;

impl CommandTable {
    /// The arguments of a request that `entry` runs, as others than its sender may see them.
    pub fn shown<'r>(
        &self,
        entry: &CommandEntry,
        request: Request<'r>,
    ) -> impl Iterator<Item = &'r [u8]> + use<'r> {
        let mut hidden = self.hidden(entry, request).into_iter().peekable();
        request.iter().enumerate().map(move |(at, arg)| {
            while hidden.next_if(|range| range.end <= at).is_some() {}
            match hidden.peek() {
                Some(range) if range.start <= at => REDACTED,
                _ => arg,
            }
        })
    }

    fn hidden(&self, entry: &CommandEntry, request: Request<'_>) -> Hidden {
        let (mut entry, mut first) = (entry, 0);
        let mut hidden = Hidden::new();
        // A command within a command, and so on: each begins behind the one before.
        loop {
            let mut inner = None;
            for secret in entry.spec.secrets {
                let within = request.tail(first);
                match *secret {
                    Secret::From(from) => push(&mut hidden, first + from..request.len()),
                    Secret::Options(from, known, secret) => {
                        options(within, from, known, secret, |range| {
                            push(&mut hidden, first + range.start..first + range.end);
                        });
                    }
                    Secret::Directives(from) => {
                        for at in (from + 1..within.len()).filter(|at| is_sensitive(within, at - 1))
                        {
                            push(&mut hidden, first + at..first + at + 1);
                        }
                    }
                    Secret::Command(at) => inner = Some(at),
                }
            }
            let Some(at) = inner.filter(|at| first + at < request.len()) else { return hidden };
            first += at;
            let Some(found) = self.resolve(request.tail(first)) else { return hidden };
            entry = found;
        }
    }
}

fn push(hidden: &mut Hidden, range: Range<usize>) {
    if !range.is_empty() {
        hidden.push(range);
    }
}

/// Passes the arguments of secret options to `hide`. A word that is not an option may be followed
/// by anything, even by a password whose option was forgotten. Numbers are not options: the version
/// at the beginning of `HELLO` may be missing.
fn options(
    request: Request<'_>,
    from: usize,
    known: Options,
    secret: &[&str],
    mut hide: impl FnMut(Range<usize>),
) {
    let mut at = from;
    while let Some(word) = request.get(at) {
        match known.0.iter().find(|(option, _)| is_word(word, option)) {
            Some((option, takes)) => {
                let end = match takes {
                    Takes::Exactly(count) => (at + 1).saturating_add(*count).min(request.len()),
                    Takes::Rest(_) => request.len(),
                };
                if secret.contains(option) {
                    hide(at + 1..end);
                }
                at = end;
            }
            None if parse_i64(word).is_some() => at += 1,
            None => return hide(at..request.len()),
        }
    }
}

fn is_sensitive(request: Request<'_>, at: usize) -> bool {
    let name = std::str::from_utf8(request.arg(at)).ok();
    name.and_then(lookup).is_some_and(|(_, directive)| directive.sensitive)
}
