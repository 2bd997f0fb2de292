//! For whoever adds an engine: the suite that every engine passes, and an engine that counts.

pub mod counting_kv;
#[allow(missing_docs)] // the names of the tests say what they test
pub mod engines;
