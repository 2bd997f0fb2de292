//! The program `varve`: the default server, with jemalloc as its allocator.

use server::Server;
use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// How jemalloc is set up: one thread of its own gives unused pages back, instead of whoever happens
/// to allocate.
#[unsafe(export_name = "_rjem_malloc_conf")]
static MALLOC_CONF: &[u8; 48] = b"background_thread:true,max_background_threads:1\0";

fn main() -> ExitCode {
    server::command_line::run(Server::builder().allocator(server::memory::JEMALLOC))
}
