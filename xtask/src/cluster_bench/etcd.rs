//! Three members of etcd, and what its own check of performance says of them.

use super::nodes::until;
use anyhow::{Context, Result, bail};
use capture::lab::free_port;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Three members on this machine. Dropping them ends them, and removes their data.
pub struct Etcd {
    members: Vec<Child>,
    /// Where clients find them, for `--endpoints`.
    endpoints: String,
    _dir: TempDir,
}

impl Etcd {
    /// Clients of `etcdctl check perf --load=l`.
    pub const CLIENTS: usize = 500;

    /// The size of its values, bytes.
    pub const VALUE: usize = 1024;

    /// Starts the members, with their data in `dir`.
    ///
    /// # Errors
    /// Fails if there is no `etcd` or no `etcdctl`, or if the members do not find each other.
    pub fn start(dir: &Path) -> Result<Etcd> {
        let dir = tempfile::Builder::new().prefix("etcd-").tempdir_in(dir)?;
        let url = || Ok(format!("http://{}", free_port()?));
        let peers = (0..3).map(|_| url()).collect::<Result<Vec<_>>>()?;
        let clients = (0..3).map(|_| url()).collect::<Result<Vec<_>>>()?;
        let named = peers.iter().enumerate().map(|(at, peer)| format!("m{at}={peer}"));
        let cluster = named.collect::<Vec<_>>().join(",");
        let mut etcd = Etcd { members: Vec::new(), endpoints: clients.join(","), _dir: dir };
        for (at, (peer, client)) in peers.iter().zip(&clients).enumerate() {
            etcd.add(at, peer, client, &cluster)?;
        }
        until("etcd answers", || etcd.control(&["endpoint", "health"]).ok())?;
        Ok(etcd)
    }

    fn add(&mut self, at: usize, peer: &str, client: &str, cluster: &str) -> Result<()> {
        let name = format!("m{at}");
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(self._dir.path().join(&name)).args(["--name", &name]);
        command.args(["--initial-cluster", cluster, "--initial-cluster-state", "new"]);
        command.args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]);
        command.args(["--listen-client-urls", client, "--advertise-client-urls", client]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.members.push(child.context("starting etcd")?);
        Ok(())
    }

    /// The writes per second that the members took in their own check, which takes a minute.
    pub fn check(&self) -> Result<f64> {
        // It also fails when it thinks the figure too low; the figure is what counts here.
        let shown = self.said(&["check", "perf", "--load=l"])?.0;
        writes_per_second(&shown).with_context(|| format!("no figure in: {shown}"))
    }

    fn control(&self, words: &[&str]) -> Result<String> {
        match self.said(words)? {
            (shown, true) => Ok(shown),
            (shown, false) => bail!("etcdctl {words:?}: {shown}"),
        }
    }

    /// All that `etcdctl` prints, and whether it is content.
    fn said(&self, words: &[&str]) -> Result<(String, bool)> {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoints]).args(words);
        let output = command.output().context("starting etcdctl")?;
        let all = [output.stdout, output.stderr].concat();
        Ok((String::from_utf8_lossy(&all).into_owned(), output.status.success()))
    }
}

/// The figure before `writes/s`.
fn writes_per_second(shown: &str) -> Option<f64> {
    let before = shown.split_once(" writes/s")?.0;
    before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.members {
            // One that has ended by itself is no longer there to be killed.
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_is_found_in_both_verdicts() {
        let of = writes_per_second;
        assert_eq!(of("x\nPASS: Throughput is 8012 writes/s\nPASS: y"), Some(8012.0));
        assert_eq!(of("FAIL: Throughput too low: 3417 writes/s\nFAIL: z"), Some(3417.0));
        assert_eq!(of("Error: context deadline exceeded"), None);
    }
}
