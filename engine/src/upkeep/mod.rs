//! Work done between requests, a bounded slice at a time, and what gives way when memory is short.
//!
//! | module | what |
//! | --- | --- |
//! | [`housekeeping`] | the round that the process calls regularly: expiry, maintenance, eviction |
//! | [`eviction`] | keys that give way when memory is over `maxmemory` |
//! | [`load`] | observes how long connections wait, for `overload-delay-target` |

pub mod eviction;
pub mod housekeeping;
pub mod load;
