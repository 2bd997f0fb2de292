//! Parsing of texts in requests: arguments, numbers, times, patterns.
//!
//! | module | what |
//! | --- | --- |
//! | [`args`] | a cursor over arguments, requests that are kept, integers and doubles |
//! | [`expiry`] | the times of `SET`, `GETEX`, `EXPIRE` and their kin |
//! | [`glob`] | Redis's patterns |
//! | [`long_double`] | the 80-bit numbers that `INCRBYFLOAT` counts in |

pub mod args;
pub mod expiry;
pub mod glob;
pub mod long_double;
