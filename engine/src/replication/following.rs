//! Replicas as they come, are fed, and go.

use super::{Announced, Counts, Fed, Follower, Phase};
use crate::engine::Engine;
use crate::session::state::{SessionState, Special};
use crate::tuning::OutputClass;
use replication::Answer;
use resp::Output;
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
        now: runtime::Now,
    ) {
        if let Some(follower) = session.follower() {
            follower.acknowledge(position, durable, now.wall_ms);
            self.update_replica_gate(Some(now));
            self.serve_acks(now);
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
