//! Replies as bytes, in both dialects, and numbers as text.

use bytes::Bytes;
use resp::{Output, Proto, ProtocolError, Reply, SHARE_MIN, format_double, parse_i64, split_words};

/// Returns the bytes that `write` writes, in RESP2 and in RESP3.
fn both(write: impl Fn(&mut Reply<'_>)) -> [String; 2] {
    [Proto::Resp2, Proto::Resp3].map(|proto| {
        let mut out = Output::new();
        write(&mut Reply::new(&mut out, proto));
        String::from_utf8(out.to_vec()).expect("tests write text")
    })
}

/// `write` writes the same in both dialects.
#[track_caller]
fn same(write: impl Fn(&mut Reply<'_>), expected: &str) {
    assert_eq!(both(write), [expected, expected]);
}

#[test]
fn lines() {
    same(|r| r.ok(), "+OK\r\n");
    same(|r| r.simple("QUEUED"), "+QUEUED\r\n");
    same(|r| r.simple("a\r\nb"), "+a  b\r\n");
    same(|r| r.error("ERR no\r\nsuch\n"), "-ERR no  such\r\n");
    same(|r| r.error("\r\n"), "-\r\n");
    same(
        |r| r.protocol_error(ProtocolError::InvalidBulkLength),
        "-ERR Protocol error: invalid bulk length\r\n",
    );
    same(
        |r| r.protocol_error(ProtocolError::ExpectedBulk(b'\r')),
        "-ERR Protocol error: expected '$', got ' '\r\n",
    );
    let mut out = Output::new();
    Reply::new(&mut out, Proto::Resp2).protocol_error(ProtocolError::ExpectedBulk(0xff));
    assert_eq!(out.to_vec(), b"-ERR Protocol error: expected '$', got '\xff'\r\n");
}

#[test]
fn integers() {
    for value in [0, 7, 9, 10, 42, 99, 100, 12345, -1, -99, i64::MAX, i64::MIN] {
        same(|r| r.integer(value), &format!(":{value}\r\n"));
        let text = value.to_string();
        same(|r| r.bulk_i64(value), &format!("${}\r\n{text}\r\n", text.len()));
    }
}

#[test]
fn strings() {
    for len in [0, 1, 9, 10, 99, 100, 1000, SHARE_MIN - 1, SHARE_MIN, SHARE_MIN + 1] {
        let text = "x".repeat(len);
        let expected = format!("${len}\r\n{text}\r\n");
        same(|r| r.bulk(text.as_bytes()), &expected);
        same(|r| r.bulk_shared(Bytes::copy_from_slice(text.as_bytes())), &expected);
    }
    same(|r| r.bulk_fmt(format_args!("{}-{}", 5, 6)), "$3\r\n5-6\r\n");
    same(|r| r.bulk_fmt(format_args!("plain")), "$5\r\nplain\r\n");
}

#[test]
fn what_the_dialects_say_differently() {
    assert_eq!(both(|r| r.null()), ["$-1\r\n", "_\r\n"]);
    assert_eq!(both(|r| r.null_array()), ["*-1\r\n", "_\r\n"]);
    assert_eq!(both(|r| r.array(12)), ["*12\r\n", "*12\r\n"]);
    assert_eq!(both(|r| r.map(300)), ["*600\r\n", "%300\r\n"]);
    assert_eq!(both(|r| r.set(3)), ["*3\r\n", "~3\r\n"]);
    assert_eq!(both(|r| r.push(3)), ["*3\r\n", ">3\r\n"]);
    assert_eq!(both(|r| r.boolean(true)), [":1\r\n", "#t\r\n"]);
    assert_eq!(both(|r| r.boolean(false)), [":0\r\n", "#f\r\n"]);
    assert_eq!(both(|r| r.big_number("-123")), ["$4\r\n-123\r\n", "(-123\r\n"]);
    assert_eq!(both(|r| r.verbatim("txt", b"hello")), ["$5\r\nhello\r\n", "=9\r\ntxt:hello\r\n"]);
    assert_eq!(both(|r| r.double(1.5)), ["$3\r\n1.5\r\n", ",1.5\r\n"]);
    assert_eq!(
        both(|r| r.double(-1.0 / 3.0)),
        ["$19\r\n-0.3333333333333333\r\n", ",-0.3333333333333333\r\n"]
    );
    let attributed = |r: &mut Reply<'_>| {
        if r.attribute(1) {
            r.simple("ttl");
            r.integer(1);
        }
        r.ok();
    };
    assert_eq!(both(attributed), ["+OK\r\n", "|1\r\n+ttl\r\n:1\r\n+OK\r\n"]);
}

#[test]
fn headers_that_come_last() {
    let nested = |r: &mut Reply<'_>| {
        r.ok();
        let outer = r.deferred();
        r.integer(1);
        let inner = r.deferred();
        r.integer(2);
        r.integer(3);
        r.finish_map(inner, 1);
        let empty = r.deferred();
        r.finish_set(empty, 0);
        r.finish_array(outer, 3);
    };
    assert_eq!(
        both(nested),
        [
            "+OK\r\n*3\r\n:1\r\n*2\r\n:2\r\n:3\r\n*0\r\n",
            "+OK\r\n*3\r\n:1\r\n%1\r\n:2\r\n:3\r\n~0\r\n"
        ]
    );
    let large = "x".repeat(SHARE_MIN);
    same(
        |r| {
            r.ok();
            let mark = r.deferred();
            r.bulk_shared(Bytes::copy_from_slice(large.as_bytes()));
            r.bulk_shared(Bytes::copy_from_slice(large.as_bytes()));
            r.finish_array(mark, 2);
        },
        &format!("+OK\r\n*2\r\n${SHARE_MIN}\r\n{large}\r\n${SHARE_MIN}\r\n{large}\r\n"),
    );
    same(
        |r| {
            let mark = r.deferred();
            r.integer(1);
            r.rewind(mark);
            r.error("ERR no");
        },
        "-ERR no\r\n",
    );
}

/// Tests the texts that Redis 7.2's `d2string` and `fpconv_dtoa` print.
#[test]
fn doubles() {
    let cases: [(f64, &str); 30] = [
        (0.0, "0"),
        (-0.0, "-0"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (f64::NAN, "nan"),
        (1.0, "1"),
        (-3.0, "-3"),
        (3.5, "3.5"),
        (0.1, "0.1"),
        (0.1 + 0.2, "0.30000000000000004"),
        (100.25, "100.25"),
        (1e15, "1000000000000000"),
        (4611686018427387904.0, "4611686018427387904"),
        (9007199254740993.0, "9007199254740992"),
        // Above 2^62 the layout is fpconv's: 20 digits are 17 and three zeros.
        (12345678901234567890.0, "12345678901234567000"),
        (1e19, "1e+19"),
        (1e20, "1e+20"),
        (-1e21, "-1e+21"),
        (1.5e300, "1.5e+300"),
        (1e100, "1e+100"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1.25e-5, "1.25e-5"),
        (1.25e-4, "0.000125"),
        (0.00123, "0.00123"),
        (1.2345678e-3, "0.0012345678"),
        (1.5e-10, "1.5e-10"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e+308"),
        (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
    ];
    for (value, expected) in cases {
        let mut text = Vec::new();
        format_double(value, &mut text);
        assert_eq!(String::from_utf8_lossy(&text), expected, "{value:e}");
    }
}

proptest::proptest! {
    #[test]
    fn doubles_read_back(bits in proptest::prelude::any::<u64>()) {
        let value = f64::from_bits(bits);
        let mut text = Vec::new();
        format_double(value, &mut text);
        let back: f64 = String::from_utf8(text).unwrap().parse().unwrap();
        proptest::prop_assert!(back == value || value.is_nan());
    }

    #[test]
    fn integers_read_back(value in proptest::prelude::any::<i64>()) {
        proptest::prop_assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
    }
}

#[test]
fn integers_are_strict() {
    for (text, value) in [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX)] {
        assert_eq!(parse_i64(text.as_bytes()), Some(value));
    }
    assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
    for text in [
        "",
        "-",
        "+1",
        "-0",
        "00",
        "01",
        "-01",
        " 1",
        "1 ",
        "1a",
        "a",
        "0x1",
        "1.0",
        "--1",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "999999999999999999999999",
        "1\n",
    ] {
        assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn words_are_split_like_sdssplitargs() {
    let split = |line: &[u8]| split_words(line);
    let words = |words: &[&[u8]]| Some(words.iter().map(|w| w.to_vec()).collect::<Vec<_>>());
    assert_eq!(split(b""), words(&[]));
    assert_eq!(split(b" \t\x0b\x0c\r\n"), words(&[]));
    assert_eq!(split(b"a  b\tc"), words(&[b"a", b"b", b"c"]));
    assert_eq!(split(b"\"\\x00\\xFf\\xg\\\\\\\"\""), words(&[b"\x00\xffxg\\\""]));
    assert_eq!(split(b"\"\\n\\r\\t\\b\\a\""), words(&[b"\n\r\t\x08\x07"]));
    assert_eq!(split(b"'\\n\\x41\\''"), words(&[b"\\n\\x41'"]));
    assert_eq!(split(b"a\"b c\" d'e'"), words(&[b"ab c", b"de"]));
    assert_eq!(split(b"\"\" ''"), words(&[b"", b""]));
    assert_eq!(split(b"a\0b\0"), words(&[b"a", b"b"]));
    for unbalanced in ["\"", "'", "\"a\"b", "'a'b", "\"a\\\"", "\"\\", "a'", "\"a\"'b'"] {
        assert_eq!(split(unbalanced.as_bytes()), None, "{unbalanced:?}");
    }
}
