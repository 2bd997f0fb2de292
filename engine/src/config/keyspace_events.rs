//! The classes of keyspace notifications: the letters of `notify-keyspace-events` as bits.

/// `K`: publish on `__keyspace@<db>__:<key>`.
pub const KEYSPACE: i64 = 1;
/// `E`: publish on `__keyevent@<db>__:<event>`.
pub const KEYEVENT: i64 = 1 << 1;
/// `g`: commands of any type (DEL, EXPIRE, RENAME, …).
pub const GENERIC: i64 = 1 << 2;
/// `$`: strings.
pub const STRING: i64 = 1 << 3;
/// `l`: lists.
pub const LIST: i64 = 1 << 4;
/// `s`: sets.
pub const SET: i64 = 1 << 5;
/// `h`: hashes.
pub const HASH: i64 = 1 << 6;
/// `z`: sorted sets.
pub const ZSET: i64 = 1 << 7;
/// `x`: a key expired.
pub const EXPIRED: i64 = 1 << 8;
/// `e`: a key was evicted.
pub const EVICTED: i64 = 1 << 9;
/// `t`: streams.
pub const STREAM: i64 = 1 << 10;
/// `m`: a read found no key (not part of `A`).
pub const KEY_MISS: i64 = 1 << 11;
/// `d`: module types.
pub const MODULE: i64 = 1 << 13;
/// `n`: a key was created (not part of `A`).
pub const NEW: i64 = 1 << 14;
/// `A`: all classes that `A` stands for.
pub const ALL: i64 =
    GENERIC | STRING | LIST | SET | HASH | ZSET | EXPIRED | EVICTED | STREAM | MODULE;

const CLASSES: &[(char, i64)] = &[
    ('g', GENERIC),
    ('$', STRING),
    ('l', LIST),
    ('s', SET),
    ('h', HASH),
    ('z', ZSET),
    ('x', EXPIRED),
    ('e', EVICTED),
    ('t', STREAM),
    ('d', MODULE),
    ('n', NEW),
];
const DELIVERY: &[(char, i64)] = &[('K', KEYSPACE), ('E', KEYEVENT), ('m', KEY_MISS)];

/// The bits of a string of letters, or `None` when one is unknown.
pub fn parse(letters: &str) -> Option<i64> {
    letters.chars().try_fold(0, |bits, letter| {
        let known = CLASSES.iter().chain(DELIVERY).chain(&[('A', ALL)]);
        known.clone().find(|(name, _)| *name == letter).map(|(_, bit)| bits | bit)
    })
}

/// The letters of some bits, in Redis's order (`A` first; it hides `n`, as in Redis).
pub fn render(bits: i64) -> String {
    let all = [('A', ALL)];
    let classes = if bits & ALL == ALL { &all[..] } else { CLASSES };
    let set = |(_, bit): &&(char, i64)| bits & bit == *bit;
    classes.iter().chain(DELIVERY).filter(set).map(|(letter, _)| letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_come_back_in_redis_order() {
        // Pairs seen with CONFIG SET and GET on Redis 7.0.15.
        for (set, get) in [
            ("KEA", "AKE"),
            ("Kg$lshzxet", "g$lshzxetK"),
            ("KEmn", "nKEm"),
            ("", ""),
            ("Ed", "dE"),
            ("KEAmn", "AKEm"),
            ("KEg$lshzxetd", "AKE"),
        ] {
            assert_eq!(render(parse(set).expect("known letters")), get);
        }
        assert_eq!(parse("q"), None);
    }
}
