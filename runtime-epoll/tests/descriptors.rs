//! A process without free file descriptors; alone in its process, since it takes them all.

use std::sync::Arc;

#[test]
fn out_of_descriptors() {
    let runtime = runtime_epoll::EpollRuntime::new(runtime_epoll::Config::default());
    runtime::testing::descriptors::out_of_descriptors(Arc::new(runtime.expect("valid")));
}
