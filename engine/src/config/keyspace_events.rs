//! [`KeyspaceEvents`]: the letters of `notify-keyspace-events` as a set.

bitflags::bitflags! {
    /// Which keyspace events are published, and on which channels.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct KeyspaceEvents: u32 {
        /// `K`: publish on `__keyspace@<db>__:<key>`.
        const KEYSPACE = 1;
        /// `E`: publish on `__keyevent@<db>__:<event>`.
        const KEYEVENT = 1 << 1;
        /// `g`: commands of any type (DEL, EXPIRE, RENAME, …).
        const GENERIC = 1 << 2;
        /// `$`: strings.
        const STRING = 1 << 3;
        /// `l`: lists.
        const LIST = 1 << 4;
        /// `s`: sets.
        const SET = 1 << 5;
        /// `h`: hashes.
        const HASH = 1 << 6;
        /// `z`: sorted sets.
        const ZSET = 1 << 7;
        /// `x`: a key expired.
        const EXPIRED = 1 << 8;
        /// `e`: a key was evicted.
        const EVICTED = 1 << 9;
        /// `t`: streams.
        const STREAM = 1 << 10;
        /// `m`: a read found no key (not part of `A`).
        const KEY_MISS = 1 << 11;
        /// `d`: module types.
        const MODULE = 1 << 13;
        /// `n`: a key was created (not part of `A`).
        const NEW = 1 << 14;
        /// `A`: all classes that the letter `A` includes.
        const ALL = Self::GENERIC.bits() | Self::STRING.bits() | Self::LIST.bits() | Self::SET.bits()
            | Self::HASH.bits() | Self::ZSET.bits() | Self::EXPIRED.bits() | Self::EVICTED.bits()
            | Self::STREAM.bits() | Self::MODULE.bits();
    }
}

const CLASSES: &[(char, KeyspaceEvents)] = &[
    ('g', KeyspaceEvents::GENERIC),
    ('$', KeyspaceEvents::STRING),
    ('l', KeyspaceEvents::LIST),
    ('s', KeyspaceEvents::SET),
    ('h', KeyspaceEvents::HASH),
    ('z', KeyspaceEvents::ZSET),
    ('x', KeyspaceEvents::EXPIRED),
    ('e', KeyspaceEvents::EVICTED),
    ('t', KeyspaceEvents::STREAM),
    ('d', KeyspaceEvents::MODULE),
    ('n', KeyspaceEvents::NEW),
];
const DELIVERY: &[(char, KeyspaceEvents)] = &[
    ('K', KeyspaceEvents::KEYSPACE),
    ('E', KeyspaceEvents::KEYEVENT),
    ('m', KeyspaceEvents::KEY_MISS),
];

impl KeyspaceEvents {
    /// The set whose bits are the value of the directive.
    pub fn of(value: i64) -> Self {
        Self::from_bits_truncate(value as u32)
    }

    /// The set that a string of letters denotes; `None` if a letter is unknown.
    pub fn parse(letters: &str) -> Option<Self> {
        letters.chars().try_fold(Self::empty(), |set, letter| {
            let known = CLASSES.iter().chain(DELIVERY).chain(&[('A', Self::ALL)]);
            known.clone().find(|(name, _)| *name == letter).map(|(_, event)| set | *event)
        })
    }

    /// The letters of a set, in Redis's order (`A` first; it hides `n`, as in Redis).
    pub fn render(self) -> String {
        let all = [('A', Self::ALL)];
        let classes = if self.contains(Self::ALL) { &all[..] } else { CLASSES };
        let letters = classes.iter().chain(DELIVERY);
        letters.filter(|(_, event)| self.contains(*event)).map(|(letter, _)| letter).collect()
    }
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
            assert_eq!(KeyspaceEvents::parse(set).expect("known letters").render(), get);
        }
        assert_eq!(KeyspaceEvents::parse("q"), None);
    }
}
