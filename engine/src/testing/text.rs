//! Replies as redis-cli shows them.

use resp::Value;

/// A reply as `redis-cli` prints it on a terminal, without the last line end.
pub fn text(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, &mut out);
    out
}

/// Bytes in double quotes, everything unprintable escaped.
pub fn quote(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend(['\\', char::from(byte)]),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x07 => out.push_str("\\a"),
            0x08 => out.push_str("\\b"),
            0x20..=0x7e => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn write(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Simple(bytes) => out.push_str(&lossy(bytes)),
        Value::Error(bytes) | Value::BulkError(bytes) => {
            out.push_str(&format!("(error) {}", lossy(bytes)));
        }
        Value::Integer(number) => out.push_str(&format!("(integer) {number}")),
        Value::Bulk(bytes) => out.push_str(&quote(bytes)),
        Value::Verbatim(_, bytes) => out.push_str(&lossy(bytes)),
        Value::BigNumber(digits) => out.push_str(&lossy(digits)),
        Value::Null | Value::NullArray => out.push_str("(nil)"),
        Value::Double(number) => {
            let mut digits = Vec::new();
            resp::format_double(*number, &mut digits);
            out.push_str(&format!("(double) {}", lossy(&digits)));
        }
        Value::Boolean(true) => out.push_str("(true)"),
        Value::Boolean(false) => out.push_str("(false)"),
        Value::Array(items) => list(items, ')', "(empty array)", indent, out),
        Value::Set(items) => list(items, '~', "(empty set)", indent, out),
        Value::Push(items) => list(items, '>', "(empty push)", indent, out),
        Value::Map(pairs) => map(pairs, indent, out),
        Value::Attributed(pairs, value) => {
            map(pairs, indent, out);
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            write(value, indent, out);
        }
    }
}

/// Numbered lines; everything below an element starts where the element does.
fn list(items: &[Value], mark: char, empty: &str, indent: usize, out: &mut String) {
    if items.is_empty() {
        return out.push_str(empty);
    }
    let width = items.len().to_string().len();
    for (i, item) in items.iter().enumerate() {
        number(i, width, mark, indent, out);
        write(item, indent + width + 2, out);
    }
}

fn map(pairs: &[(Value, Value)], indent: usize, out: &mut String) {
    if pairs.is_empty() {
        return out.push_str("(empty hash)");
    }
    let width = pairs.len().to_string().len();
    for (i, (key, value)) in pairs.iter().enumerate() {
        number(i, width, '#', indent, out);
        write(key, indent + width + 2, out);
        out.push_str(" => ");
        let nested = matches!(value, Value::Array(v) | Value::Set(v) if !v.is_empty())
            || matches!(value, Value::Map(v) if !v.is_empty());
        if nested {
            out.push('\n');
            out.push_str(&" ".repeat(indent + width + 2));
        }
        write(value, indent + width + 2, out);
    }
}

fn number(i: usize, width: usize, mark: char, indent: usize, out: &mut String) {
    if i > 0 {
        out.push('\n');
        out.push_str(&" ".repeat(indent));
    }
    out.push_str(&format!("{:>width$}{mark} ", i + 1));
}
