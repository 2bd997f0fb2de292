//! Redis's dump format: a pure codec between bytes and neutral values.

mod value;

pub use value::{HashField, Object};
