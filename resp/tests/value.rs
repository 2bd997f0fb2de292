//! The client's side: replies decoded, skipped, and read back after being written.

use proptest::prelude::*;
use resp::{
    Batch, DecodeError, Limits, Output, Parser, Proto, Reply, Value, decode, encode_command,
    skip_reply,
};

fn bulk(text: &str) -> Value {
    Value::Bulk(text.into())
}

#[track_caller]
fn decodes(text: &str, value: Value) {
    let bytes = text.as_bytes();
    assert_eq!(decode(bytes), Ok(Some((value, bytes.len()))), "{text:?}");
    for end in 0..bytes.len() {
        assert_eq!(decode(&bytes[..end]), Ok(None), "{:?}", &text[..end]);
        assert_eq!(skip_reply(&bytes[..end]), None, "{:?}", &text[..end]);
    }
    // What follows is not looked at.
    assert_eq!(skip_reply(format!("{text}:1\r\n").as_bytes()), Some(bytes.len()));
}

#[test]
fn every_type_is_decoded() {
    decodes("+OK\r\n", Value::Simple("OK".into()));
    decodes("-ERR no\r\n", Value::Error("ERR no".into()));
    decodes("!6\r\nERR a\n\r\n", Value::BulkError("ERR a\n".into()));
    decodes(":-42\r\n", Value::Integer(-42));
    decodes(":+42\r\n", Value::Integer(42));
    decodes("$5\r\na\r\nbc\r\n", bulk("a\r\nbc"));
    decodes("$0\r\n\r\n", bulk(""));
    decodes("$-1\r\n", Value::Null);
    decodes("_\r\n", Value::Null);
    decodes("*-1\r\n", Value::NullArray);
    decodes("*0\r\n", Value::Array(vec![]));
    decodes("*2\r\n*1\r\n:1\r\n$-1\r\n", {
        Value::Array(vec![Value::Array(vec![Value::Integer(1)]), Value::Null])
    });
    decodes("~1\r\n#t\r\n", Value::Set(vec![Value::Boolean(true)]));
    decodes(">1\r\n#f\r\n", Value::Push(vec![Value::Boolean(false)]));
    decodes("%1\r\n+k\r\n,1.5\r\n", {
        Value::Map(vec![(Value::Simple("k".into()), Value::Double(1.5))])
    });
    decodes(",-inf\r\n", Value::Double(f64::NEG_INFINITY));
    decodes(",1e+22\r\n", Value::Double(1e22));
    decodes("(-12345678901234567890123\r\n", Value::BigNumber("-12345678901234567890123".into()));
    decodes("=7\r\ntxt:abc\r\n", Value::Verbatim(*b"txt", "abc".into()));
    decodes("|1\r\n+k\r\n:1\r\n+v\r\n", {
        let pairs = vec![(Value::Simple("k".into()), Value::Integer(1))];
        Value::Attributed(pairs, Box::new(Value::Simple("v".into())))
    });
}

#[test]
fn what_is_no_reply_is_refused() {
    let nested = "*1\r\n".repeat(200);
    let cases: [(&str, DecodeError); 19] = [
        ("x", DecodeError::UnknownType(b'x')),
        ("\r\n", DecodeError::UnknownType(b'\r')),
        (":1a\r\n", DecodeError::InvalidNumber),
        (":\r\n", DecodeError::InvalidNumber),
        ("$-2\r\n", DecodeError::InvalidNumber),
        (">+2\r\n", DecodeError::InvalidNumber),
        ("!-1\r\n", DecodeError::InvalidNumber),
        ("~-1\r\n", DecodeError::InvalidNumber),
        ("$1073741825\r\n", DecodeError::TooLong),
        ("*4294967296\r\n", DecodeError::TooLong),
        ("$1\r\nabc", DecodeError::ExpectedLineEnd),
        ("+a\rb", DecodeError::ExpectedLineEnd),
        ("#x\r\n", DecodeError::InvalidNumber),
        (",abc\r\n", DecodeError::InvalidNumber),
        ("(12x\r\n", DecodeError::InvalidNumber),
        ("_x\r\n", DecodeError::InvalidNumber),
        ("=3\r\nabc\r\n", DecodeError::InvalidNumber),
        // Known to be wrong before it is complete.
        ("*1000000\r\n:1\r\nx", DecodeError::UnknownType(b'x')),
        (&nested, DecodeError::TooDeep),
    ];
    for (text, error) in cases {
        assert_eq!(decode(text.as_bytes()), Err(error), "{text:?}");
    }
}

#[test]
fn claimed_lengths_reserve_nothing_and_end() {
    for text in ["*4294967295\r\n:1\r\n", "%4294967295\r\n:1\r\n", "$1073741824\r\nx"] {
        assert_eq!(decode(text.as_bytes()), Ok(None));
        assert_eq!(skip_reply(text.as_bytes()), None);
    }
    let endless = "|4294967295\r\n".repeat(100);
    assert_eq!(skip_reply(endless.as_bytes()), None);
}

#[test]
fn debug_shows_text() {
    let value =
        Value::Array(vec![bulk("a\r\n"), Value::Null, Value::Verbatim(*b"txt", "x".into())]);
    assert_eq!(format!("{value:?}"), r#"Array([Bulk("a\r\n"), Null, Verbatim txt("x")])"#);
}

#[test]
fn accessors_tell_kinds_apart() {
    assert_eq!(bulk("x").as_bytes(), Some(&b"x"[..]));
    assert_eq!(Value::Error("E".into()).as_bytes(), None);
    assert_eq!(Value::Error("E".into()).as_error(), Some(&b"E"[..]));
    assert_eq!(Value::Integer(3).as_i64(), Some(3));
    assert_eq!(Value::Set(vec![Value::Null]).as_slice(), Some(&[Value::Null][..]));
}

fn any_value() -> impl Strategy<Value = Value> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..130);
    let leaf = prop_oneof![
        "[ -~]{0,20}".prop_map(|s| Value::Simple(s.into_bytes())),
        "[A-Z]{1,8} [ -~]{0,20}".prop_map(|s| Value::Error(s.into_bytes())),
        any::<i64>().prop_map(Value::Integer),
        bytes().prop_map(Value::Bulk),
        Just(Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        prop::num::f64::NORMAL.prop_map(Value::Double),
        "-?[1-9][0-9]{0,40}".prop_map(|s| Value::BigNumber(s.into_bytes())),
        bytes().prop_map(|b| Value::Verbatim(*b"txt", b)),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let pairs = prop::collection::vec((inner.clone(), inner.clone()), 0..4);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Set),
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Push),
            pairs.clone().prop_map(Value::Map),
            (pairs, inner).prop_map(|(p, v)| Value::Attributed(p, Box::new(v))),
        ]
    })
}

fn write(value: &Value, reply: &mut Reply<'_>) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("generated as text");
    match value {
        Value::Simple(bytes) => reply.simple(&text(bytes)),
        Value::Error(bytes) | Value::BulkError(bytes) => reply.error(&text(bytes)),
        Value::Integer(value) => reply.integer(*value),
        Value::Bulk(bytes) => reply.bulk(bytes),
        Value::Null => reply.null(),
        Value::NullArray => reply.null_array(),
        Value::Boolean(value) => reply.boolean(*value),
        Value::Double(value) => reply.double(*value),
        Value::BigNumber(bytes) => reply.big_number(&text(bytes)),
        Value::Verbatim(_, bytes) => reply.verbatim("txt", bytes),
        Value::Array(items) => {
            reply.array(items.len());
            items.iter().for_each(|item| write(item, reply));
        }
        Value::Set(items) => {
            let mark = reply.deferred();
            items.iter().for_each(|item| write(item, reply));
            reply.finish_set(mark, items.len());
        }
        Value::Push(items) => {
            reply.push(items.len());
            items.iter().for_each(|item| write(item, reply));
        }
        Value::Map(pairs) => {
            reply.map(pairs.len());
            write_pairs(pairs, reply);
        }
        Value::Attributed(pairs, value) => {
            if reply.attribute(pairs.len()) {
                write_pairs(pairs, reply);
            }
            write(value, reply);
        }
    }
}

fn write_pairs(pairs: &[(Value, Value)], reply: &mut Reply<'_>) {
    for (key, value) in pairs {
        write(key, reply);
        write(value, reply);
    }
}

proptest! {
    #[test]
    fn what_is_written_in_resp3_reads_back(value in any_value()) {
        let mut out = Output::new();
        write(&value, &mut Reply::new(&mut out, Proto::Resp3));
        let bytes = out.to_vec();
        prop_assert_eq!(skip_reply(&bytes), Some(bytes.len()));
        prop_assert_eq!(decode(&bytes), Ok(Some((value, bytes.len()))));
    }

    #[test]
    fn what_is_written_in_resp2_is_one_reply(value in any_value()) {
        let mut out = Output::new();
        write(&value, &mut Reply::new(&mut out, Proto::Resp2));
        let bytes = out.to_vec();
        prop_assert!(matches!(decode(&bytes), Ok(Some((_, n))) if n == bytes.len()));
        prop_assert_eq!(skip_reply(&bytes), Some(bytes.len()));
        for end in 0..bytes.len() {
            prop_assert_eq!(decode(&bytes[..end]), Ok(None));
            prop_assert_eq!(skip_reply(&bytes[..end]), None);
        }
    }

    #[test]
    fn noise_never_panics_and_both_readers_agree(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "([-+:$*_#,(!=~>%|][0-9tf-]{0,2}(\r\n|\r|\n)?){0,30}".prop_map(String::into_bytes),
        ],
    ) {
        let skipped = skip_reply(&bytes);
        prop_assert!(skipped.is_none_or(|n| n <= bytes.len()));
        if let Ok(Some((_, len))) = decode(&bytes) {
            prop_assert_eq!(skipped, Some(len));
        }
    }

    #[test]
    fn an_encoded_command_parses_back(
        args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..150), 1..120),
    ) {
        let mut bytes = Vec::new();
        encode_command(&args, &mut bytes);
        let mut batch = Batch::new();
        let progress = Parser::new().parse(&bytes, 9, &Limits::default(), &mut batch);
        prop_assert_eq!((progress.consumed, batch.len()), (bytes.len(), 1));
        let request = batch.view(batch.request(0), &bytes);
        prop_assert!(request.iter().eq(args.iter().map(Vec::as_slice)));
        prop_assert_eq!(request.get(args.len()), None);
        prop_assert_eq!(request.tail(1).len(), args.len() - 1);
    }
}
