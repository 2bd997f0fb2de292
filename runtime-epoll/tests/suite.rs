//! The epoll runtime passes the suite, in each of its set-ups.

use runtime_epoll::{Config, EpollRuntime, Execution};

fn epoll(threads: usize, execution: Execution) -> EpollRuntime {
    EpollRuntime::new(Config { threads, execution, pin: false }).expect("a valid configuration")
}

runtime::suite!(inline_one, || epoll(1, Execution::Inline));
runtime::suite!(inline_many, || epoll(3, Execution::Inline));
runtime::suite!(pool, || epoll(2, Execution::Pool { workers: 3 }));
