//! Sizes in bytes as people write them: Redis's `memtoull` and its way back.

const UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("b", 1),
    ("k", 1_000),
    ("kb", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1 << 30),
];

/// Parses `100`, `1kb`, `1k`, `2GB`, …; empty digits count as 0, as in Redis.
///
/// Numbers beyond 64 bits become the largest one. A product beyond 64 bits is `None`, where Redis
/// would wrap around to a small limit.
pub fn parse(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    let number = match number {
        "" => 0,
        number => number.parse().unwrap_or(u64::MAX),
    };
    number.checked_mul(*factor)
}

/// The shortest exact way to write `bytes` in a redis.conf (`1gb`, `64mb`, `4kb`, `3000`).
pub fn shortest(bytes: u64) -> String {
    for (name, factor) in [("gb", 1 << 30), ("mb", 1 << 20), ("kb", 1 << 10)] {
        if bytes != 0 && bytes.is_multiple_of(factor) {
            return format!("{}{name}", bytes / factor);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_redis_reads_them() {
        // Pairs seen with CONFIG SET maxmemory on Redis 7.0.15.
        let seen: &[(&str, Option<u64>)] = &[
            ("1kB", Some(1024)),
            ("1k", Some(1000)),
            ("1KB", Some(1024)),
            ("1m", Some(1_000_000)),
            ("1mb", Some(1 << 20)),
            ("1g", Some(1_000_000_000)),
            ("1gb", Some(1 << 30)),
            ("1B", Some(1)),
            ("", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("-1", None),
            ("1 mb", None),
            ("abc", None),
            ("1tb", None),
            ("0x10", None),
            (" 5", None),
            ("+5", None),
        ];
        for (text, expected) in seen {
            assert_eq!(parse(text), *expected, "{text:?}");
        }
        assert_eq!(parse("17179869184gb"), None, "Redis wraps this to 0");
    }

    #[test]
    fn sizes_come_back_shortest_and_exact() {
        for (bytes, text) in [(0, "0"), (1 << 30, "1gb"), (3 << 20, "3mb"), (4096, "4kb"), (7, "7")]
        {
            assert_eq!(shortest(bytes), text);
            assert_eq!(parse(text), Some(bytes));
        }
    }
}
