//! Replication's work as time passes: pings, signs of life, time-outs, the end of a backlog.

use super::Phase;
use crate::config::Id;
use crate::engine::{Engine, Gate};
use runtime::Now;

impl Engine {
    /// A round; called some times a second.
    pub(crate) fn tend_replication(&self, now: Now) {
        self.tend_failover(now);
        // A waiter may have come just after what it waits for.
        self.serve_acks(now);
        if !self.replication.out.is_active() {
            return;
        }
        let now_ms = now.mono_ms();
        let followers = self.replication.followers();
        let mut tended = self.replication.tended.lock();
        let period_ms = self.config.integer(Id::ReplPingReplicaPeriod) as u64 * 1000;
        if now_ms.saturating_sub(tended.ping_ms) >= period_ms {
            tended.ping_ms = now_ms;
            if !followers.is_empty() && self.is_fed() {
                self.replication.out.append_plain(&[b"PING"]);
            }
        }
        if now_ms.saturating_sub(tended.life_ms) >= 1000 {
            tended.life_ms = now_ms;
            let waiting = followers.iter().filter(|f| f.phase() == Phase::Waiting && !f.is_legacy);
            waiting.for_each(|follower| follower.send_sign_of_life());
        }
        let alone = followers.is_empty() && !self.is_replica();
        tended.alone_ms = alone.then(|| tended.alone_ms.unwrap_or(now_ms));
        let alone_ms = tended.alone_ms.map_or(0, |since| now_ms.saturating_sub(since));
        drop(tended);
        let ttl_s = self.config.integer(Id::ReplBacklogTtl) as u64;
        if alone && ttl_s > 0 && alone_ms > ttl_s * 1000 {
            tracing::info!("no replica for {ttl_s} seconds: the replication backlog is freed");
            return self.end_feeding();
        }
        self.drop_silent_followers(now);
        self.replication.wake();
        self.update_replica_gate(Some(now));
    }

    fn drop_silent_followers(&self, now: Now) {
        let timeout_s = self.config.integer(Id::ReplTimeout) as u64;
        for follower in self.replication.followers() {
            let silent_s = now.wall_ms.saturating_sub(follower.ack().at_ms) / 1000;
            let is_whole = matches!(follower.phase(), Phase::Unready | Phase::Online);
            let acknowledges = is_whole && !follower.is_legacy;
            if acknowledges && silent_s > timeout_s {
                tracing::warn!(client = follower.client.id, "a replica timed out");
                follower.client.kill();
            }
            let there = !follower.client.is_killed();
            if there && self.is_too_far_behind(&follower, Some(now.wall_ms)) {
                follower.client.kill();
            }
        }
    }

    /// Updates whether writes are refused because there are too few replicas
    /// (`min-replicas-to-write`). Without the time, no replica counts as silent.
    pub(crate) fn update_replica_gate(&self, now: Option<Now>) {
        let least = self.config.integer(Id::MinReplicasToWrite) as usize;
        let lag_s = self.config.integer(Id::MinReplicasMaxLag) as u64;
        let few = least > 0 && lag_s > 0 && {
            self.replication.acks().good(now.map_or(0, |now| now.wall_ms), lag_s) < least
        };
        if few != (self.gate().contains(Gate::FEW_REPLICAS)) {
            self.set_gate(Gate::FEW_REPLICAS, few);
        }
    }
}
