//! HyperLogLog commands: how many distinct elements there were, in 12 kilobytes.
//!
//! | module | what |
//! | --- | --- |
//! | [`value`] | the string: header, dense registers |
//! | [`sparse`] | the opcodes of the sparse encoding |
//! | [`estimate`] | from registers to a cardinality |
//! | [`hash`] | from elements to registers |
//! | `debug` | PFDEBUG and PFSELFTEST |

mod debug;
mod estimate;
mod hash;
mod rows;
mod sparse;
mod value;

use super::string::set_raw;
use engine::config::Id;
use engine::cx::Cx;
use engine::failure::{Failure, Outcome};
use engine::notify::keyspace::Class;
use storage::{Key, NewExpiry};
use value::{HyperLogLog, REGISTERS, Registers};

pub use rows::COMMANDS;

/// The HyperLogLog at `key`, copied out.
fn load(cx: &mut Cx<'_>, key: &Key<'_>) -> Result<Option<HyperLogLog<Vec<u8>>>, Failure> {
    let value = cx.tx.string(key)?.map(|value| value.as_bytes().to_vec());
    value.map(HyperLogLog::new).transpose()
}

fn save(cx: &mut Cx<'_>, key: &Key<'_>, value: &HyperLogLog<Vec<u8>>) -> Outcome {
    set_raw(cx, key, value.bytes(), NewExpiry::Keep)
}

/// `hll-sparse-max-bytes`.
fn sparse_max(cx: &Cx<'_>) -> usize {
    usize::try_from(cx.engine.config.memory(Id::HllSparseMaxBytes)).unwrap_or(usize::MAX)
}

fn pfadd(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    let present = load(cx, &key)?;
    let mut changes = u64::from(present.is_none());
    let mut value = present.unwrap_or_else(HyperLogLog::empty);
    let max = sparse_max(cx);
    for element in cx.args.iter().skip(2) {
        changes += u64::from(value.add(element, max)?);
    }
    if changes > 0 {
        value.forget();
        save(cx, &key, &value)?;
        cx.modified_by(changes, &key, Class::String, "pfadd");
    }
    cx.reply.integer(i64::from(changes > 0));
    Ok(())
}

fn pfcount(cx: &mut Cx<'_>) -> Outcome {
    let cardinality = if cx.argc() == 2 { count_one(cx)? } else { count_union(cx)? };
    cx.reply.integer(cardinality as i64);
    Ok(())
}

/// The cardinality of one key, which remembers it.
fn count_one(cx: &mut Cx<'_>) -> Result<u64, Failure> {
    let key = cx.key(1);
    let (cached, cardinality) = match cx.tx.string(&key)? {
        None => {
            cx.looked_up(&key, false);
            return Ok(0);
        }
        Some(bytes) => {
            let value = HyperLogLog::new(bytes.as_bytes())?;
            let cached = value.cached();
            (cached.is_some(), cached.map_or_else(|| value.estimate(), Ok)?)
        }
    };
    cx.looked_up(&key, true);
    if !cached {
        let (at, bytes) = value::cached_bytes(cardinality);
        cx.tx.set_range(&key, at, &bytes)?;
        // The bytes of the string change, but Redis publishes no event.
        cx.modified(&key, Class::NoEvent, "");
    }
    Ok(cardinality)
}

fn count_union(cx: &mut Cx<'_>) -> Result<u64, Failure> {
    let (registers, _) = union(cx)?;
    let mut histogram = estimate::Histogram::default();
    registers.iter().for_each(|&value| histogram.add(value, 1));
    Ok(estimate::cardinality(&histogram))
}

/// The highest of each register in all keys, and whether one of them is dense.
fn union(cx: &mut Cx<'_>) -> Result<(Box<Registers>, bool), Failure> {
    let mut registers = Box::new([0; REGISTERS]);
    let mut any_dense = false;
    for index in 1..cx.argc() {
        let key = cx.key(index);
        let found = match cx.tx.string(&key)? {
            Some(bytes) => {
                let value = HyperLogLog::new(bytes.as_bytes())?;
                value.merge_into(&mut registers)?;
                any_dense |= value.is_dense();
                true
            }
            None => false,
        };
        cx.looked_up(&key, found);
    }
    Ok((registers, any_dense))
}

fn pfmerge(cx: &mut Cx<'_>) -> Outcome {
    let (registers, any_dense) = union(cx)?;
    let key = cx.key(1);
    let mut value = load(cx, &key)?.unwrap_or_else(HyperLogLog::empty);
    if any_dense {
        value.make_dense()?;
    }
    let max = sparse_max(cx);
    for (index, &register) in registers.iter().enumerate().filter(|(_, value)| **value > 0) {
        value.raise(index, register, max)?;
    }
    value.forget();
    save(cx, &key, &value)?;
    cx.modified(&key, Class::String, "pfadd");
    cx.reply.ok();
    Ok(())
}
