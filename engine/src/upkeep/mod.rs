//! Work done between requests, a bounded slice at a time, and what gives way when memory is short.
//!
//! | module | what |
//! | --- | --- |
//! | [`housekeeping`] | the round that the process calls regularly: expiry, maintenance, eviction |
//! | [`eviction`] | keys that give way when memory is over `maxmemory` |

pub mod eviction;
pub mod housekeeping;
