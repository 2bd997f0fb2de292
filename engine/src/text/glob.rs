//! Redis's glob patterns, as `KEYS`, `SCAN MATCH`, `PSUBSCRIBE`, `CONFIG GET` and ACL rules use them.
//!
//! The answers are those of Redis 7.2's `stringmatchlen`, quirks included (an unclosed class ends
//! with the pattern, `*` does not match the empty text, an escape inside a class ignores
//! `nocase`, nothing matches where more than [`STARS_MAX`] stars would have to). The work is bounded
//! by pattern length × text length: when the part after a `*` fails, only the *last* `*` is tried
//! further on, since an earlier one could not help.

/// Runs of `*`, besides one at the end, that a text may be matched with: Redis recurses at each, and
/// gives up when it has gone so deep.
const STARS_MAX: usize = 1000;

/// Whether `pattern` describes the whole of `text`; `nocase` ignores the case of ASCII letters.
pub fn matches(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    let (mut p, mut t, mut stars) = (0, 0, 0);
    // Where to resume after the last `*`: (pattern after it, text it has not swallowed yet).
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            p = skip_stars(pattern, p);
            if p == pattern.len() {
                return true;
            }
            stars += 1;
            if stars > STARS_MAX {
                return false;
            }
            retry = Some((p, t));
            continue;
        }
        match step(&pattern[p..], text[t], nocase) {
            Some(used) => {
                p += used;
                t += 1;
                continue;
            }
            None => match retry {
                Some((after_star, from)) => {
                    retry = Some((after_star, from + 1));
                    (p, t) = (after_star, from + 1);
                }
                None => return false,
            },
        }
    }
    // Stars at the end match nothing, but only where some text was there to match first.
    if !text.is_empty() {
        p = skip_stars(pattern, p);
    }
    p == pattern.len()
}

/// The index after a run of `*`.
fn skip_stars(pattern: &[u8], from: usize) -> usize {
    from + pattern[from..].iter().take_while(|&&byte| byte == b'*').count()
}

/// Matches one element of the pattern (never `*`) with one byte: how many pattern bytes it took.
fn step(pattern: &[u8], byte: u8, nocase: bool) -> Option<usize> {
    let (&first, rest) = pattern.split_first()?;
    match first {
        b'?' => Some(1),
        b'[' => {
            let (matched, used) = class(rest, byte, nocase);
            matched.then_some(1 + used)
        }
        b'\\' if !rest.is_empty() => same(rest[0], byte, nocase).then_some(2),
        literal => same(literal, byte, nocase).then_some(1),
    }
}

/// Matches a character class; `class` is the text after its `[`. Returns whether it matches, and
/// the number of bytes of the class.
fn class(class: &[u8], byte: u8, nocase: bool) -> (bool, usize) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &class[at.min(class.len())..] {
            [] => return (found != negated, class.len()),
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                at += 2;
            }
            [b']', ..] => return (found != negated, at + 1),
            [from, b'-', to, ..] => {
                found |= in_range(*from, *to, byte, nocase);
                at += 3;
            }
            [literal, ..] => {
                found |= same(*literal, byte, nocase);
                at += 1;
            }
        }
    }
}

/// A range of a class. Bytes compare signed, as C's `char` does where Redis usually runs.
fn in_range(from: u8, to: u8, byte: u8, nocase: bool) -> bool {
    let (low, high) = if from as i8 > to as i8 { (to, from) } else { (from, to) };
    let fold = |b: u8| if nocase { b.to_ascii_lowercase() as i8 } else { b as i8 };
    (fold(low)..=fold(high)).contains(&fold(byte))
}

fn same(a: u8, b: u8, nocase: bool) -> bool {
    if nocase { a.eq_ignore_ascii_case(&b) } else { a == b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// (pattern, text, answer) as `KEYS pattern` of Redis 7.0.15 gave it for a key named `text`.
    const ORACLE: &[(&str, &str, bool)] = &[
        ("", "", true),
        ("", "a", false),
        ("a*", "a", true),
        ("a**", "a", true),
        ("[a", "a", true),
        ("[a-", "a", true),
        ("[^a]", "b", true),
        ("[^a", "b", true),
        ("[z-a]", "m", true),
        ("\\", "\\", true),
        ("a\\", "a\\", true),
        ("\\*", "*", true),
        ("[\\]]", "]", true),
        ("[]", "a", false),
        ("[]a]", "a", false),
        ("[^]", "a", true),
        ("?", "", false),
        ("*?", "a", true),
        ("a?b", "a?b", true),
        ("[a-c]x", "bx", true),
        ("h[", "h[", false),
        ("h[", "h", false),
        ("h[", "ha", false),
        ("*a*b*c", "xaybzc", true),
        ("[a\\-z]", "-", true),
        ("[\\", "\\", true),
        ("*\\", "a\\", true),
        ("[a-c", "b", true),
        ("**?**", "x", true),
        ("[^", "x", true),
        ("a[b-]", "ab", true),
        ("a[b-]", "a-", false),
        ("[--z]", "a", true),
        ("abc", "ab", false),
        ("ab", "abc", false),
        ("a*[b", "axb", true),
    ];

    #[test]
    fn answers_as_redis_does() {
        for &(pattern, text, expected) in ORACLE {
            let answer = matches(pattern.as_bytes(), text.as_bytes(), false);
            assert_eq!(answer, expected, "{pattern:?} on {text:?}");
        }
    }

    #[test]
    fn a_star_alone_does_not_match_nothing() {
        // KEYS special-cases `*`; the matcher itself answers no, as Redis's does.
        assert!(!matches(b"*", b"", false));
        assert!(matches(b"*", b"x", false));
    }

    #[test]
    fn case_is_ignored_on_demand() {
        assert!(matches(b"HASH-*", b"hash-max", true));
        assert!(!matches(b"HASH-*", b"hash-max", false));
        assert!(matches(b"[A-C]", b"b", true));
        assert!(!matches(b"[\\A]", b"a", true), "an escape in a class is compared exactly");
    }

    #[test]
    fn a_hostile_pattern_takes_bounded_work() {
        let pattern = b"a*".repeat(900);
        let mut text = b"a".repeat(20_000);
        text.push(b'b');
        let started = std::time::Instant::now();
        assert!(matches(&pattern, &text, false));
        let mut refused = pattern.clone();
        refused.push(b'c');
        assert!(!matches(&refused, &text, false));
        assert!(!matches(&b"*?".repeat(50_000), &b"a".repeat(50_000), false));
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }

    #[test]
    fn it_gives_up_at_the_star_at_which_redis_does() {
        let text = b"a".repeat(5_000);
        let stars = |count: usize, end: &[u8]| [&b"*a".repeat(count)[..], end].concat();
        for (pattern, expected) in [
            (stars(1000, b""), true),
            (stars(1001, b""), false),
            // A star at the end is no level.
            (stars(1000, b"*"), true),
            (stars(1001, b"*"), false),
            // Several in a row are one.
            (b"***a".repeat(1000), true),
            // What fails before is no match either way.
            (stars(1001, b"b"), false),
        ] {
            assert_eq!(matches(&pattern, &text, false), expected, "{} bytes", pattern.len());
            assert_eq!(redis(&pattern, &text, false, STARS_MAX), expected);
        }
        // Where the text ends before, the stars that are left do not count.
        assert!(matches(&[b"a".as_slice(), &b"*".repeat(2_000)].concat(), b"a", false));
        assert!(!matches(&b"a*".repeat(2_000), b"aaa", false));
    }

    /// Redis's way in its plainest form: a recursion for every `*`, `depth` of them at most, and one
    /// for every byte that one takes; an index that may run past the end.
    fn redis(pattern: &[u8], text: &[u8], nocase: bool, depth: usize) -> bool {
        let mut give_up = false;
        descend(pattern, text, nocase, depth, &mut give_up)
    }

    fn descend(
        mut pattern: &[u8],
        mut text: &[u8],
        nocase: bool,
        depth: usize,
        give_up: &mut bool,
    ) -> bool {
        while let (Some(&first), Some(&byte)) = (pattern.first(), text.first()) {
            if first == b'*' {
                let rest = &pattern[pattern.iter().take_while(|&&b| b == b'*').count()..];
                if rest.is_empty() {
                    return true;
                }
                for from in 0..text.len() {
                    if depth > 0 && descend(rest, &text[from..], nocase, depth - 1, give_up) {
                        return true;
                    }
                    if *give_up {
                        return false;
                    }
                }
                *give_up = true;
                return false;
            }
            let (matched, used) = element(pattern, byte, nocase);
            if !matched {
                return false;
            }
            (pattern, text) = (&pattern[used..], &text[1..]);
            if text.is_empty() {
                pattern = &pattern[pattern.iter().take_while(|&&b| b == b'*').count()..];
            }
        }
        pattern.is_empty() && text.is_empty()
    }

    /// One element that is no `*`, read with an index as C does.
    fn element(pattern: &[u8], byte: u8, nocase: bool) -> (bool, usize) {
        let fold = |b: u8| if nocase { b.to_ascii_lowercase() } else { b };
        // Behind the end of a string there is a zero.
        let at = |i: usize| pattern.get(i).copied().unwrap_or(0);
        if at(0) == b'?' {
            return (true, 1);
        }
        if at(0) == b'\\' && pattern.len() >= 2 {
            return (fold(at(1)) == fold(byte), 2);
        }
        if at(0) != b'[' {
            return (fold(at(0)) == fold(byte), 1);
        }
        let negated = at(1) == b'^';
        let (mut i, mut found) = (1 + usize::from(negated), false);
        loop {
            let left = pattern.len().saturating_sub(i);
            if left >= 2 && at(i) == b'\\' {
                i += 1;
                found |= at(i) == byte;
            } else if left > 0 && at(i) == b']' {
                return (found != negated, i + 1);
            } else if left == 0 {
                return (found != negated, pattern.len());
            } else if left >= 3 && at(i + 1) == b'-' {
                let (mut from, mut to) = (at(i) as i8, at(i + 2) as i8);
                if from > to {
                    (from, to) = (to, from);
                }
                let (from, to) = (fold(from as u8) as i8, fold(to as u8) as i8);
                found |= from <= fold(byte) as i8 && fold(byte) as i8 <= to;
                i += 2;
            } else {
                found |= fold(at(i)) == fold(byte);
            }
            i += 1;
        }
    }

    proptest! {
        #[test]
        fn every_pattern_is_matched_as_redis_does(
            pattern in proptest::collection::vec(proptest::sample::select(b"abA*?[]^-\\\xe9".to_vec()), 0..12),
            text in proptest::collection::vec(proptest::sample::select(b"abAB-]^\\\xe9".to_vec()), 0..10),
            nocase in proptest::bool::ANY,
        ) {
            let expected = redis(&pattern, &text, nocase, STARS_MAX);
            prop_assert_eq!(matches(&pattern, &text, nocase), expected);
        }
    }
}
