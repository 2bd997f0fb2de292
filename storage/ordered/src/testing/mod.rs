//! For authors of engines: the suite that every engine passes, and an engine that counts
//! operations.

pub mod counting_kv;
#[allow(missing_docs)] // the names of the tests say what they test
pub mod engines;
