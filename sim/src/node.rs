//! A node: what a server does around a group, with a virtual disk and a state machine.

use crate::machine::{Machine, SHARDS};
use crate::oracle::{GROUP, Oracle};
use crate::planted::Planted;
use consensus::testing::Disk;
use consensus::{Action, Base, Blocked, CutOutcome, Faults, Files, Group, LogStore, Message};
use consensus::{MessageKind, NodeId, Outcome, Recovered, SegmentStore, Settings, Snapshots};
use consensus::{StoreError, TikvRaft, Wait, Work, founded};

/// Bytes of a segment: small, so that segments come and go.
const SEGMENT: usize = 4_096;

/// A message on its way, with the state if it is a snapshot.
#[derive(Debug, Clone)]
pub struct Packet {
    /// The message.
    pub message: Message,
    /// The snapshot's state.
    pub data: Option<Vec<u8>>,
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer<R> {
    /// The reply.
    Reply(R),
    /// Not executed here, or undone; this node may lead (zero if none is known).
    Moved(NodeId),
    /// Perhaps.
    Unknown,
}

/// What a node wants of the world.
#[derive(Debug)]
pub enum Output<R> {
    /// A message for another node.
    Send(Box<Packet>),
    /// A sync takes its time from now on.
    Sync,
    /// An answer to a client's operation.
    Answer(u64, Answer<R>),
}

/// A reply that waits.
struct Pending<R> {
    operation: u64,
    wait: Wait,
    reply: R,
}

/// How a node is run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The node.
    pub id: NodeId,
    /// Decides its elections.
    pub seed: u64,
    /// Who founds the group; empty for a node that joins.
    pub founders: Vec<NodeId>,
    /// The planted bug.
    pub planted: Option<Planted>,
    /// Entries after which it takes a snapshot.
    pub snapshot_every: u64,
}

/// A running node.
pub struct Node<M: Machine> {
    plan: Plan,
    /// Its member of the group.
    pub group: Group<TikvRaft>,
    store: SegmentStore<Disk>,
    /// The state, with what is executed and not committed.
    pub machine: M,
    /// By shard, the last effect on it.
    shards: [u64; SHARDS],
    pending: Vec<Pending<M::Reply>>,
    /// Written and not synced: the last work, and what is sent afterwards.
    unsynced: Option<(u64, Vec<Message>)>,
    /// The same, while the disk is at it.
    syncing: Option<(u64, Vec<Message>)>,
    /// A copy of the state for a snapshot that is not decided.
    copied: Option<Vec<u8>>,
    /// Planted: what happens to the next effects.
    next_apply: Option<Planted>,
    /// The last entry whose state was compared.
    compared: u64,
    /// What it wants of the world.
    pub out: Vec<Output<M::Reply>>,
}

/// Whether the plan has this bug.
fn has(plan: &Plan, planted: Planted) -> bool {
    plan.planted == Some(planted)
}

impl<M: Machine> Node<M> {
    /// Starts a node on its disk, new or with what is there.
    pub fn start(plan: Plan, disk: Disk, now: u64) -> Result<Node<M>, String> {
        let open =
            |disk: Disk| SegmentStore::open(disk, SEGMENT).map_err(|error| error.to_string());
        let mut store = open(disk)?;
        let found = store.recovered().remove(&GROUP);
        let restarted = found.is_some();
        let found = match found {
            Some(found) => found,
            None => found_group(&plan, &mut store).map_err(|error| error.to_string())?,
        };
        let machine = load(&plan, &mut store, &found.base)?;
        let faults = Faults::of(plan.planted.and_then(Planted::of_group));
        let settings =
            Settings { faults, behind: 20, window_batches: 200, ..Settings::new(plan.id) };
        let raft = TikvRaft::new(plan.id, plan.seed, found).ok_or("the log contradicts itself")?;
        let apart = [Planted::OneApart, Planted::AppliedTwice];
        let next_apply = plan.planted.filter(|it| restarted && apart.contains(it));
        Ok(Node {
            group: Group::new(raft, settings, restarted, now),
            store,
            machine,
            shards: [0; SHARDS],
            pending: Vec::new(),
            unsynced: None,
            syncing: None,
            copied: None,
            next_apply,
            compared: 0,
            out: Vec::new(),
            plan,
        })
    }

    /// A message has come.
    pub fn receive(&mut self, packet: Packet, now: u64) -> Result<(), String> {
        let Packet { message, data } = packet;
        if let (Some(base), Some(data)) = (&message.snapshot, data)
            && base.index > self.group.applied().0
        {
            self.keep(base, &data).map_err(|error| error.to_string())?;
        }
        match self.group.step(message, now) {
            Err(consensus::Refused::Emptied) => Err("entries it acknowledged are gone".into()),
            _ => Ok(()),
        }
    }

    /// A client asks something.
    pub fn command(&mut self, operation: u64, command: &M::Command, wall: u64, now: u64) {
        let fence = match self.group.fence() {
            Ok(fence) => fence,
            Err(blocked) => {
                let leader = match blocked {
                    Blocked::Elsewhere(leader) => leader,
                    Blocked::NotReady | Blocked::Full => 0,
                };
                return self.out.push(Output::Answer(operation, Answer::Moved(leader)));
            }
        };
        let time = self.group.time(wall);
        let mut effects = Vec::new();
        let reply = self.machine.execute(command, time, &mut effects);
        let shards = M::shards(command);
        let seen = shards.iter().map(|shard| self.shards[*shard]).max().unwrap_or(0);
        let mut last = seen;
        let parts = match has(&self.plan, Planted::ExecSplit) {
            true => effects.clone(),
            false => vec![effects.concat()],
        };
        for part in parts.iter().filter(|part| !part.is_empty()) {
            let count = if parts.len() > 1 { 1 } else { effects.len() as u64 };
            match self.group.append(fence, part, count, time) {
                Ok(seq) => last = last.max(seq),
                // The planted bugs alone come here.
                Err(_) => return self.out.push(Output::Answer(operation, Answer::Unknown)),
            }
            if parts.len() > 1 {
                self.group.flush(now);
            }
        }
        shards.iter().for_each(|shard| self.shards[*shard] = last);
        let wrote = !effects.is_empty();
        if has(&self.plan, Planted::ConditionNotWithheld) && !wrote && M::is_refusal(&reply) {
            return self.out.push(Output::Answer(operation, Answer::Reply(reply)));
        }
        let wait = self.group.wait(fence.term, last, wrote, now);
        self.pending.push(Pending { operation, wait, reply });
    }

    /// A tick has passed.
    pub fn tick(&mut self, wall: u64, now: u64) {
        self.group.tick(now);
        if has(&self.plan, Planted::FollowerExpires) && self.group.fence().is_err() {
            self.machine.expire(wall);
        }
    }

    /// The sync that was under way is done.
    pub fn synced(&mut self) -> Result<(), String> {
        let Some((number, messages)) = self.syncing.take() else { return Ok(()) };
        self.store.sync().map_err(|error| error.to_string())?;
        self.group.persisted(number);
        self.send(messages);
        Ok(())
    }

    /// Does what is to be done. An error is the end of the process.
    pub fn turn(&mut self, oracle: &mut Oracle) -> Result<(), String> {
        while let Some(work) = self.group.work() {
            self.carry_out(work, oracle).map_err(|error| error.to_string())?;
        }
        if self.syncing.is_none() && self.unsynced.is_some() {
            self.syncing = self.unsynced.take();
            self.out.push(Output::Sync);
        }
        oracle.look(self.plan.id, &self.group);
        let (index, _, seq) = self.group.applied();
        if self.group.is_settled() && index > self.compared {
            self.compared = index;
            oracle.state(self.plan.id, index, self.machine.digest(), seq);
        }
        self.snapshot(oracle).map_err(|error| error.to_string())?;
        self.answer();
        Ok(())
    }

    fn carry_out(&mut self, work: Work, oracle: &mut Oracle) -> Result<(), StoreError> {
        if let Some(base) = &work.restore {
            self.store.set_base(GROUP, base)?;
        }
        if let Some(state) = work.hard_state.filter(|_| !has(&self.plan, Planted::VoteNotKept)) {
            self.store.set_hard_state(GROUP, state)?;
        }
        if !work.entries.is_empty() {
            oracle.wrote(self.plan.id, &work.entries);
            self.store.append(GROUP, &work.entries)?;
        }
        for action in work.actions {
            self.act(action);
        }
        self.send(work.messages);
        if work.number == 0 {
            return Ok(());
        }
        let early = has(&self.plan, Planted::AcknowledgedUnsynced);
        if early || !(work.must_sync || self.unsynced.is_some() || self.syncing.is_some()) {
            self.group.persisted(work.number);
            self.send(work.after_sync);
            if work.must_sync {
                self.unsynced = Some((work.number, Vec::new()));
            }
            return Ok(());
        }
        let (number, messages) = self.unsynced.get_or_insert((0, Vec::new()));
        *number = work.number;
        messages.extend(work.after_sync);
        Ok(())
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Restore(base) => {
                // A state that cannot be loaded was checked when it was kept; the oracle compares.
                self.machine = load(&self.plan, &mut self.store, &base).unwrap_or_default();
                self.shards = [base.seq; SHARDS];
                self.copied = None;
            }
            Action::Apply(batch) => match self.next_apply.take() {
                Some(Planted::OneApart) => {}
                again => {
                    self.machine.apply(&batch.effects);
                    if again.is_some() {
                        self.machine.apply(&batch.effects);
                    }
                }
            },
            // The group says who belongs to it when asked.
            Action::Members(_) => {}
        }
    }

    /// Takes a snapshot now and then, and keeps it once its last entry is committed.
    fn snapshot(&mut self, oracle: &mut Oracle) -> Result<(), StoreError> {
        let every = if self.group.wants_snapshot() { 1 } else { self.plan.snapshot_every };
        if self.copied.is_none()
            && self.group.applied().0 >= self.group.base().index + every
            && self.group.cut().is_some()
        {
            self.copied = Some(self.machine.snapshot());
        }
        match self.group.cut_outcome() {
            Some(CutOutcome::Kept(base)) => {
                let Some(data) = self.copied.take() else { return Ok(()) };
                oracle.kept(self.plan.id, &base, M::restore(&data).digest());
                self.keep(&base, &data)?;
                self.store.set_base(GROUP, &base)?;
                self.store.sync()?;
                self.group.compact(base.clone());
                Snapshots(self.store.files()).remove_before(GROUP, &base)?;
            }
            Some(CutOutcome::Lost) => self.copied = None,
            Some(CutOutcome::Pending) | None => {}
        }
        Ok(())
    }

    fn keep(&mut self, base: &Base, data: &[u8]) -> Result<(), StoreError> {
        keep(&self.plan, &mut self.store, base, data)
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let mut data = None;
            if let (MessageKind::Snapshot, Some(base)) = (message.kind, &message.snapshot) {
                data = load::<M>(&self.plan, &mut self.store, base).ok().map(|it| it.snapshot());
                self.group.snapshot_sent(message.to, data.is_some());
                if data.is_none() {
                    continue;
                }
            }
            self.out.push(Output::Send(Box::new(Packet { message, data })));
        }
    }

    /// Answers what is decided.
    fn answer(&mut self) {
        let leader = self.group.status().leader;
        let (group, out) = (&self.group, &mut self.out);
        self.pending.retain(|it| {
            let answer = match group.poll(&it.wait) {
                Outcome::Pending => return true,
                Outcome::Kept => Answer::Reply(it.reply.clone()),
                Outcome::Cut => Answer::Moved(leader),
                Outcome::Unknown => Answer::Unknown,
            };
            out.push(Output::Answer(it.operation, answer));
            false
        });
    }
}

/// The first log of a group, and the snapshot of nothing that it begins behind.
fn found_group(plan: &Plan, store: &mut SegmentStore<Disk>) -> Result<Recovered, StoreError> {
    if plan.founders.is_empty() {
        return Ok(Recovered::default());
    }
    let found = founded(plan.founders.iter().copied());
    Snapshots(store.files()).keep(GROUP, &found.base, &[])?;
    store.set_base(GROUP, &found.base)?;
    store.sync()?;
    Ok(found)
}

/// Where the planted bug writes a snapshot.
fn torn_name(base: &Base) -> String {
    format!("torn-{}-{}", base.index, base.term)
}

fn keep(
    plan: &Plan,
    store: &mut SegmentStore<Disk>,
    base: &Base,
    data: &[u8],
) -> Result<(), StoreError> {
    if has(plan, Planted::TornSnapshot) {
        return Ok(store.files().append(&torn_name(base), data)?);
    }
    Ok(Snapshots(store.files()).keep(GROUP, base, data)?)
}

/// The state of a base.
fn load<M: Machine>(plan: &Plan, store: &mut SegmentStore<Disk>, base: &Base) -> Result<M, String> {
    if base.index == 0 {
        return Ok(M::default());
    }
    if has(plan, Planted::TornSnapshot) && base.index > 1 {
        let bytes = store.files().read(&torn_name(base)).unwrap_or_default();
        return Ok(M::restore(&bytes));
    }
    let data = Snapshots(store.files()).load(GROUP, base).map_err(|error| error.to_string())?;
    Ok(M::restore(&data))
}
