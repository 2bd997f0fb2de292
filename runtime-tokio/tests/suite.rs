//! The tokio runtime passes the suite, on one thread and on several.

use runtime_tokio::{Config, TokioRuntime};

fn tokio(threads: usize) -> TokioRuntime {
    TokioRuntime::new(Config { threads }).expect("a valid configuration")
}

runtime::suite!(one_thread, || tokio(1));
runtime::suite!(many_threads, || tokio(3));
