//! The tokio runtime passes the suite, on each of its schedulers.

use runtime_tokio::{Config, TokioRuntime};

fn tokio(threads: usize) -> TokioRuntime {
    TokioRuntime::new(Config { threads }).expect("a valid configuration")
}

runtime::suite!(current_thread, || tokio(1));
runtime::suite!(multi_thread, || tokio(3));
