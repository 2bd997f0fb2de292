//! [`Driver`]: the thread that drives a node of a group, and does nothing else.

use crate::hub::Hub;
use crate::transport::{Event, Inbox, Outlet, Transport};
use consensus::{Change, Membership, NodeId, Step};
use crossbeam_channel::select;
use member::{Fatal, Node, Output};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Events that are worked on before the log is written.
const EVENTS: usize = 256;

/// Ticks between two looks at who belongs to the group.
const LOOK: u64 = 2;

/// Members that vote, at most; who comes later only follows.
const VOTERS_MAX: usize = 5;

/// See the module.
pub struct Driver<F: consensus::Files, T> {
    /// What it drives.
    pub node: Node<F>,
    /// Where messages go.
    pub transport: T,
    /// Who there is.
    pub hub: Arc<Hub>,
    /// The way to it.
    pub inbox: Inbox,
    /// What it is told.
    pub outlet: Outlet,
    /// Between two ticks.
    pub tick: Duration,
    /// To whom it has tried to hand the leadership.
    pub tried: Vec<NodeId>,
}

impl<F: consensus::Files + Clone + Send + 'static, T: Transport> Driver<F, T> {
    /// Drives until it is told to stop.
    ///
    /// # Errors
    /// Those that end the node.
    pub fn run(mut self) -> Result<(), Fatal> {
        let (mut next, mut ticks) = (Instant::now(), 0_u64);
        loop {
            if !self.listen(next)? {
                return Ok(());
            }
            self.node.flush();
            let now = Instant::now();
            if now >= next {
                self.node.tick();
                // Ticks that were missed are not made up for: time stood still.
                next = (next + self.tick).max(now);
                ticks += 1;
                if ticks.is_multiple_of(LOOK) {
                    self.look_after_members();
                }
            }
            self.turn()?;
        }
    }

    /// Waits until something happens, and takes it; whether to go on.
    fn listen(&mut self, until: Instant) -> Result<bool, Fatal> {
        let wait = until.saturating_duration_since(Instant::now());
        let first = select! {
            recv(self.outlet.events) -> event => event.ok(),
            recv(self.outlet.kick) -> _ => None,
            default(wait) => None,
        };
        let mut next = first;
        for _ in 0..EVENTS {
            let Some(event) = next else { break };
            if !self.happen(event)? {
                return Ok(false);
            }
            next = self.outlet.events.try_recv().ok();
        }
        Ok(true)
    }

    fn happen(&mut self, event: Event) -> Result<bool, Fatal> {
        match event {
            Event::Packet(packet) => {
                self.outlet.free(&packet);
                self.node.receive(*packet)?;
            }
            Event::Captured(data) => self.node.captured(data)?,
            Event::Kept(kept) => self.node.kept(kept)?,
            Event::SnapshotSent(to, ok) => self.node.snapshot_sent(to, ok),
            Event::Found(cluster, answer) => answer(self.found(cluster)?),
            Event::HandOver => self.hand_over(),
            Event::Stop => return Ok(false),
        }
        Ok(true)
    }

    /// Messages leave before the disk is waited for.
    fn turn(&mut self) -> Result<(), Fatal> {
        loop {
            self.node.turn(&mut ())?;
            let mut sync = false;
            for output in std::mem::take(&mut self.node.out) {
                match output {
                    Output::Send(packet) => self.transport.send(*packet),
                    Output::Snapshot(snapshot) => {
                        self.transport.send_snapshot(snapshot.0, snapshot.1);
                    }
                    Output::Sync => sync = true,
                    Output::Capture(capture) => {
                        self.elsewhere(|| Event::Captured(capture.run()))?
                    }
                    Output::Keep(keeping) => self.elsewhere(|| Event::Kept(keeping.run()))?,
                    Output::Full => tracing::warn!(
                        "no space is left for a snapshot: the log is kept, and it is tried again"
                    ),
                }
            }
            if !sync {
                return Ok(());
            }
            self.node.synced()?;
        }
    }

    /// Does what takes as long as there are data in a thread of its own, and is told what came of it.
    fn elsewhere(&self, what: impl FnOnce() -> Event + Send + 'static) -> Result<(), Fatal> {
        let inbox = self.inbox.clone();
        let run = move || {
            let panicked = |_| Event::Captured(Err(Fatal::Storage("a snapshot panicked".into())));
            let event = catch_unwind(AssertUnwindSafe(what)).unwrap_or_else(panicked);
            // Nobody listens any more once the server ends.
            inbox.tell(event);
        };
        let thread = std::thread::Builder::new().name("group-snapshot".into());
        thread.spawn(run).map(drop).map_err(|error| Fatal::Storage(error.to_string()))
    }

    /// Founds the cluster: who it is comes to the disk before anybody can hear of it, and before the group does.
    fn found(&mut self, cluster: u64) -> Result<bool, Fatal> {
        match self.hub.found(cluster) {
            Ok(true) => self.node.found(),
            Ok(false) => {
                tracing::error!("the cluster was not founded: this node belongs to one already");
                Ok(false)
            }
            Err(error) => {
                tracing::error!(%error, "the cluster could not be founded");
                Ok(false)
            }
        }
    }

    /// Hands over to the best that was not tried yet; once all were, again to the best.
    fn hand_over(&mut self) {
        let member = self.node.member();
        let mut successors = member.group().successors();
        // Who does not answer comes last: the group learns of it later than the connection.
        successors.sort_by_key(|id| !self.transport.reaches(*id));
        if successors.iter().all(|id| self.tried.contains(id)) {
            self.tried.clear();
        }
        let Some(to) = successors.into_iter().find(|id| !self.tried.contains(id)) else { return };
        self.tried.push(to);
        tracing::info!(to = crate::book::name_of(to), "the leadership is handed over");
        // Refused only by who does not lead.
        let _ = member.with(|group| group.transfer(to));
    }

    /// Takes in who is known and does not belong, and lets go who was forgotten: one step at a time.
    fn look_after_members(&mut self) {
        let member = self.node.member();
        if member.group().led().is_err() {
            return;
        }
        let members = member.group().members().clone();
        let all = members.all();
        // Who has gone is forgotten by this, and must not be taken in again: the book is read after it.
        let leaving = self.hub.leaving(&all);
        let book = self.hub.book();
        let gone = |id: &&NodeId| book.forgotten.contains(id) || leaving.contains(id);
        let steps = all.iter().find(gone).map(|id| Step::Remove(*id));
        let known = book.others.keys().filter(|id| !leaving.contains(id));
        let steps = steps.into_iter().chain(newcomers(&members, known));
        for step in steps {
            let change = Change { steps: vec![step] };
            if member.with(|group| group.change(&change)).is_ok() {
                tracing::info!(?step, "the members of the group change");
                break;
            }
        }
    }
}

/// What can be done for those who are to belong: a vote for who follows already, before anybody else
/// begins to follow.
fn newcomers<'a>(
    members: &Membership,
    known: impl Iterator<Item = &'a NodeId>,
) -> impl Iterator<Item = Step> {
    let all = members.all();
    let room = members.voters.len() < VOTERS_MAX;
    let votes: Vec<Step> =
        members.learners.iter().filter(|_| room).map(|id| Step::Voter(*id)).collect();
    let follows = known.filter(move |id| !all.contains(id)).map(|id| Step::Learner(*id));
    votes.into_iter().chain(follows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_follows_gets_a_vote_before_others_begin_to_and_five_vote_at_most() {
        let steps = |members: &Membership, known: &[NodeId]| {
            newcomers(members, known.iter()).collect::<Vec<_>>()
        };
        let mut members = Membership { learners: vec![2], ..Membership::of([1]) };
        assert_eq!(steps(&members, &[1, 2, 3]), [Step::Voter(2), Step::Learner(3)]);
        members = Membership { learners: vec![6], ..Membership::of(1..=5) };
        assert_eq!(steps(&members, &[1, 2, 6, 7]), [Step::Learner(7)]);
    }
}
