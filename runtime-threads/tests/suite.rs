//! The threads runtime passes the suite, with a worker for each of its clients.

use runtime_threads::{Config, ThreadsRuntime};

runtime::suite!(threads, || {
    ThreadsRuntime::new(Config { threads: 410, queue_max: 16 }).expect("a valid configuration")
});
