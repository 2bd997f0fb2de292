//! Tests of a runtime when the process has no file descriptor left. They are not part of the main
//! suite: they use up the descriptors that all tests of a process share, so they need a test binary
//! of their own.

use super::harness::{Running, Subject, eventually};
use crate::Runtime;
use std::fs::File;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// Clients that cannot be accepted wait, those served go on, nothing spins, and once descriptors
/// are free again the waiting are let in.
pub fn out_of_descriptors(runtime: Arc<dyn Runtime>) {
    let server = Running::start(Subject::plain(runtime));
    let mut served = server.client();
    served.ask("echo x", "x");
    limit_descriptors(1000);
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    hoard.pop();
    // Takes the last descriptor; the kernel completes the connection without the server.
    let mut waiting = server.client();
    waiting.send("echo waited\n");
    let errors = || server.runtime.stats().accept_errors.load(SeqCst);
    assert!(eventually(|| errors() > 0), "the failure is counted");
    let before = errors();
    std::thread::sleep(Duration::from_millis(400));
    assert!(errors() - before < 20, "spinning: {} failures", errors() - before);
    served.ask("echo still here", "still here");
    drop(hoard);
    waiting.expect("waited");
    assert!(TcpStream::connect(server.address()).is_ok());
}

fn limit_descriptors(soft: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only read or fill the struct they are given.
    let result = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = soft.min(limit.rlim_max);
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit)
    };
    assert_eq!(result, 0, "cannot limit descriptors");
}
