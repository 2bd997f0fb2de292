//! Directives with a grammar of their own: parsed, checked and brought to one canonical text.

use super::{Grammar, Value, memory};

/// One condition of `save`: a snapshot after this many seconds with at least this many changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavePoint {
    /// Seconds since the last snapshot.
    pub seconds: u64,
    /// Changes since the last snapshot.
    pub changes: u64,
}

/// The limits of output that may wait for a client before it is disconnected; 0 means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutputBufferLimit {
    /// Bytes at which the client goes at once.
    pub hard_bytes: u64,
    /// Bytes at which the client goes after `soft_seconds` of staying above.
    pub soft_bytes: u64,
    /// See `soft_bytes`.
    pub soft_seconds: u64,
}

/// Client classes in the order in which Redis shows them; `replica` is accepted for `slave`.
const CLASSES: [&str; 3] = ["normal", "slave", "pubsub"];
/// Redis's `CONFIG_BINDADDR_MAX`.
const BIND_MAX: usize = 16;

/// Checks the words of a directive with a grammar of its own and gives its canonical text.
pub(super) fn normalize(which: Grammar, words: &[&str], now: &Value) -> Result<String, String> {
    // A single empty word (`save ""` in a file) means no words.
    let words = if words == [""] { &[] } else { words };
    match which {
        Grammar::Save => save(words),
        Grammar::OutputBufferLimits => output_buffer_limits(words, now),
        Grammar::Bind => bind(words),
        Grammar::OomScores => oom_scores(words),
        Grammar::Percentiles => percentiles(words),
        Grammar::ReplicaOf => replica_of(words),
        Grammar::KeyspaceEvents => Err("wrong number of arguments".into()),
    }
}

fn save(words: &[&str]) -> Result<String, String> {
    let valid = |pair: &[&str]| match pair {
        [seconds, changes] => {
            strtoll(seconds).is_some_and(|s| s >= 1) && strtoll(changes).is_some_and(|c| c >= 0)
        }
        _ => false,
    };
    if !words.chunks(2).all(valid) {
        return Err("Invalid save parameters".into());
    }
    let numbers = words.iter().filter_map(|word| strtoll(word));
    Ok(numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(" "))
}

/// The pairs of a canonical `save` text.
pub(super) fn save_points(text: &str) -> Vec<SavePoint> {
    let numbers: Vec<u64> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
    let pair = |pair: &[u64]| SavePoint { seconds: pair[0], changes: pair[1] };
    numbers.chunks_exact(2).map(pair).collect()
}

fn output_buffer_limits(words: &[&str], now: &Value) -> Result<String, String> {
    let Value::Text(now) = now else { return Err("wrong number of arguments".into()) };
    let mut limits = parse_limits(now);
    if !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    for group in words.chunks_exact(4) {
        let class = client_class(group[0])
            .ok_or("Invalid client class specified in buffer limit configuration.")?;
        limits[class] = limit(&group[1..])
            .ok_or("Error in hard, soft or soft_seconds setting in buffer limit configuration.")?;
    }
    let show = |(class, limit): (&&str, &OutputBufferLimit)| {
        format!("{class} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds)
    };
    Ok(CLASSES.iter().zip(&limits).map(show).collect::<Vec<_>>().join(" "))
}

/// The index of a client class by name.
fn client_class(name: &str) -> Option<usize> {
    let name = if name.eq_ignore_ascii_case("replica") { "slave" } else { name };
    CLASSES.iter().position(|class| class.eq_ignore_ascii_case(name))
}

/// Hard limit, soft limit, seconds.
fn limit(words: &[&str]) -> Option<OutputBufferLimit> {
    Some(OutputBufferLimit {
        hard_bytes: memory::parse(words.first()?)?,
        soft_bytes: memory::parse(words.get(1)?)?,
        soft_seconds: u64::try_from(strtoll(words.get(2)?)?).ok()?,
    })
}

/// The limits of the three classes in a canonical text: normal, replica, pubsub.
pub(super) fn parse_limits(text: &str) -> [OutputBufferLimit; 3] {
    let words: Vec<&str> = text.split(' ').collect();
    let mut limits = [OutputBufferLimit::default(); 3];
    for group in words.chunks_exact(4) {
        if let (Some(class), Some(limit)) = (client_class(group[0]), limit(&group[1..])) {
            limits[class] = limit;
        }
    }
    limits
}

fn bind(words: &[&str]) -> Result<String, String> {
    if words.len() > BIND_MAX {
        return Err("Too many bind addresses specified.".into());
    }
    Ok(words.join(" "))
}

fn oom_scores(words: &[&str]) -> Result<String, String> {
    if words.len() != 3 {
        return Err("wrong number of arguments".into());
    }
    let score = |word: &&str| strtoll(word).filter(|score| (-2000..=2000).contains(score));
    let scores: Option<Vec<i64>> = words.iter().map(score).collect();
    let scores =
        scores.ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?;
    Ok(scores.iter().map(i64::to_string).collect::<Vec<_>>().join(" "))
}

fn percentiles(words: &[&str]) -> Result<String, String> {
    let mut shown = Vec::with_capacity(words.len());
    for word in words {
        let number: f64 = word
            .parse()
            .map_err(|_| "Invalid latency-tracking-info-percentiles parameters".to_owned())?;
        if !(0.0..=100.0).contains(&number) {
            return Err("latency-tracking-info-percentiles parameters should sit between \
                        [0.0,100.0]"
                .into());
        }
        // Redis prints `%f` and trims the zeros.
        let digits = format!("{number:.6}");
        shown.push(digits.trim_end_matches('0').trim_end_matches('.').to_owned());
    }
    Ok(shown.join(" "))
}

fn replica_of(words: &[&str]) -> Result<String, String> {
    let [host, port] = words else { return Err("wrong number of arguments".into()) };
    if host.eq_ignore_ascii_case("no") && port.eq_ignore_ascii_case("one") {
        return Ok(String::new());
    }
    let port: u16 = port.parse().map_err(|_| "Invalid master port")?;
    Ok(format!("{host} {port}"))
}

/// A number as C's `strtoll` takes it where the whole word must be used: an empty word is 0.
fn strtoll(word: &str) -> Option<i64> {
    if word.is_empty() {
        return Some(0);
    }
    word.trim_start().parse().ok()
}
