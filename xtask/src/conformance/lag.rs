//! The lag of consumer groups, computed from the data of stream and group in `XINFO STREAM … FULL`.
//! Redis before 7.2.6 counts in another way, so an older server cannot serve for comparison.

use resp::Value;

/// A stream ID, its two parts.
type Id = (u64, u64);

/// The names and values of a map, in either protocol.
fn pairs(value: &Value) -> Option<Vec<(&[u8], &Value)>> {
    match value {
        Value::Map(pairs) => {
            pairs.iter().map(|(name, value)| Some((name.as_bytes()?, value))).collect()
        }
        Value::Array(items) if items.len().is_multiple_of(2) => {
            items.chunks(2).map(|pair| Some((pair[0].as_bytes()?, &pair[1]))).collect()
        }
        _ => None,
    }
}

fn field<'v>(map: &[(&[u8], &'v Value)], name: &str) -> Option<&'v Value> {
    map.iter().find(|(of, _)| *of == name.as_bytes()).map(|(_, value)| *value)
}

fn number(map: &[(&[u8], &Value)], name: &str) -> Option<i64> {
    match field(map, name)? {
        Value::Integer(number) => Some(*number),
        _ => None,
    }
}

fn id(map: &[(&[u8], &Value)], name: &str) -> Option<Id> {
    let text = std::str::from_utf8(field(map, name)?.as_bytes()?).ok()?;
    let (ms, seq) = text.split_once('-')?;
    Some((ms.parse().ok()?, seq.parse().ok()?))
}

/// Whether every group's lag in a reply to `XINFO STREAM … FULL` is that of Redis 7.2.7; true for
/// any other reply.
pub fn is_right(answer: &Value) -> bool {
    check(answer).unwrap_or(true)
}

/// Whether anything was ever deleted from the stream of such an answer: from then on versions count
/// differently what groups have read.
pub fn has_deletions(answer: &Value) -> bool {
    pairs(answer).and_then(|map| id(&map, "max-deleted-entry-id")).is_none_or(|id| id != (0, 0))
}

fn check(answer: &Value) -> Option<bool> {
    let stream = pairs(answer)?;
    let groups = field(&stream, "groups")?.as_slice()?;
    let (length, added) = (number(&stream, "length")?, number(&stream, "entries-added")?);
    let (first, last) =
        (id(&stream, "recorded-first-entry-id")?, id(&stream, "last-generated-id")?);
    let deleted = id(&stream, "max-deleted-entry-id")?;
    for group in groups {
        let group = pairs(group)?;
        let at = id(&group, "last-delivered-id")?;
        let behind = deleted != (0, 0) && deleted >= at;
        let expected = if added == 0 {
            Some(0)
        } else if at < first && deleted < first {
            Some(length)
        } else if let (Some(read), false) = (number(&group, "entries-read"), length > 0 && behind) {
            Some(added - read)
        } else if at == last && at >= deleted || length == 0 && at <= last {
            Some(0)
        } else if at == first && deleted < first {
            Some(length - 1)
        } else {
            None
        };
        if number(&group, "lag") != expected {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::is_right;
    use resp::Value;

    fn answer(lag: Value) -> Value {
        let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let group = [("last-delivered-id", bulk("1-0")), ("entries-read", Value::Integer(1))];
        let group = group.into_iter().chain([("lag", lag)]);
        let group = group.map(|(name, value)| (bulk(name), value)).collect();
        let stream = [
            ("length", Value::Integer(1)),
            ("entries-added", Value::Integer(5)),
            ("recorded-first-entry-id", bulk("5-0")),
            ("last-generated-id", bulk("5-0")),
            ("max-deleted-entry-id", bulk("0-0")),
            ("groups", Value::Array(vec![Value::Map(group)])),
        ];
        Value::Map(stream.into_iter().map(|(name, value)| (bulk(name), value)).collect())
    }

    #[test]
    fn a_wrong_lag_is_seen() {
        assert!(is_right(&answer(Value::Integer(1))), "four of five were trimmed away");
        assert!(!is_right(&answer(Value::Integer(4))) && !is_right(&answer(Value::Null)));
        assert!(is_right(&Value::Integer(7)), "nothing about a stream");
    }
}
