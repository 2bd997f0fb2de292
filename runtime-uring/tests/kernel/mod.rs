//! The runtime on this system's kernel, if that offers it.

use runtime_uring::{Config, UringRuntime};
use std::io::Write;

/// A runtime, or nothing, which is said aloud, if the kernel refuses.
pub fn uring(threads: usize) -> Option<UringRuntime> {
    with(Config { threads, pin: false })
}

/// The same in any configuration.
pub fn with(config: Config) -> Option<UringRuntime> {
    if let Err(why) = runtime_uring::check_kernel() {
        // Not by `eprintln!`, of which nobody sees anything if a test passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED: a test of runtime-uring: {why}");
        return None;
    }
    Some(UringRuntime::new(config).expect("a valid configuration"))
}
