//! The program `varve`: the default server, with jemalloc as its allocator.

use server::Server;
use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// How jemalloc is set up: one thread of its own gives unused pages back, instead of whoever happens
/// to allocate, and does so within a fifth of a second: a growing table leaves its old parts behind.
#[unsafe(export_name = "_rjem_malloc_conf")]
static MALLOC_CONF: &[u8; 67] =
    b"background_thread:true,max_background_threads:1,dirty_decay_ms:200\0";

fn main() -> ExitCode {
    server::command_line::run(Server::builder().allocator(server::memory::JEMALLOC))
}
