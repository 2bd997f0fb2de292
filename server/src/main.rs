//! The program `varve`: the default server, with jemalloc as its allocator.

use server::Server;
use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// The settings of jemalloc. A background thread returns unused pages to the system, so that
/// threads that allocate need not, and does so within a fifth of a second, because a growing table
/// leaves its old parts behind.
#[unsafe(export_name = "_rjem_malloc_conf")]
static MALLOC_CONF: &[u8; 67] =
    b"background_thread:true,max_background_threads:1,dirty_decay_ms:200\0";

fn main() -> ExitCode {
    server::command_line::run(Server::builder().allocator(server::memory::JEMALLOC))
}
