//! A process without free file descriptors; alone in its process, since it takes them all.

mod kernel;

use std::sync::Arc;

#[test]
fn out_of_descriptors() {
    if let Some(runtime) = kernel::uring(1) {
        runtime::testing::descriptors::out_of_descriptors(Arc::new(runtime));
    }
}
