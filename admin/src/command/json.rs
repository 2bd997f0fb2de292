//! Commands from JSON, and replies as JSON.

use axum::http::StatusCode;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use resp::Value as Reply;
use serde_json::{Map, Value, json};

/// Commands of a batch at most.
const BATCH_MAX: usize = 10_000;

/// The commands requested by the body of an HTTP request.
#[derive(Debug, PartialEq)]
pub struct Wanted {
    /// At least one command, each of at least one argument.
    pub commands: Vec<Vec<Vec<u8>>>,
    /// Whether it was an array of commands.
    pub is_batch: bool,
}

/// Reads `["SET", "key", 1]`, or an array of such arrays. Arguments are strings, numbers (in their shortest form),
/// or `{"base64": "…"}` for bytes that are no text.
///
/// # Errors
/// A text for the user, when the body is something else.
pub fn commands(body: &[u8]) -> Result<Wanted, String> {
    let body: Value = serde_json::from_slice(body).map_err(|error| format!("no JSON: {error}"))?;
    let Value::Array(items) = body else {
        return Err("a command is an array of its name and arguments".into());
    };
    let is_batch = matches!(items.first(), Some(Value::Array(_)));
    if items.len() > BATCH_MAX && is_batch {
        return Err(format!("a batch has {BATCH_MAX} commands at most"));
    }
    let commands = match is_batch {
        true => items.iter().map(one).collect::<Result<_, _>>()?,
        false => vec![words(&items)?],
    };
    Ok(Wanted { commands, is_batch })
}

fn one(item: &Value) -> Result<Vec<Vec<u8>>, String> {
    item.as_array().map_or(Err("a batch is an array of commands".into()), |items| words(items))
}

fn words(items: &[Value]) -> Result<Vec<Vec<u8>>, String> {
    match items.is_empty() {
        true => Err("a command has at least a name".into()),
        false => items.iter().map(word).collect(),
    }
}

fn word(item: &Value) -> Result<Vec<u8>, String> {
    let coded = |item: &Value| BASE64_STANDARD.decode(item.get("base64")?.as_str()?).ok();
    match item {
        Value::String(text) => Ok(text.clone().into_bytes()),
        Value::Number(number) if is_exact(number) => Ok(number.to_string().into_bytes()),
        Value::Object(fields) if fields.len() == 1 => coded(item).ok_or(()),
        _ => Err(()),
    }
    .map_err(|()| {
        "an argument is a string, a number (a large one as a string), or {\"base64\": \"...\"}"
            .into()
    })
}

/// Whether a number is exactly the one in the text: a fraction or an integer beyond 64 bits is not,
/// if it exceeds 2^53.
fn is_exact(number: &serde_json::Number) -> bool {
    const WHOLE_MAX: f64 = (1_u64 << 53) as f64;
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|it| it.abs() < WHOLE_MAX)
}

/// A reply as `{"result": …}` or `{"error": "…"}`.
pub fn outcome(reply: &Reply) -> Value {
    match reply.as_error() {
        Some(error) => json!({ "error": text(error) }),
        None => json!({ "result": value(reply) }),
    }
}

/// A reply of RESP3 as JSON: maps whose keys are texts are objects, other maps arrays of pairs; infinities and
/// NaN are strings, for JSON has no numbers for them.
fn value(reply: &Reply) -> Value {
    let pair = |(key, of): &(Reply, Reply)| Value::Array(vec![value(key), value(of)]);
    match reply {
        Reply::Simple(bytes) | Reply::Bulk(bytes) | Reply::Verbatim(_, bytes) => text(bytes),
        Reply::BigNumber(digits) => text(digits),
        Reply::Error(bytes) | Reply::BulkError(bytes) => json!({ "error": text(bytes) }),
        Reply::Integer(whole) => (*whole).into(),
        Reply::Double(real) if real.is_finite() => (*real).into(),
        Reply::Double(real) => real.to_string().to_lowercase().into(),
        Reply::Boolean(truth) => (*truth).into(),
        Reply::Null | Reply::NullArray => Value::Null,
        Reply::Array(all) | Reply::Set(all) | Reply::Push(all) => all.iter().map(value).collect(),
        Reply::Map(pairs) => object(pairs).unwrap_or_else(|| pairs.iter().map(pair).collect()),
        Reply::Attributed(_, of) => value(of),
    }
}

/// Pairs as an object, where every key is a text of its own.
fn object(pairs: &[(Reply, Reply)]) -> Option<Value> {
    let mut object = Map::new();
    for (key, of) in pairs {
        let key = std::str::from_utf8(key.as_bytes()?).ok()?;
        if object.insert(key.to_owned(), value(of)).is_some() {
            return None;
        }
    }
    Some(object.into())
}

fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "base64": BASE64_STANDARD.encode(bytes) }),
    }
}

/// An error as a request's refusal.
pub fn failed(error: &[u8]) -> (StatusCode, String) {
    let text = String::from_utf8_lossy(error).into_owned();
    (status(text.split(' ').next().unwrap_or("")), text)
}

/// The HTTP status for an error's code. With 429 and 503 the request may be repeated later; with 504 it may have been
/// executed.
fn status(code: &str) -> StatusCode {
    match code {
        "NOAUTH" | "WRONGPASS" => StatusCode::UNAUTHORIZED,
        "NOPERM" | "DENIED" => StatusCode::FORBIDDEN,
        "RATELIMITED" => StatusCode::TOO_MANY_REQUESTS,
        "LOADING" | "BUSY" | "OVERLOADED" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN"
        | "NOREPLICAS" | "MISCONF" | "OOM" => StatusCode::SERVICE_UNAVAILABLE,
        "UNKNOWN" => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_REQUEST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Wanted, String> {
        commands(body.as_bytes())
    }

    #[test]
    fn arguments_are_texts_numbers_and_bytes() {
        let wanted =
            read(r#"["SET", "k", -1.50, 18446744073709551615, {"base64": "/wA="}]"#).unwrap();
        let args: [&[u8]; 5] = [b"SET", b"k", b"-1.5", b"18446744073709551615", b"\xff\0"];
        assert_eq!(wanted.commands, [args.map(<[u8]>::to_vec)]);
        assert!(!wanted.is_batch);
        let batch = read(r#"[["PING"], ["GET", "k"]]"#).unwrap();
        assert!(batch.is_batch && batch.commands.len() == 2);
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for body in [
            "",
            "{}",
            "[]",
            "[[]]",
            "[null]",
            "[true]",
            r#"["GET", ["k"]]"#,
            r#"[["PING"], "PING"]"#,
            r#"["GET", {"base64": "!"}]"#,
            r#"["GET", {"base64": "", "x": 1}]"#,
            r#"["GET", {}]"#,
            r#"["GET", 18446744073709551616]"#,
        ] {
            assert!(read(body).is_err(), "{body}");
        }
        assert!(read(&format!("[{}[\"PING\"]]", "[\"PING\"],".repeat(BATCH_MAX))).is_err());
    }

    #[test]
    fn replies_are_values() {
        let bulk = |text: &str| Reply::Bulk(text.into());
        for (reply, expected) in [
            (bulk("é"), json!("é")),
            (Reply::Bulk(vec![255, 0]), json!({ "base64": "/wA=" })),
            (Reply::Integer(i64::MIN), json!(i64::MIN)),
            (Reply::Double(1.5), json!(1.5)),
            (Reply::Double(f64::NEG_INFINITY), json!("-inf")),
            (Reply::Double(f64::NAN), json!("nan")),
            (Reply::NullArray, Value::Null),
            (Reply::Map(vec![(bulk("a"), Reply::Boolean(true))]), json!({ "a": true })),
            (Reply::Map(vec![(Reply::Integer(1), bulk("x"))]), json!([[1, "x"]])),
            (
                Reply::Map(vec![(bulk("a"), bulk("x")), (bulk("a"), bulk("y"))]),
                json!([["a", "x"], ["a", "y"]]),
            ),
            (Reply::Set(vec![Reply::Error(b"ERR x".to_vec())]), json!([{ "error": "ERR x" }])),
            (Reply::Attributed(vec![], Box::new(bulk("x"))), json!("x")),
        ] {
            assert_eq!(value(&reply), expected);
        }
    }

    #[test]
    fn errors_have_the_status_that_says_the_same() {
        assert_eq!(failed(b"NOAUTH x").0, 401);
        assert_eq!(failed(b"RATELIMITED retry after 5 ms").0, 429);
        assert_eq!(failed(b"LOADING x").0, 503);
        assert_eq!(failed(b"UNKNOWN x").0, 504, "repeating it might do it twice");
        assert_eq!(failed(b"WRONGTYPE x"), (StatusCode::BAD_REQUEST, "WRONGTYPE x".into()));
    }
}
