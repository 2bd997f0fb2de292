//! The runtimes this binary can choose from. Adding one is a line in [`ALL`] and its function.

use super::{Plugin, choose};
use crate::StartError;
use engine::config::{ConfigStore, Id};
use runtime::Runtime;
use std::io;
use std::sync::Arc;

type Make = fn(&ConfigStore) -> io::Result<Arc<dyn Runtime>>;

/// Every runtime, the preferred one first.
const ALL: &[Plugin<Make>] = &[
    plugin!("epoll", "runtime-epoll", epoll),
    plugin!("tokio", "runtime-tokio", tokio),
    plugin!("threads", "runtime-threads", threads),
    plugin!("uring", "runtime-uring", uring),
];

/// The runtime that `runtime` names, and its name.
pub(crate) fn make(
    config: &ConfigStore,
    given: bool,
) -> Result<(&'static str, Arc<dyn Runtime>), StartError> {
    let (name, make) = choose(ALL, "runtime", config.choice(Id::Runtime), given)?;
    let runtime = make(config).map_err(|error| StartError::other(format!("{name}: {error}")))?;
    Ok((name, runtime))
}

/// The number of threads. 0 means one per core, or the default of the runtime of that name.
pub(crate) fn thread_count(runtime: &str, config: &ConfigStore) -> usize {
    match (config.integer(Id::Threads), runtime) {
        #[cfg(feature = "runtime-threads")]
        (0, "threads") => runtime_threads::Config::default().threads,
        (0, _) => std::thread::available_parallelism().map_or(1, usize::from),
        (threads, _) => threads as usize,
    }
}

#[cfg(feature = "runtime-epoll")]
fn epoll(config: &ConfigStore) -> io::Result<Arc<dyn Runtime>> {
    use runtime_epoll::{Config, EpollRuntime, Execution};
    let threads = thread_count("epoll", config);
    let execution = match config.choice(Id::EpollExecution) {
        "pool" => Execution::Pool { workers: threads },
        _ => Execution::Inline,
    };
    Ok(Arc::new(EpollRuntime::new(Config { threads, execution, ..Config::default() })?))
}

#[cfg(feature = "runtime-tokio")]
fn tokio(config: &ConfigStore) -> io::Result<Arc<dyn Runtime>> {
    use runtime_tokio::{Config, TokioRuntime};
    Ok(Arc::new(TokioRuntime::new(Config { threads: thread_count("tokio", config) })?))
}

#[cfg(feature = "runtime-threads")]
fn threads(config: &ConfigStore) -> io::Result<Arc<dyn Runtime>> {
    use runtime_threads::{Config, ThreadsRuntime};
    let threads = thread_count("threads", config);
    Ok(Arc::new(ThreadsRuntime::new(Config { threads, ..Config::default() })?))
}

#[cfg(all(feature = "runtime-uring", target_os = "linux"))]
fn uring(config: &ConfigStore) -> io::Result<Arc<dyn Runtime>> {
    use runtime_uring::{Config, UringRuntime};
    let threads = thread_count("uring", config);
    Ok(Arc::new(UringRuntime::new(Config { threads, ..Config::default() })?))
}

#[cfg(all(feature = "runtime-uring", not(target_os = "linux")))]
fn uring(_: &ConfigStore) -> io::Result<Arc<dyn Runtime>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux has io_uring"))
}
