//! The machine on which something was measured.

use capture::lab::{cpu, proc};
use serde::{Deserialize, Serialize};
use std::process::Command;

/// The machine and the code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Processor.
    pub cpu: Option<String>,
    /// Cores this process may use.
    pub cores: usize,
    /// All memory, bytes.
    pub memory_bytes: Option<u64>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// `git rev-parse --short HEAD`.
    pub commit: Option<String>,
}

impl Machine {
    /// This one.
    pub fn here() -> Machine {
        let git = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
        let commit = git.ok().filter(|output| output.status.success());
        Machine {
            cpu: proc::cpu_model(),
            cores: cpu::allowed().len(),
            memory_bytes: proc::total_bytes(),
            kernel: proc::kernel(),
            commit: commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string()),
        }
    }
}
