//! [`Pools`]: the values that arguments take. They are few, so that commands meet each other's
//! keys and elements, and they are odd: limits, almost-numbers, empty and binary strings.

use super::catalog::Form;
use super::family::{KEY_LETTERS, key_letter};
use crate::load::rng::Rng;
use engine::command::{ArgumentKind, Group};

type Pool = &'static [&'static str];

/// Integers at and beyond limits, and texts that are almost integers. None of them makes a server
/// allocate much, wait long or count far.
const ODD: Pool = &[
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "",
    "abc",
    "1.5",
    " 1",
    "1 ",
    "+1",
    "-0",
    "01",
    "1e3",
    "0x10",
    "nan",
    "inf",
    "-inf",
    "-",
];
const ELEMENTS: Pool = &[
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "a",
    "b",
    "c",
    "1",
    "2",
    "3",
    "10",
    "-1",
    "",
    "hello world",
    "3.5",
    "3.0",
    "1e5",
    " 1",
    "01",
    "-0",
    "A",
    "ab",
    "abc",
    "127",
    "128",
    "-129",
    "32767",
    "32768",
    "65536",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "inf",
    "nan",
    "\u{e9}",
];
const INTEGERS: Pool = &["0", "1", "2", "3", "5", "10", "-1", "-2", "-3", "-10", "100", "-100"];
const COUNTS: Pool = &["0", "1", "2", "3", "5", "1", "2", "10", "100", "-1", "-2", "-3"];
const FLOATS: Pool = &[
    "0", "1", "2", "3", "-1", "1.5", "-0.5", "0.1", "3.0e-5", "1e10", "inf", "-inf", "1e300",
    "1e-300", "-0", "17", "1.1",
];
const SECONDS: Pool = &["100000", "200000", "100000", "300000", "0", "-1"];
const MILLISECONDS: Pool = &["100000000", "200000000", "100000000", "0", "-1"];
const UNIX_SECONDS: Pool = &["4102444800", "4102444900", "1", "0", "-1"];
const UNIX_MILLISECONDS: Pool = &["4102444800000", "4102444900123", "1", "0", "-1"];
const OFFSETS: Pool =
    &["0", "1", "2", "5", "7", "8", "9", "15", "31", "63", "64", "100", "1000", "-1", "4294967296"];
const BITFIELD_OFFSETS: Pool =
    &["0", "1", "7", "8", "13", "#0", "#1", "#3", "100", "#10", "-1", "#-1", "4294967296"];
const ENCODINGS: Pool =
    &["u8", "i8", "u1", "i1", "u63", "i64", "u64", "i5", "u16", "i32", "u0", "x8", "i65"];
const LEX: Pool = &["-", "+", "[a", "(a", "[c", "(c", "[b", "[", "(", "a", "[10", "(ab", "-", "+"];
const SCORE_BOUNDS: Pool = &[
    "-inf", "+inf", "1", "(1", "2", "(2", "3", "(3", "-1", "1.5", "(1.5", "inf", "(inf", "(-inf",
    "abc", "(",
];
const STREAM_BOUNDS: Pool = &[
    "-",
    "+",
    "-",
    "+",
    "1-1",
    "2",
    "(1-1",
    "(2-1",
    "3-0",
    "5",
    "(5",
    "0",
    "10-5",
    "(-",
    "18446744073709551615",
    "(18446744073709551615-18446744073709551615",
    "(0-0",
    "1-",
    "-1",
];
const STREAM_IDS: Pool = &[
    "1-1",
    "1-2",
    "2-1",
    "2-2",
    "3-0",
    "4-1",
    "5-1",
    "5",
    "6-1",
    "7-7",
    "8",
    "9-1",
    "10-5",
    "0-1",
    "0-0",
    "0",
    "1-*",
    "5-*",
    "12-*",
    "20-1",
    "30-1",
    "x",
    "1-1-1",
    "9223372036854775807-1",
    "18446744073709551615-18446744073709551615",
];
const READ_IDS: Pool = &["0", "0-0", "1-1", "2", "5-1", "$", ">", ">", ">", "x"];
const THRESHOLDS: Pool = &["0", "1", "2", "3", "5", "10", "2-1", "3", "5-1", "-1"];
const PATTERNS: Pool =
    &["*", "a*", "?1", "[a-c]*", "", "\\*", "s*", "[^a]*", "*1", "h?", "[b", "*[1-9]"];
const LONGITUDES: Pool = &[
    "13.361389",
    "15.087269",
    "2.3522",
    "-0.1278",
    "0",
    "-74.0060",
    "180",
    "-180",
    "180.1",
    "139.6917",
    "13.4",
    "15",
];
const LATITUDES: Pool = &[
    "38.115556",
    "37.502669",
    "48.8566",
    "51.5074",
    "0",
    "40.7128",
    "85.05112878",
    "-85.05112878",
    "86",
    "35.6895",
    "38",
];
const RADII: Pool = &["1", "100", "200.5", "5000", "0", "20000", "0.001", "1000000", "-1"];
const CITIES: Pool = &["a", "b", "c", "d", "e", "f", "Palermo", "", "1"];
const TYPES: Pool = &["string", "list", "set", "zset", "hash", "stream", "foo", "STRING"];
const SOON: Pool = &["0.001", "0.002", "0.001", "-1", "x"];
const SOON_MS: Pool = &["1", "1", "2", "-1", "x"];
/// Names of keys, groups, members that are words of options.
pub const OPTION_WORDS: Pool = &[
    "STREAMS",
    "KEYS",
    "STORE",
    "STOREDIST",
    "LIMIT",
    "COUNT",
    "GET",
    "BY",
    "AUTH",
    "AUTH2",
    "GROUP",
    "NOACK",
    "BLOCK",
    "SET",
    "OVERFLOW",
    "COPY",
    "WEIGHTS",
    "get",
    "store",
];
const IDLE_TIMES: Pool = &["0", "0", "100000", "1", "-1"];

/// The source of a program's values.
pub struct Pools<'a> {
    /// The program's random numbers.
    pub rng: &'a mut Rng,
    /// The number of odd values in a hundred.
    pub odd: u64,
    /// The number of names in a hundred that are words of options; also how often options are
    /// misplaced, repeated, or have a wrong count.
    pub hostile: u64,
}

impl Pools<'_> {
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.rng.below(n)
    }

    /// True `percent` of a hundred times.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    pub fn pick<'t, T: ?Sized>(&mut self, from: &[&'t T]) -> &'t T {
        from[self.below(from.len() as u64) as usize]
    }

    fn any(&mut self, pool: Pool) -> Vec<u8> {
        self.pick(pool).as_bytes().to_vec()
    }

    /// A word, as it is or in lower case.
    pub fn cased(&mut self, word: &str) -> Vec<u8> {
        let word = if word == "\"\"" { "" } else { word };
        match self.chance(20) {
            true => word.to_lowercase().into_bytes(),
            false => word.to_uppercase().into_bytes(),
        }
    }

    /// How often something is repeated: mostly once or twice; values sometimes (`many`) often
    /// enough to go over the limits of packed encodings.
    pub fn times(&mut self, many: bool) -> u64 {
        match self.below(100) {
            0 if many => 100 + self.below(100),
            1..=4 if many => 5 + self.below(30),
            5..=54 => 1,
            _ => 2 + self.below(2),
        }
    }

    /// Whether something hostile is to be done.
    pub fn is_hostile(&mut self) -> bool {
        self.hostile > 0 && self.chance(self.hostile)
    }

    /// A key: mostly of the command's own type.
    pub fn key(&mut self, group: Group) -> Vec<u8> {
        if self.is_hostile() {
            return self.any(OPTION_WORDS);
        }
        let other = self.below(KEY_LETTERS.len() as u64) as usize;
        let letter = match key_letter(group) {
            Some(letter) if self.chance(93) => letter,
            _ => KEY_LETTERS[other],
        };
        let number = 1 + self.below(3);
        format!("{letter}{number}").into_bytes()
    }

    /// An element, field, member or value.
    pub fn element(&mut self) -> Vec<u8> {
        if self.is_hostile() {
            return self.any(OPTION_WORDS);
        }
        match self.below(60) {
            0 => vec![b'x'; 1 + self.below(200) as usize],
            // Zero bytes end words for C: two that differ only behind one would be equal to SORT.
            1 => vec![1, 0xff, 0, b'\r', b'\n'],
            2 => b"y".repeat(64 + self.below(2) as usize),
            3..=12 => format!("m{}", self.below(200)).into_bytes(),
            13..=20 => self.below(1000).to_string().into_bytes(),
            _ => self.any(ELEMENTS),
        }
    }

    /// The value of the argument called `name`.
    pub fn value(&mut self, form: &Form, name: &str, kind: ArgumentKind) -> Vec<u8> {
        if kind == ArgumentKind::Key {
            return self.key(form.group);
        }
        if form.full_name == "migrate" && name != "destination-db" && name != "timeout" {
            return self.any(OPTION_WORDS);
        }
        if name == "timeout" {
            return self.any(if form.full_name == "migrate" { COUNTS } else { SOON });
        }
        if name == "milliseconds" && form.blocking {
            return self.any(SOON_MS);
        }
        if self.below(100) < self.odd && may_be_odd(&form.full_name, name) {
            return self.any(ODD);
        }
        if let Some(value) = self.of_group(form, name) {
            return value;
        }
        match self.named(name) {
            Some(pool) => self.any(pool),
            None => self.of_kind(kind),
        }
    }

    /// A value for a name that has a meaning of its own in its family.
    fn of_group(&mut self, form: &Form, name: &str) -> Option<Vec<u8>> {
        let command = form.full_name.as_str();
        let pool: Pool = match (form.group, name) {
            (Group::Stream, "start" | "end")
                if command == "xpending" || command.contains("range") =>
            {
                STREAM_BOUNDS
            }
            (Group::Stream, "start" | "lastid" | "last-id" | "max-deleted-id") => STREAM_IDS,
            (Group::Stream, "id") if command.starts_with("xread") => READ_IDS,
            (Group::Stream, "id") => STREAM_IDS,
            (Group::Stream, "threshold") => THRESHOLDS,
            (Group::Stream, "group" | "consumer") if self.is_hostile() => OPTION_WORDS,
            (Group::Stream, "group") => &["g1", "g1", "g1", "g2"],
            (Group::Stream, "consumer") => &["c1", "c1", "c2", ""],
            (Group::Scripting, "script") => &["return 1", "return #KEYS", "return ARGV"],
            (Group::Stream, "min-idle-time" | "ms") => IDLE_TIMES,
            (Group::Stream, "unix-time-milliseconds") => &["1", "1000", "4102444800000", "0"],
            (Group::Stream, "count") => COUNTS,
            (Group::Bitmap, "offset") if command.starts_with("bitfield") => BITFIELD_OFFSETS,
            (Group::Bitmap, "value" | "bit") if !command.starts_with("bitfield") => {
                &["0", "1", "1", "1", "2"]
            }
            (Group::Bitmap, "value") => ELEMENTS,
            (Group::Geo, "member" | "member1" | "member2") => CITIES,
            (Group::SortedSet, "min" | "max") if command.contains("lex") => LEX,
            (Group::SortedSet, "min" | "max") if !command.contains("store") => SCORE_BOUNDS,
            (Group::SortedSet, "start" | "stop" | "min" | "max") if !command.contains("rank") => {
                return Some(self.zrange_bound());
            }
            (Group::String | Group::Bitmap, "offset") => OFFSETS,
            (Group::String, "increment") if command.ends_with("float") => FLOATS,
            (Group::Hash, "increment") if command.ends_with("float") => FLOATS,
            (Group::SortedSet, "increment" | "score" | "weight") => FLOATS,
            _ => return None,
        };
        Some(self.any(pool))
    }

    /// A bound for `ZRANGE`, whose type depends on a later option.
    fn zrange_bound(&mut self) -> Vec<u8> {
        let pool = match self.below(4) {
            0 => LEX,
            1 => SCORE_BOUNDS,
            _ => INTEGERS,
        };
        self.any(pool)
    }

    fn named(&mut self, name: &str) -> Option<Pool> {
        Some(match name {
            "count" | "limit" | "num-matches" | "len" | "min-match-len" => COUNTS,
            "seconds" => SECONDS,
            "milliseconds" | "ttl" => MILLISECONDS,
            "unix-time-seconds" => UNIX_SECONDS,
            "unix-time-milliseconds" => UNIX_MILLISECONDS,
            "db" | "destination-db" | "index1" | "index2" => &["0", "1", "1", "0", "16", "-1"],
            "encoding" => ENCODINGS,
            "pattern" => PATTERNS,
            "longitude" => LONGITUDES,
            "latitude" => LATITUDES,
            "radius" | "width" | "height" => RADII,
            "type" => TYPES,
            "serialized-value" => &["", "abc", "0123456789abcdef"],
            "rank" => &["1", "-1", "2", "-2", "0", "3"],
            "index" | "start" | "stop" | "end" | "decrement" | "increment" => INTEGERS,
            _ => return None,
        })
    }

    fn of_kind(&mut self, kind: ArgumentKind) -> Vec<u8> {
        match kind {
            ArgumentKind::Integer | ArgumentKind::UnixTime => self.any(INTEGERS),
            ArgumentKind::Double => self.any(FLOATS),
            ArgumentKind::Pattern => self.any(PATTERNS),
            _ => self.element(),
        }
    }

    /// Something that does not belong where it is put.
    pub fn odd_value(&mut self) -> Vec<u8> {
        self.any(ODD)
    }
}

/// Redis allocates in advance for as many entries as `XAUTOCLAIM` may look at.
fn may_be_odd(command: &str, name: &str) -> bool {
    !(command == "xautoclaim" && name == "count")
}
