//! The program `varve`: the default server, with jemalloc as its allocator.

use server::Server;
use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    server::command_line::run(Server::builder().allocator(server::memory::JEMALLOC))
}
