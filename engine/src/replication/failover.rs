//! `FAILOVER`: hands over to a replica without losing a write.
//!
//! Writes are paused. When the replica has everything, this server sends it a `PSYNC` that tells it
//! to take over, as its new replica.

use super::{Failover, Follower, Link, Phase};
use crate::clients::pause::{PauseMode, Purpose};
use crate::engine::Engine;
use crate::failure::{Failure, failure};
use runtime::Now;
use std::sync::Arc;
use storage::Locks;

/// The longest time for which writes are paused, in milliseconds, unless the handover ends before.
const FOR_EVER_MS: u64 = 1 << 40;

impl Engine {
    /// `master_failover_state`.
    pub fn failover_state(&self) -> &'static str {
        match &*self.replication.failover.lock() {
            None => "no-failover",
            Some(Failover { told: None, .. }) => "waiting-for-sync",
            Some(_) => "failover-in-progress",
        }
    }

    /// Begins a handover.
    pub fn begin_failover(&self, failover: Failover, now: Now) -> Result<(), Failure> {
        let mut current = self.replication.failover.lock();
        if current.is_some() {
            return Err(failure("ERR FAILOVER already in progress."));
        }
        if self.is_replica() {
            return Err(failure("ERR FAILOVER is not valid when server is a replica."));
        }
        let followers = self.replication.followers();
        if followers.is_empty() {
            return Err(failure("ERR FAILOVER requires connected replicas."));
        }
        if let Some((host, port)) = &failover.target {
            let target = followers.iter().find(|f| f.is_at(host, *port));
            let target =
                target.ok_or(failure("ERR FAILOVER target HOST and PORT is not a replica."))?;
            if target.phase() != Phase::Online {
                return Err(failure("ERR FAILOVER target replica is not online."));
            }
        }
        // Also when there is a limit: until the handover is given up, nothing may be written behind its back.
        let until_ms = now.wall_ms + FOR_EVER_MS;
        *current = Some(failover);
        drop(current);
        self.pause_clients(Purpose::Failover, until_ms, PauseMode::Write, now.wall_ms);
        self.replication.out.ask();
        self.replication.wake();
        Ok(())
    }

    /// Cancels a failover. Returns false if there is none.
    pub fn abort_failover(&self) -> bool {
        let failover = self.replication.failover.lock().take();
        if failover.as_ref().is_some_and(|failover| failover.told.is_some()) {
            let led = self.transact("a failover", Locks::All, 0, &mut |_| {
                self.lead();
            });
            led.unwrap_or_else(|error| tracing::error!(%error, "the handover cannot be undone"));
        }
        if failover.is_some() {
            self.unpause_clients(Purpose::Failover);
        }
        failover.is_some()
    }

    /// Whether the connection to a master asks it to take our place.
    pub fn is_handing_over(&self, generation: u64) -> bool {
        let failover = self.replication.failover.lock();
        failover.as_ref().is_some_and(|failover| failover.told == Some(generation))
    }

    /// The replica answered that it takes over (or does not).
    pub fn handed_over(&self, generation: u64, taken: bool) {
        if !self.is_handing_over(generation) {
            return;
        }
        match taken {
            true => {
                tracing::info!("failover: the replica has taken over");
                *self.replication.failover.lock() = None;
                self.unpause_clients(Purpose::Failover);
            }
            false => {
                tracing::warn!("failover: the replica does not take over");
                self.abort_failover();
            }
        }
    }

    pub(super) fn tend_failover(&self, now: Now) {
        let failover = self.replication.failover.lock().clone();
        let Some(failover) = failover.filter(|failover| failover.told.is_none()) else {
            return self.note_failover_link();
        };
        let over = failover.until_ms.is_some_and(|at| at <= now.wall_ms);
        let end = self.replication.out.end();
        let followers = self.replication.followers();
        let wanted = |follower: &&Arc<Follower>| match &failover.target {
            Some((host, port)) => follower.is_at(host, *port),
            None => true,
        };
        let ready = followers.iter().filter(wanted).find(|follower| {
            follower.phase() == Phase::Online
                && (follower.ack().position >= end || over && failover.force)
        });
        match ready {
            Some(follower) => self.hand_over(follower, now),
            None if over => {
                tracing::warn!("failover: no replica had everything in time");
                self.abort_failover();
            }
            None => {
                self.replication.out.ask();
                self.replication.wake();
            }
        }
    }

    /// The connection to the new master is up: that is the end of it.
    fn note_failover_link(&self) {
        let told = self.replication.failover.lock().as_ref().and_then(|failover| failover.told);
        let up = self.replication.source().is_some_and(|source| source.link == Link::Up);
        if let (Some(generation), true) = (told, up) {
            self.handed_over(generation, true);
        }
    }

    fn hand_over(&self, follower: &Arc<Follower>, now: Now) {
        let (host, port) = (follower.ip(), follower.announced.port);
        let mut generation = None;
        let followed = self.transact("a failover", Locks::All, 0, &mut |_| {
            let followed = self.follow(&host, port, now.wall_ms);
            if let Some(failover) = &mut *self.replication.failover.lock() {
                failover.told = Some(followed);
            }
            generation = Some(followed);
        });
        match (followed, generation) {
            (Ok(()), Some(generation)) => {
                tracing::info!(host, port, "failover: handing over");
                self.environment.host.follow(Some((&host, port)), generation);
            }
            _ => drop(self.abort_failover()),
        }
    }
}

impl Follower {
    fn is_at(&self, host: &str, port: u16) -> bool {
        self.announced.port == port && self.ip() == host
    }
}
