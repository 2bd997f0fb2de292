//! Replicas as they come, are fed, and go; and what is due as time passes: pings, signs of life, time-outs, the end of a
//! backlog.

use super::{Announced, Counts, Fed, Follower, Phase};
use crate::config::Id;
use crate::engine::Engine;
use crate::gate::Gate;
use crate::notify::blocking::Progress;
use crate::session::state::{SessionState, Special};
use crate::tuning::OutputClass;
use replication::Answer;
use resp::Output;
use runtime::Now;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Engine {
    /// Makes a session that of a replica: `PSYNC` and `SYNC`. Returns the immediate reply, if there
    /// is one.
    pub fn admit_follower(
        &self,
        session: &mut SessionState,
        asked: Option<(&[u8], i64)>,
        now_ms: u64,
    ) -> Option<String> {
        let announced = session.take_announced();
        self.begin_feeding();
        let Counts { partial_ok, partial_err, .. } = &self.replication.counts;
        let answer = asked.map_or(Answer::Full, |(id, at)| self.replication.out.answer(id, at));
        let psync2 = announced.psync2;
        let client = session.client().clone();
        let follower = Arc::new(Follower::new(client, announced, asked.is_none(), now_ms));
        if let Answer::Continue(position) = answer {
            partial_ok.fetch_add(1, Ordering::Relaxed);
            follower.go_on(position);
        } else if asked.is_some_and(|(id, _)| id != b"?") {
            partial_err.fetch_add(1, Ordering::Relaxed);
        }
        self.replication.add(&follower);
        session.follow(follower);
        match answer {
            Answer::Continue(position) => {
                tracing::info!(client = session.client().id, position, "a replica goes on");
                let id = self.replication.out.history().id;
                Some(if psync2 { format!("CONTINUE {id}") } else { "CONTINUE".into() })
            }
            Answer::Full => {
                self.replication.counts.full.fetch_add(1, Ordering::Relaxed);
                self.environment.host.begin_sync();
                None
            }
        }
    }

    /// Takes a replica out, when its session ends.
    pub(crate) fn end_follower(&self, session: &SessionState) {
        let Some(follower) = session.follower() else { return };
        self.replication.followers.write().retain(|other| !Arc::ptr_eq(other, follower));
        self.replication.update_needed();
        self.update_replica_gate(None);
    }

    /// Moves what waits for a replica to its session's output.
    pub(crate) fn feed_follower(&self, session: &SessionState, out: &mut Output) -> Fed {
        let Some(follower) = session.follower() else { return Fed::All };
        let fed = follower.pump(&self.replication, out);
        if follower.phase() == Phase::Online {
            self.replication.update_needed();
        }
        if self.is_too_far_behind(follower, None) { Fed::Lost } else { fed }
    }

    /// Whether more waits for a replica than `client-output-buffer-limit` allows: at once, or, where the
    /// time is given, for too long.
    pub(super) fn is_too_far_behind(&self, follower: &Follower, now_ms: Option<u64>) -> bool {
        let behind = follower.behind(self.replication.out.end());
        let limit = self.tuning.output_limit(OutputClass::Replica);
        let hard = limit.hard_bytes;
        let over = hard > 0 && behind > hard.max(self.replication.out.size())
            || now_ms.is_some_and(|now_ms| follower.is_over_soft(behind, limit, now_ms));
        if over {
            let client = follower.client.id;
            tracing::warn!(client, behind, "output limit reached by a replica");
            self.observe.stats.output_limit_disconnections.fetch_add(1, Ordering::Relaxed);
        }
        over
    }

    /// A replica says how far it is.
    pub fn acknowledged(
        &self,
        session: &SessionState,
        position: u64,
        durable: Option<u64>,
        now: Now,
    ) {
        if let Some(follower) = session.follower() {
            follower.acknowledge(position, durable, now.wall_ms);
            self.update_replica_gate(Some(now));
            self.serve_acks(now);
        }
    }

    /// How far the replicas and the log are.
    pub fn progress(&self) -> Progress {
        Progress {
            acks: self.replication.acks(),
            end: self.replication.out.end(),
            keeps_log: self.is_logging() && self.config.boolean(Id::Appendonly),
        }
    }

    /// Lets those who wait for replicas look again.
    pub fn serve_acks(&self, now: Now) {
        for waiter in self.notify.blocking.for_replicas() {
            self.serve_one(&waiter, now, |_| {});
        }
    }

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

impl SessionState {
    /// The replica that this session serves.
    pub fn follower(&self) -> Option<&Arc<Follower>> {
        self.rare().and_then(|rare| rare.follower.as_ref())
    }

    fn follow(&mut self, follower: Arc<Follower>) {
        self.rare_mut().follower = Some(follower);
        self.set_special(Special::FOLLOWER, true);
    }

    /// The client's description of itself as a replica; made empty when it has given none.
    pub fn announced(&mut self) -> &mut Announced {
        self.rare_mut().announced.get_or_insert_default()
    }

    fn take_announced(&mut self) -> Announced {
        self.rare_mut().announced.take().map_or(Announced::default(), |announced| *announced)
    }
}
