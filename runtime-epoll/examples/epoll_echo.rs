//! A bare server on the epoll runtime, for measuring: `epoll_echo PORT [THREADS [WORKERS]]`.

use runtime_epoll::{Config, EpollRuntime, Execution};

fn main() -> std::io::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|arg| arg.parse::<u16>().unwrap_or(0));
    let port = numbers.next().unwrap_or(6399);
    let threads = numbers.next().unwrap_or(1).into();
    let pool = |workers: u16| Execution::Pool { workers: workers.into() };
    let execution = numbers.next().map_or(Execution::Inline, pool);
    let runtime = EpollRuntime::new(Config { threads, execution, pin: false })?;
    runtime::testing::fixed::serve(&runtime, port)
}
