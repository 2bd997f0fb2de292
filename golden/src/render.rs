//! Answers as text, in redis-cli's notation.

use resp::Value;

/// The amount of a reply that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All of it, in order.
    Full,
    /// All of it, elements sorted.
    Sorted,
    /// Its type only.
    Type,
}

/// The answer as lines without a trailing line end.
pub fn render(value: &Value, shape: Shape) -> String {
    match shape {
        Shape::Type => kind(value).to_owned(),
        Shape::Full => lines(value).join("\n"),
        Shape::Sorted => lines(&sorted(value)).join("\n"),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Simple(_) => "(status)",
        Value::Error(_) => "(an error)",
        Value::Integer(_) => "(an integer)",
        Value::Bulk(_) | Value::Verbatim(..) => "(a string)",
        Value::Null | Value::NullArray => "(nil)",
        Value::Array(_) => "(an array)",
        Value::Map(_) => "(a map)",
        Value::Set(_) => "(a set)",
        Value::Double(_) => "(a double)",
        Value::Boolean(_) => "(a boolean)",
        Value::BigNumber(_) => "(a big number)",
        Value::Push(_) => "(a push)",
        Value::BulkError(_) => "(an error)",
        Value::Attributed(..) => "(an attribute)",
    }
}

/// The same reply with the elements of its outermost collection sorted. A flat array that
/// represents a map or a set of pairs looks like any other array, so scripts use `@sorted` only if
/// elements are independent.
fn sorted(value: &Value) -> Value {
    let mut value = value.clone();
    match &mut value {
        Value::Array(items) | Value::Set(items) | Value::Push(items) => {
            items.sort_by_cached_key(|item| lines(item).join("\n"));
        }
        Value::Map(pairs) => pairs.sort_by_cached_key(|(k, _)| lines(k).join("\n")),
        _ => {}
    }
    value
}

fn lines(value: &Value) -> Vec<String> {
    match value {
        Value::Simple(text) => vec![lossy(text)],
        Value::Error(text) => vec![format!("(error) {}", lossy(text))],
        Value::Integer(n) => vec![format!("(integer) {n}")],
        Value::Bulk(bytes) => vec![quoted(bytes)],
        Value::Null => vec!["(nil)".into()],
        Value::NullArray => vec!["(nil array)".into()],
        Value::Array(items) => list(items, ')', "(empty array)"),
        Value::Set(items) => list(items, '~', "(empty set)"),
        Value::Push(items) => list(items, '>', "(empty push)"),
        Value::Map(pairs) => map(pairs),
        Value::Double(d) => vec![format!("(double) {}", double(*d))],
        Value::Boolean(b) => vec![format!("({b})")],
        Value::BigNumber(digits) => vec![format!("(big number) {}", lossy(digits))],
        Value::BulkError(text) => vec![format!("(error) {}", lossy(text))],
        Value::Verbatim(kind, text) => vec![format!("({}) {}", lossy(kind), quoted(text))],
        Value::Attributed(about, value) => {
            let mut all = map(about);
            all.insert(0, "(attribute)".into());
            all.extend(lines(value));
            all
        }
    }
}

fn lossy(text: &impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(text.as_ref()).into_owned()
}

fn double(value: f64) -> String {
    let mut text = Vec::new();
    resp::format_double(value, &mut text);
    lossy(&text)
}

/// Bytes in double quotes, escaped as redis-cli does.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for &byte in bytes {
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            b' '..=b'~' => text.push(byte as char),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push('"');
    text
}

fn list(items: &[Value], sign: char, empty: &str) -> Vec<String> {
    if items.is_empty() {
        return vec![empty.into()];
    }
    let numbered = items.iter().enumerate();
    numbered.flat_map(|(i, item)| indented(&format!("{}{sign} ", i + 1), lines(item))).collect()
}

fn map(pairs: &[(Value, Value)]) -> Vec<String> {
    if pairs.is_empty() {
        return vec!["(empty map)".into()];
    }
    let entry = |(i, (key, value)): (usize, &(Value, Value))| {
        let key = lines(key).join(" ");
        indented(&format!("{}# {key} => ", i + 1), lines(value))
    };
    pairs.iter().enumerate().flat_map(entry).collect()
}

/// The first line behind `head`, the others indented by three columns.
fn indented(head: &str, lines: Vec<String>) -> Vec<String> {
    let mut lines = lines.into_iter();
    let first = format!("{head}{}", lines.next().unwrap_or_default());
    std::iter::once(first).chain(lines.map(|line| format!("   {line}"))).collect()
}
