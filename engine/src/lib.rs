//! engine

pub mod config;
pub mod glob;
