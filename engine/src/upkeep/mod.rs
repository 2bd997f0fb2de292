//! Work done between requests, a bounded slice at a time, and what gives way when memory is short.
//!
//! | module | what |
//! | --- | --- |
//! | [`housekeeping`] | the round that the process calls regularly: expiry, maintenance, and the two below |
//! | [`eviction`] | keys that give way when memory is over `maxmemory` |
//! | `client_eviction` | connections that give way when they hold more than `maxmemory-clients` |
//! | [`load`] | observes how long connections wait, for `overload-delay-target` |

pub(crate) mod client_eviction;
pub mod eviction;
pub mod housekeeping;
pub mod load;
