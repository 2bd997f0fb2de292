//! The sparse encoding: runs of equal registers, as opcodes of one or two bytes.
//!
//! | bytes | meaning |
//! | --- | --- |
//! | `00nnnnnn` | `n + 1` registers of 0 |
//! | `01nnnnnn nnnnnnnn` | `n + 1` registers of 0 |
//! | `1vvvvvnn` | `n + 1` registers of `v + 1` |

use super::value::REGISTERS;

/// The highest value a register can have in this encoding.
pub const VALUE_MAX: u8 = 32;
const ZERO_RUN_MAX: usize = 64;
const VALUE_RUN_MAX: usize = 4;
/// The number of opcodes around a change that are checked for runs to join.
const JOIN_REACH: usize = 5;

/// One run of equal registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The registers' value.
    pub value: u8,
    /// The number of registers.
    pub len: usize,
    /// Bytes of the opcode.
    pub size: usize,
}

impl Run {
    /// The run whose opcode begins here; `None` at the end, or within a cut opcode.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let first = *bytes.first()?;
        Some(match first >> 6 {
            0 => Run { value: 0, len: usize::from(first & 0x3f) + 1, size: 1 },
            1 => {
                let len = usize::from(first & 0x3f) << 8 | usize::from(*bytes.get(1)?);
                Run { value: 0, len: len + 1, size: 2 }
            }
            _ => Run { value: (first >> 2 & 0x1f) + 1, len: usize::from(first & 3) + 1, size: 1 },
        })
    }
}

/// The runs of an encoding, until its end or until an invalid opcode.
pub fn runs(bytes: &[u8]) -> impl Iterator<Item = Run> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let run = Run::read(&bytes[at..])?;
        at += run.size;
        Some(run)
    })
}

/// The runs with the register each begins at; `None` unless they are exactly all registers.
pub fn visit(bytes: &[u8], mut visit: impl FnMut(usize, Run)) -> Option<()> {
    let (mut first, mut size) = (0, 0);
    for run in runs(bytes) {
        if first + run.len > REGISTERS {
            return None;
        }
        visit(first, run);
        first += run.len;
        size += run.size;
    }
    (first == REGISTERS && size == bytes.len()).then_some(())
}

/// Appends the opcode of a run of zeros; nothing for an empty one.
pub fn push_zeros(out: &mut Vec<u8>, len: usize) {
    match len.checked_sub(1) {
        None => {}
        Some(n) if len <= ZERO_RUN_MAX => out.push(n as u8),
        Some(n) => out.extend_from_slice(&[0x40 | (n >> 8) as u8, n as u8]),
    }
}

fn value_opcode(value: u8, len: usize) -> u8 {
    0x80 | (value - 1) << 2 | (len - 1) as u8
}

/// Appends a run of `value`, which may be 0.
fn push(out: &mut Vec<u8>, value: u8, len: usize) {
    match value {
        0 => push_zeros(out, len),
        _ if len > 0 => out.push(value_opcode(value, len)),
        _ => {}
    }
}

/// The outcome of setting a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raised {
    /// The register was as high already.
    No,
    /// It is set.
    Yes,
    /// It cannot be set in this encoding, or not within the allowed size.
    TooLarge,
    /// The opcodes do not reach the register.
    Corrupt,
}

/// Raises register `index` to `value` in the opcodes of `bytes` from `start` on. `bytes` grows to
/// at most `max` bytes.
pub fn raise(bytes: &mut Vec<u8>, start: usize, index: usize, value: u8, max: usize) -> Raised {
    if value > VALUE_MAX {
        return Raised::TooLarge;
    }
    let (mut at, mut first, mut before) = (start, 0, None);
    let run = loop {
        let Some(run) = Run::read(&bytes[at..]) else { return Raised::Corrupt };
        if index < first + run.len {
            break run;
        }
        before = Some(at);
        at += run.size;
        first += run.len;
    };
    if run.value >= value {
        return Raised::No;
    }
    let mut opcodes = Vec::with_capacity(5);
    push(&mut opcodes, run.value, index - first);
    push(&mut opcodes, value, 1);
    push(&mut opcodes, run.value, first + run.len - 1 - index);
    if opcodes.len() > run.size && bytes.len() + opcodes.len() - run.size > max {
        return Raised::TooLarge;
    }
    bytes.splice(at..at + run.size, opcodes);
    join(bytes, before.unwrap_or(start));
    Raised::Yes
}

/// Joins neighbouring runs of the same value, from the opcode at `at` on.
fn join(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..JOIN_REACH {
        let Some(run) = Run::read(&bytes[at..]) else { return };
        let next = Run::read(&bytes[at + run.size..]);
        match next {
            Some(next)
                if run.value > 0
                    && next.value == run.value
                    && run.len + next.len <= VALUE_RUN_MAX =>
            {
                bytes[at + 1] = value_opcode(run.value, run.len + next.len);
                bytes.remove(at);
            }
            _ => at += run.size,
        }
    }
}
