//! [`Oracle`]: the server whose answers are right.

use anyhow::{Context, Result, bail};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server to compare with; one that was started for it ends when this is dropped.
pub struct Oracle {
    child: Option<Child>,
    /// The address at which it listens.
    pub address: SocketAddr,
}

impl Oracle {
    /// A server that was started elsewhere.
    pub fn running(address: SocketAddr) -> Self {
        Oracle { child: None, address }
    }

    /// Starts `program` on a free port, without persistence.
    ///
    /// # Errors
    /// Fails if it cannot be started, or accepts no connections within ten seconds.
    pub fn start(program: &str) -> Result<Self> {
        let port = capture::lab::free_port()?.port();
        let child = Command::new(program)
            .args(["--port", &port.to_string(), "--dir", "/tmp", "--save", ""])
            .args(["--appendonly", "no", "--enable-debug-command", "yes"])
            // Waiting commands give up at a tick: the more, the sooner.
            .args(["--hz", "500"])
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let oracle = Oracle { child: Some(child), address };
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(oracle.address).is_err() {
            if Instant::now() > until {
                bail!("{program} does not accept connections");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(oracle)
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
