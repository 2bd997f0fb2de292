//! Sending all data to replicas: one snapshot to all who wait for the same.

use super::Replicator;
use crate::persistence::snapshot::{self, CutSnapshot};
use crate::system::cores;
use bytes::Bytes;
use engine::Engine;
use engine::config::Id;
use engine::replication::{Cut, Follower, Phase, Wanted};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes of the file that may wait for the slowest replica.
const AHEAD_MAX: usize = 1 << 20;

/// The interval of looking again while waiting for a replica that is behind, or for another
/// snapshot to end.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Serves replicas that wait, until there are none.
pub(super) fn serve(replicator: &Replicator, syncing: &AtomicBool) {
    if let Some(engine) = replicator.engine() {
        cores::pin_background(&engine.config, Id::BgsaveCpulist);
    }
    while let Some(engine) = replicator.engine().filter(|_| !replicator.is_stopped()) {
        if waiting(&engine).is_empty() {
            syncing.store(false, Ordering::SeqCst);
            // One may have come in between, and have found us still at it.
            if waiting(&engine).is_empty() || syncing.swap(true, Ordering::SeqCst) {
                return;
            }
        }
        gather(replicator, &engine);
        let all = waiting(&engine);
        let Some(first) = all.first() else { continue };
        let alike = |f: &&Arc<Follower>| {
            (f.announced.wanted, f.announced.eof) == (first.announced.wanted, first.announced.eof)
        };
        let group: Vec<_> = all.iter().filter(alike).cloned().collect();
        tracing::info!(replicas = group.len(), "full synchronization begins");
        match send(replicator, &engine, &group) {
            Ok(()) => tracing::info!("full synchronization: everything was sent"),
            Err(error) => {
                tracing::warn!(%error, "full synchronization failed");
                group.iter().for_each(|follower| follower.client.kill());
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }
    syncing.store(false, Ordering::SeqCst);
}

fn waiting(engine: &Engine) -> Vec<Arc<Follower>> {
    let mut all = engine.replication.followers();
    all.retain(|follower| follower.phase() == Phase::Waiting && !follower.client.is_killed());
    all
}

/// Waits for further replicas (`repl-diskless-sync-delay`).
fn gather(replicator: &Replicator, engine: &Engine) {
    let began = Instant::now();
    let delay_s = engine.config.integer(Id::ReplDisklessSyncDelay).unsigned_abs();
    let most = engine.config.integer(Id::ReplDisklessSyncMaxReplicas) as usize;
    while began.elapsed().as_secs() < delay_s && !replicator.is_stopped() {
        let enough = most > 0 && waiting(engine).len() >= most;
        // A client that is not a replica need not wait for others.
        if enough || waiting(engine).iter().any(|f| f.announced.rdb_only || f.is_legacy) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn send(replicator: &Replicator, engine: &Arc<Engine>, group: &[Arc<Follower>]) -> io::Result<()> {
    let mark = crate::system::run_id();
    let eof = group.iter().all(|follower| follower.announced.eof);
    let head = |follower: &Follower, cut: Cut| {
        let Cut { id, position, .. } = cut;
        let full = format!("+FULLRESYNC {id} {position}\r\n");
        let mark = format!("$EOF:{mark}\r\n");
        let parts = [if follower.is_legacy { "" } else { &full }, if eof { &mark } else { "" }];
        Bytes::from(parts.concat())
    };
    let begin = |cut: Cut| {
        engine.replication.begin_file(group, cut.position, |follower| head(follower, cut));
    };
    let out = Broadcast { replicator, engine, group };
    let wanted = group[0].announced.wanted;
    if eof {
        write(replicator, engine, wanted, begin, out)?;
        group.iter().for_each(|follower| follower.send(Bytes::from(mark.clone())));
    } else {
        // Its length stands before it, so it has to be whole first.
        let file = tempfile(replicator)?;
        let file = write(replicator, engine, wanted, begin, file)?;
        copy(file, out)?;
    }
    let now_ms = runtime::Clock::new().now().wall_ms;
    group.iter().for_each(|follower| follower.finish(eof, now_ms));
    Ok(())
}

/// Takes a snapshot and writes it.
fn write<W: Write + Send>(
    replicator: &Replicator,
    engine: &Arc<Engine>,
    wanted: Wanted,
    begin: impl Fn(Cut),
    out: W,
) -> io::Result<W> {
    if wanted != Wanted::Everything {
        let select = !engine.is_replica();
        begin(engine.replication.out.cut(select));
        let libraries = match wanted {
            Wanted::Functions => engine.scripting.library_texts(),
            _ => Vec::new(),
        };
        return snapshot::write_libraries(engine, out, &libraries);
    }
    let stopped = replicator.stop_flag();
    let _held = replicator.persistence.saver.lock_snapshots().map_err(io::Error::other)?;
    loop {
        match CutSnapshot::cut(engine, &mut |cut| begin(cut)) {
            Ok(snapshot) => return snapshot.write(engine, out, stopped),
            // Another one is being written.
            Err(error) if replicator.is_stopped() => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "waiting for a snapshot");
                std::thread::sleep(LOOK_EVERY * 10);
            }
        }
    }
}

/// A file that is gone when it is closed.
fn tempfile(replicator: &Replicator) -> io::Result<std::fs::File> {
    let path = replicator.persistence.dir().join(format!("temp-sync-{}.rdb", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn copy(mut file: std::fs::File, mut out: Broadcast<'_>) -> io::Result<()> {
    use std::io::Seek;
    let length = file.seek(io::SeekFrom::End(0))?;
    file.rewind()?;
    out.write_all(format!("${length}\r\n").as_bytes())?;
    io::copy(&mut file, &mut out).map(drop)
}

/// Writes to all replicas of a group, at the pace of the slowest.
struct Broadcast<'a> {
    replicator: &'a Replicator,
    engine: &'a Engine,
    group: &'a [Arc<Follower>],
}

impl Broadcast<'_> {
    /// Waits until the slowest has taken enough. One that takes nothing for too long is given up.
    fn wait(&self) -> io::Result<()> {
        let patience = self.engine.config.integer(Id::ReplTimeout).unsigned_abs();
        let (mut least, mut since) = (usize::MAX, Instant::now());
        loop {
            let there = || self.group.iter().filter(|follower| follower.is_receiving());
            let Some(slowest) = there().max_by_key(|follower| follower.queued()) else {
                return Err(io::Error::other("no replica is left"));
            };
            let queued = slowest.queued();
            if queued <= AHEAD_MAX {
                return Ok(());
            }
            if queued < least {
                (least, since) = (queued, Instant::now());
            } else if since.elapsed().as_secs() > patience {
                tracing::warn!(client = slowest.client.id, "a replica takes nothing: given up");
                slowest.client.kill();
                (least, since) = (usize::MAX, Instant::now());
            }
            if self.replicator.is_stopped() || self.replicator.persistence.saver.is_urgent() {
                return Err(io::Error::other("the server ends"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Write for Broadcast<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A large value goes piece by piece, too.
        let bytes = &bytes[..bytes.len().min(AHEAD_MAX)];
        let shared = Bytes::copy_from_slice(bytes);
        for follower in self.group.iter().filter(|follower| follower.is_receiving()) {
            follower.send(shared.clone());
        }
        self.wait().map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
