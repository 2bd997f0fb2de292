//! Servers under test, as processes: started on free ports, pinned to cores, frozen while others
//! are measured, queried for their resource use, and ended together with this program.

mod client;
pub mod cpu;
mod limit;
pub mod proc;
mod server;

pub use client::Client;
pub use server::{Launch, Server, free_port};
