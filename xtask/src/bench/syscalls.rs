//! System calls of a process, counted by `perf` in the kernel: far cheaper than tracing, but not
//! free, hence in a pass of its own that measures nothing else.

use super::matrix::which;
use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How many system calls process `pid` makes while `work` runs; with it, what `work` returns.
pub fn count<T>(pid: u32, work: impl FnOnce() -> Result<T>) -> Result<(u64, T)> {
    let perf = which("perf").context("perf is not on PATH")?;
    let child = Command::new(perf)
        .args(["stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    // perf says nothing when it has attached; the server is idle, so waiting costs no count.
    std::thread::sleep(Duration::from_millis(150));
    let done = work();
    // SAFETY: kill takes two integers; the child is not yet waited for, so the id is still its.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stderr).to_string();
    Ok((parse(&text)?, done?))
}

fn parse(text: &str) -> Result<u64> {
    let line = text.lines().find(|line| line.contains("raw_syscalls"));
    match line.and_then(|line| line.split(',').next()?.parse().ok()) {
        Some(count) => Ok(count),
        None => bail!("perf does not count system calls here: {}", text.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfs_output_is_read() {
        assert_eq!(parse("1234,,raw_syscalls:sys_enter,5000,100.00,,\n").unwrap(), 1234);
        assert!(parse("<not counted>,,raw_syscalls:sys_enter,0,100.00,,").is_err());
        assert!(parse("Access denied").is_err());
    }
}
