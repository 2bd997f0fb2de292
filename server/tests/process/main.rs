//! The binary as its users meet it: started, stopped, killed, misconfigured.

mod data;
mod failures;
mod library;
mod serving;
mod support;
