//! Requests, which are encoded once and then patched: each is a copy of a template with a few new
//! digits.
//!
//! A template is written as a user would type it: `SET {key} {value}`. The parts in braces are
//! filled in for every request. Each part has a fixed width, so lengths never change.

use super::keys::Keys;
use super::rng::Rng;
use anyhow::{Result, bail};

/// Random printable bytes from which values are cut. No two values are alike, so that a storage
/// which compresses gains no more than on real data.
const POOL: usize = 1 << 16;

/// The resolution of the weighted choice: weights are rounded to this many parts.
const WHEEL: usize = 1024;

/// The largest size of a value, in bytes.
pub const VALUE_MAX: usize = 64 << 20;

/// A part of a template that is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fill {
    /// `{key}`: `key:` and twelve digits, drawn from the key space once per request.
    Key,
    /// `{other}`: the same shape, drawn for this place alone.
    Other,
    /// `{id}`: the number of the request's key as an integer of twelve digits, the first a one.
    Id,
    /// `{key/N}`: the number of the request's key divided by N, in twelve digits.
    Over(u64),
    /// `{new}`: the same shape, never used before.
    New,
    /// `{member}`: eight digits out of the workload's `members`.
    Member,
    /// `{score}`: eight digits, the first not zero.
    Score,
    /// `{index}`: a position below the workload's `members`, in as many digits as the last one
    /// has, the first not zero: for commands that take no leading zeroes.
    Index {
        /// Digits.
        width: usize,
    },
    /// `{value}`: this many random printable bytes.
    Value(usize),
}

impl Fill {
    fn named(name: &str, value: usize, members: u64) -> Result<Fill> {
        Ok(match name {
            "key" => Fill::Key,
            "other" => Fill::Other,
            "id" => Fill::Id,
            "new" => Fill::New,
            "member" => Fill::Member,
            "score" => Fill::Score,
            "index" => Fill::Index { width: members.saturating_sub(1).max(1).to_string().len() },
            "value" => Fill::Value(value),
            other => match other.strip_prefix("key/").map(str::parse) {
                Some(Ok(divisor)) if divisor > 0 => Fill::Over(divisor),
                _ => bail!(
                    "{{{other}}} is none of {{key}} {{key/N}} {{id}} {{other}} {{new}} {{member}} \
                     {{score}} {{index}} {{value}}"
                ),
            },
        })
    }

    fn width(self) -> usize {
        match self {
            Fill::Key | Fill::Other | Fill::New => 16,
            Fill::Id | Fill::Over(_) => 12,
            Fill::Member | Fill::Score => 8,
            Fill::Index { width } => width,
            Fill::Value(size) => size,
        }
    }
}

/// One request in RESP, with the places to fill in.
#[derive(Debug, Clone)]
struct Template {
    bytes: Vec<u8>,
    holes: Vec<(usize, Fill)>,
}

impl Template {
    fn parse(text: &str, value: usize, members: u64) -> Result<Template> {
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() {
            bail!("a request needs at least a command name");
        }
        let mut template =
            Template { bytes: format!("*{}\r\n", words.len()).into(), holes: Vec::new() };
        for word in words {
            template.push_word(word, value, members)?;
        }
        Ok(template)
    }

    fn push_word(&mut self, word: &str, value: usize, members: u64) -> Result<()> {
        let mut body = Vec::new();
        let mut holes = Vec::new();
        let mut rest = word;
        while let Some((text, tail)) = rest.split_once('{') {
            let Some((name, tail)) = tail.split_once('}') else { bail!("`{word}` lacks a `}}`") };
            body.extend_from_slice(text.as_bytes());
            let fill = Fill::named(name, value, members)?;
            holes.push((body.len(), fill));
            body.resize(body.len() + fill.width(), b'0');
            if matches!(fill, Fill::Key | Fill::Other | Fill::New) {
                let at = body.len() - 16;
                body[at..at + 4].copy_from_slice(b"key:");
            }
            rest = tail;
        }
        body.extend_from_slice(rest.as_bytes());
        self.bytes.extend_from_slice(format!("${}\r\n", body.len()).as_bytes());
        let base = self.bytes.len();
        self.holes.extend(holes.into_iter().map(|(at, fill)| (base + at, fill)));
        self.bytes.extend_from_slice(&body);
        self.bytes.extend_from_slice(b"\r\n");
        Ok(())
    }
}

/// Writes requests of one workload, one after the other, for one load thread.
#[derive(Debug, Clone)]
pub struct Generator {
    templates: Vec<Template>,
    /// Which template each of the equally likely draws means.
    wheel: Vec<u16>,
    keys: Keys,
    members: u64,
    pool: Vec<u8>,
    /// The first request of each connection; empty for none.
    opening: Vec<u8>,
    /// The request behind each batch; empty for none.
    closing: Vec<u8>,
}

impl Generator {
    /// Draws from weighted `requests`; `values` are the sizes `{value}` takes, equally likely.
    pub fn weighted(
        requests: &[(String, f64)],
        values: &[usize],
        members: u64,
        keys: Keys,
    ) -> Result<Generator> {
        let total: f64 = requests.iter().map(|(_, weight)| weight).sum();
        if requests.is_empty() || requests.iter().any(|(_, w)| *w < 0.0) || total <= 0.0 {
            bail!("a workload needs commands with positive weights");
        }
        let sizes_fit = values.iter().all(|&size| (1..=VALUE_MAX).contains(&size));
        if values.is_empty() || values.len() > 256 || !sizes_fit {
            bail!("value sizes go from 1 byte to {VALUE_MAX}, at most 256 of them");
        }
        let longest = values.iter().copied().max().unwrap_or(0);
        let (templates, wheel, pool) = (Vec::new(), Vec::new(), printable(POOL + longest));
        let (opening, closing) = (Vec::new(), Vec::new());
        let mut generator = Generator { templates, wheel, keys, members, pool, opening, closing };
        let mut below = 0.0;
        for (text, weight) in requests {
            let sizes = if text.contains("{value}") { values } else { &values[..1] };
            let first = generator.templates.len();
            for &size in sizes {
                generator.templates.push(Template::parse(text, size, members)?);
            }
            below += weight / total;
            let end = ((below * WHEEL as f64).round() as usize).min(WHEEL);
            for slot in generator.wheel.len()..end {
                generator.wheel.push((first + slot % sizes.len()) as u16);
            }
        }
        Ok(generator)
    }

    /// The share of thread `index` of `count` in run number `run`: see [`Keys::share`].
    pub fn share(&self, index: u64, count: u64, run: u64) -> Self {
        Generator { keys: self.keys.share(index, count, run), ..self.clone() }
    }

    /// The same with a request before all others of a connection, and one behind each batch. Both
    /// are counted; empty ones are left out.
    pub fn within(mut self, opening: &[&str], closing: &[&str]) -> Self {
        for (words, out) in [(opening, &mut self.opening), (closing, &mut self.closing)] {
            if !words.is_empty() {
                resp::encode_command(words, out);
            }
        }
        self
    }

    /// Appends the first request of a connection. Returns the number of requests that this is.
    pub fn open(&self, out: &mut Vec<u8>) -> usize {
        out.extend_from_slice(&self.opening);
        usize::from(!self.opening.is_empty())
    }

    /// Appends the request behind a batch. Returns the number of requests that this is.
    #[inline]
    pub fn close(&self, out: &mut Vec<u8>) -> usize {
        out.extend_from_slice(&self.closing);
        usize::from(!self.closing.is_empty())
    }

    /// Appends `count` requests to `out`.
    #[inline]
    pub fn fill(&mut self, out: &mut Vec<u8>, count: usize) {
        for _ in 0..count {
            self.next(out);
        }
    }

    fn next(&mut self, out: &mut Vec<u8>) {
        let choice = self.choose();
        let template = &self.templates[choice];
        let base = out.len();
        out.extend_from_slice(&template.bytes);
        let mut key = None;
        for &(at, fill) in &template.holes {
            let hole = &mut out[base + at..base + at + fill.width()];
            match fill {
                Fill::Key => digits(&mut hole[4..], *key.get_or_insert_with(|| self.keys.pick())),
                Fill::Other => digits(&mut hole[4..], self.keys.pick()),
                Fill::Id => {
                    let key = *key.get_or_insert_with(|| self.keys.pick());
                    digits(hole, 100_000_000_000 + key);
                }
                Fill::Over(divisor) => {
                    digits(hole, *key.get_or_insert_with(|| self.keys.pick()) / divisor);
                }
                Fill::New => digits(&mut hole[4..], self.keys.insert()),
                Fill::Member => digits(hole, self.keys.below(self.members)),
                Fill::Score => digits(hole, 10_000_000 + self.keys.below(90_000_000)),
                Fill::Index { width } => {
                    let low = 10u64.pow(width as u32 - 1) % self.members.max(1);
                    digits(hole, low + self.keys.below(self.members - low));
                }
                Fill::Value(size) => {
                    let from = self.keys.below(POOL as u64) as usize;
                    hole.copy_from_slice(&self.pool[from..from + size]);
                }
            }
        }
    }

    #[inline]
    fn choose(&mut self) -> usize {
        if self.templates.len() == 1 {
            0
        } else {
            usize::from(self.wheel[self.keys.below(self.wheel.len() as u64) as usize])
        }
    }
}

fn printable(length: usize) -> Vec<u8> {
    let mut rng = Rng::new(0x706F_6F6C);
    (0..length).map(|_| b'!' + rng.below(94) as u8).collect()
}

/// Writes `n` right-aligned over all of `out`, with leading zeroes.
#[inline]
fn digits(out: &mut [u8], mut n: u64) {
    let mut pairs = out.rchunks_exact_mut(2);
    for pair in &mut pairs {
        let two = (n % 100) as u8;
        pair[0] = b'0' + two / 10;
        pair[1] = b'0' + two % 10;
        n /= 100;
    }
    if let [first] = pairs.into_remainder() {
        *first = b'0' + (n % 10) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::Distribution;
    use super::*;

    fn keys(distribution: Distribution) -> Keys {
        Keys::new(distribution, 1000, 1).share(0, 1, 0)
    }

    fn text(generator: &mut Generator, count: usize) -> String {
        let mut out = Vec::new();
        generator.fill(&mut out, count);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_is_valid_resp_with_holes_filled() {
        let requests = [("HSET h:{key} f:{member} x".to_string(), 1.0)];
        let mut generator =
            Generator::weighted(&requests, &[64], 1, keys(Distribution::Sequential)).unwrap();
        let want = |n: u64| {
            format!("*4\r\n$4\r\nHSET\r\n$18\r\nh:key:{n:012}\r\n$10\r\nf:00000000\r\n$1\r\nx\r\n")
        };
        assert_eq!(text(&mut generator, 2), want(0) + &want(1));
    }

    #[test]
    fn a_request_has_one_key_in_all_its_shapes() {
        let requests = [("SADD s:{key/100} {id} {key} {other}".to_string(), 1.0)];
        let keys = keys(Distribution::Sequential);
        let mut generator = Generator::weighted(&requests, &[64], 1, keys).unwrap();
        text(&mut generator, 100);
        let sent = text(&mut generator, 1);
        // A hundred requests took two keys each: their own and the other.
        assert!(sent.contains("s:000000000002\r\n$12\r\n100000000200\r\n$16\r\nkey:000000000200"));
        assert!(sent.ends_with("$16\r\nkey:000000000201\r\n"), "{sent}");
    }

    #[test]
    fn indexes_are_integers_below_the_members() {
        for members in [1, 7, 10, 100, 1000, 123_456] {
            let requests = [("LINDEX l {index}".to_string(), 1.0)];
            let keys = keys(Distribution::Uniform);
            let mut generator = Generator::weighted(&requests, &[64], members, keys).unwrap();
            for request in text(&mut generator, 100).split('*').skip(1) {
                let index = request.lines().last().unwrap();
                assert!(index.parse::<u64>().unwrap() < members, "{index} of {members}");
                assert!(index == "0" || !index.starts_with('0'), "{index} of {members}");
            }
        }
    }

    #[test]
    fn weights_and_value_sizes_are_kept() {
        let requests = [("GET {key}".into(), 3.0), ("SET {key} {value}".into(), 1.0)];
        let mut generator =
            Generator::weighted(&requests, &[8, 32], 1, keys(Distribution::Uniform)).unwrap();
        let sent = text(&mut generator, 40_000);
        let of = |needle: &str| sent.matches(needle).count() as f64 / 40_000.0;
        assert!((of("GET") - 0.75).abs() < 0.02);
        assert!((of("SET") - 0.25).abs() < 0.02);
        assert!((of("$8\r\n") - 0.125).abs() < 0.02);
        assert!((of("$32\r\n") - 0.125).abs() < 0.02);
    }

    #[test]
    fn mistakes_are_refused() {
        let make = |text: &str| {
            Generator::weighted(&[(text.into(), 1.0)], &[1], 1, keys(Distribution::Uniform))
        };
        assert!(make("GET {kye}").is_err());
        assert!(make("GET {key").is_err());
        assert!(make("  ").is_err());
        assert!(Generator::weighted(&[], &[1], 1, keys(Distribution::Uniform)).is_err());
    }
}
