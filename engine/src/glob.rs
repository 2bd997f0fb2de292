//! Redis's glob patterns, as `KEYS`, `SCAN MATCH`, `PSUBSCRIBE`, `CONFIG GET` and ACL rules use them.
//!
//! The answers are those of Redis 7.2's `stringmatchlen`, quirks included (an unclosed class ends
//! with the pattern, `*` does not match the empty text, an escape inside a class ignores
//! `nocase`). The work is bounded by pattern length × text length: when the part after a `*` fails,
//! only the *last* `*` is tried further on, since an earlier one could not help.

/// Whether `pattern` describes the whole of `text`; `nocase` ignores the case of ASCII letters.
pub fn matches(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to resume after the last `*`: (pattern after it, text it has not swallowed yet).
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            p = skip_stars(pattern, p);
            if p == pattern.len() {
                return true;
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

/// Matches a class, `class` being what follows its `[`: the verdict and the bytes it took.
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
        let pattern = b"a*".repeat(2_000);
        let mut text = b"a".repeat(20_000);
        text.push(b'b');
        let started = std::time::Instant::now();
        assert!(matches(&pattern, &text, false));
        let mut refused = pattern.clone();
        refused.push(b'c');
        assert!(!matches(&refused, &text, false));
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }

    /// Redis's recursion in its plainest form: every `*` tries every length.
    fn reference(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.first() {
            _ if text.is_empty() => pattern.iter().all(|&b| b == b'*'),
            None => false,
            Some(b'*') => (0..=text.len()).any(|skip| reference(&pattern[1..], &text[skip..])),
            Some(_) => step(pattern, text[0], false)
                .is_some_and(|used| reference(&pattern[used..], &text[1..])),
        }
    }

    proptest! {
        #[test]
        fn one_retry_point_is_enough(
            pattern in proptest::collection::vec(proptest::sample::select(b"ab*?[]^-\\".to_vec()), 0..10),
            text in proptest::collection::vec(proptest::sample::select(b"ab-]".to_vec()), 1..10),
        ) {
            prop_assert_eq!(matches(&pattern, &text, false), reference(&pattern, &text));
        }
    }
}
