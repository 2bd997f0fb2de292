//! BITOP: strings combined bit by bit.

use super::super::string::set_raw;
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::notify::keyspace::Class;
use engine::text::args::is_word;
use storage::NewExpiry;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

impl Operation {
    fn parse(word: &[u8]) -> Result<Self, Failure> {
        let all = [
            ("AND", Operation::And),
            ("OR", Operation::Or),
            ("XOR", Operation::Xor),
            ("NOT", Operation::Not),
        ];
        all.into_iter().find(|(name, _)| is_word(word, name)).map(|(_, found)| found).ok_or(SYNTAX)
    }

    /// Works one more operand into the result; the shorter one counts as followed by zeros.
    fn combine(self, result: &mut Vec<u8>, operand: &[u8]) {
        if operand.len() > result.len() {
            result.resize(operand.len(), 0);
        }
        let (common, rest) = result.split_at_mut(operand.len());
        let pairs = common.iter_mut().zip(operand);
        match self {
            Operation::And => {
                pairs.for_each(|(byte, other)| *byte &= other);
                rest.fill(0);
            }
            Operation::Or => pairs.for_each(|(byte, other)| *byte |= other),
            Operation::Xor => pairs.for_each(|(byte, other)| *byte ^= other),
            Operation::Not => pairs.for_each(|(byte, other)| *byte = !other),
        }
    }
}

pub(super) fn bitop(cx: &mut Cx<'_>) -> Outcome {
    let operation = Operation::parse(cx.args.arg(1))?;
    if operation == Operation::Not && cx.argc() != 4 {
        return Err(failure("ERR BITOP NOT must be called with a single source key."));
    }
    let mut result = Vec::new();
    for index in 3..cx.argc() {
        let source = cx.key(index);
        let value = cx.tx.string(&source)?;
        let found = value.is_some();
        let bytes = value.map_or(&[][..], |value| value.as_bytes());
        match operation {
            Operation::Not => operation.combine(&mut result, bytes),
            _ if index == 3 => result.extend_from_slice(bytes),
            _ => operation.combine(&mut result, bytes),
        }
        cx.looked_up(&source, found);
    }
    store(cx, &result)
}

/// Replaces whatever the destination holds; nothing is left of it when the result is empty.
fn store(cx: &mut Cx<'_>, result: &[u8]) -> Outcome {
    let destination = cx.key(2);
    if !result.is_empty() {
        set_raw(cx, &destination, result, NewExpiry::Clear)?;
        cx.modified(&destination, Class::String, "set");
    } else if cx.tx.remove(&destination)? {
        cx.modified(&destination, Class::Generic, "del");
    }
    cx.reply.integer(result.len() as i64);
    Ok(())
}
