//! `DEBUG PROTOCOL`: one reply of each type, the same as Redis's, for tests of clients.

use engine::cx::Cx;
use engine::failure::{Outcome, failure};
use resp::Reply;

/// The double that Redis sends: not pi, only its first digits.
#[allow(clippy::approx_constant, reason = "these very digits are sent")]
const DOUBLE: f64 = 3.141;

/// Writes a reply of one of the types that have elements, with whatever follows it.
fn aggregate(kind: &str, reply: &mut Reply<'_>) {
    match kind {
        "array" => {
            reply.array(3);
            (0..3).for_each(|number| reply.integer(number));
        }
        "set" => {
            reply.set(3);
            (0..3).for_each(|number| reply.integer(number));
        }
        "map" => {
            reply.map(3);
            for number in 0..3 {
                reply.integer(number);
                reply.boolean(number == 1);
            }
        }
        "attrib" => {
            if reply.attribute(1) {
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.integer(90);
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        _ => {
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.integer(42);
            reply.bulk(b"Some real reply following the push reply");
        }
    }
}

pub(super) fn protocol(cx: &mut Cx<'_>) -> Outcome {
    let kind = String::from_utf8_lossy(cx.args.arg(2)).to_ascii_lowercase();
    let reply = &mut cx.reply;
    match kind.as_str() {
        "string" => reply.bulk(b"Hello World"),
        "integer" => reply.integer(12_345),
        "double" => reply.double(DOUBLE),
        "null" => reply.null(),
        "push" if !reply.is_resp3() => {
            return Err(failure("ERR RESP2 is not supported by this command"));
        }
        "array" | "set" | "map" | "attrib" | "push" => aggregate(&kind, reply),
        "verbatim" => reply.verbatim("txt", b"This is a verbatim\nstring"),
        "true" => reply.boolean(true),
        "false" => reply.boolean(false),
        "bignum" => reply.big_number("1234567999999999999999999999999999999"),
        _ => {
            return Err(failure(
                "ERR Wrong protocol type name. Please use one of the following: string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}
