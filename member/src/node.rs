//! [`Node`]: the part of a member that one thread drives: messages, ticks, the log store,
//! snapshots, and the state.
//!
//! [`Node::turn`] is to be called after every other call. It leaves in [`Node::out`] what its
//! driver has to do.

use crate::flaw::{Flaw, Flaws};
use crate::loading::{Bounds, Loading};
use crate::member::{Clock, Kick, Member};
use crate::output::{Fatal, Keeping, Kept, Output, Packet, State, Watch};
use crate::positions::Kind;
use crate::state::{Capture, Restoring};
use crate::{GROUP, effects};
use bytes::Bytes;
use consensus::{Action, Base, Batch, CutOutcome, FileError, Files, Group, LogStore};
use consensus::{
    Message, MessageKind, NodeId, Recovered, Refused, SegmentStore, Settings, Snapshots,
};
use consensus::{StoreError, TikvRaft, Work, founded};
use engine::Engine;
use engine::cluster::Cluster;
use engine::replay::Replayer;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use storage::Locks;

/// The number of election timeouts after which replies no longer wait for the outcome of what a
/// former leader executed.
const GIVE_UP: u64 = 2;

/// The parameters of a node.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The seed that determines its election timeouts.
    pub seed: u64,
    /// The founders of the group; empty for a node that joins later.
    pub founders: Vec<NodeId>,
    /// The addresses of nodes that clients are told, each `host:port`.
    pub addresses: BTreeMap<NodeId, Box<str>>,
    /// The parameters of the group, among them the node's identity.
    pub settings: Settings,
    /// The size in bytes at which a new segment of the log begins.
    pub segment_bytes: usize,
    /// The number of entries after which a snapshot is taken.
    pub snapshot_entries: u64,
    /// The number of bytes of effects after which a snapshot is taken.
    pub snapshot_bytes: u64,
    /// The planted bug, for the simulator.
    pub flaws: Flaws,
}

/// An open log with its member. An engine that uses the member as its journal is still to be made.
pub struct Opened<F: Files> {
    config: NodeConfig,
    store: SegmentStore<F>,
    base: Base,
    restarted: bool,
    /// The member, which is the engine's journal.
    pub member: Arc<Member>,
}

/// The time between two attempts to take a snapshot, in microseconds.
const SNAPSHOT_REST_US: u64 = 1_000_000;

/// The same after the disk was full, in microseconds.
const FULL_REST_US: u64 = 10_000_000;

/// A snapshot that is being taken. It may be kept once it is committed.
#[derive(Default)]
struct Taking {
    data: Option<Bytes>,
    base: Option<Base>,
    lost: bool,
    /// The number of bytes of effects since the snapshot before this one.
    since: u64,
}

/// A node of the group, driven by calls from one thread.
pub struct Node<F: Files> {
    config: NodeConfig,
    member: Arc<Member>,
    engine: Arc<Engine>,
    store: SegmentStore<F>,
    /// The work that is written and not synced: the number of the last work, and the messages to send
    /// afterwards.
    unsynced: Option<(u64, Vec<Message>)>,
    /// The same, while the sync is under way.
    syncing: Option<(u64, Vec<Message>)>,
    taking: Option<Taking>,
    /// The number of bytes of effects since the last snapshot.
    since: u64,
    /// The size of the last snapshot in bytes. The next one is not worthwhile before as many bytes
    /// of effects.
    snapshot: u64,
    /// The time before which no snapshot is tried, in microseconds.
    not_before_us: u64,
    /// The planted bug that the next effects suffer.
    next_apply: Option<Flaw>,
    /// While the engine's state is being replaced: the actions that are to follow.
    restoring: Option<Loading>,
    /// How many of them there may be.
    pub(crate) bounds: Bounds,
    /// The actions that the driver is asked for.
    pub out: Vec<Output<F>>,
}

impl<F: Files + Clone> Opened<F> {
    /// Opens the log in `files`, or creates one.
    ///
    /// # Errors
    /// Fails if the log cannot be opened.
    pub fn open(config: NodeConfig, files: F, clock: Clock, kick: Kick) -> Result<Self, Fatal> {
        let mut store = SegmentStore::open(files, config.segment_bytes)?;
        let found = store.recovered().remove(&GROUP);
        let restarted = found.is_some();
        let found = match found {
            Some(found) => found,
            None => found_group(&config, &mut store)?,
        };
        let (id, base) = (config.settings.id, found.base.clone());
        let raft = TikvRaft::new(id, config.seed, found)
            .ok_or_else(|| Fatal::damaged("it contradicts itself"))?;
        let group = Group::new(raft, config.settings.clone(), restarted, clock().mono_us);
        let member = Member::new(id, group, config.addresses.clone(), clock, kick, config.flaws);
        Ok(Opened { config, store, base, restarted, member: Arc::new(member) })
    }

    /// Starts the node. The journal of `engine` must be [`Opened::member`], and its storage empty.
    ///
    /// # Errors
    /// Fails if the last snapshot cannot be loaded.
    pub fn start(self, engine: Arc<Engine>) -> Result<Node<F>, Fatal> {
        let member = self.member.clone();
        self.start_behind(engine, member)
    }

    /// Like [`Opened::start`], but with `cluster` in front of the member as the engine's view of
    /// the cluster.
    ///
    /// # Errors
    /// Fails if the last snapshot cannot be loaded.
    pub fn start_behind(
        self,
        engine: Arc<Engine>,
        cluster: Arc<dyn Cluster>,
    ) -> Result<Node<F>, Fatal> {
        let Opened { config, store, base, restarted, member } = self;
        engine.join(cluster);
        let mut next_apply = None;
        for flaw in [Flaw::OneApart, Flaw::AppliedTwice] {
            next_apply = next_apply.or((restarted && config.flaws.has(flaw)).then_some(flaw));
        }
        let mut node = Node {
            config,
            member,
            engine,
            store,
            unsynced: None,
            syncing: None,
            taking: None,
            since: 0,
            snapshot: 0,
            not_before_us: 0,
            next_apply,
            restoring: None,
            bounds: Bounds::default(),
            out: Vec::new(),
        };
        Snapshots(node.store.files()).sweep().map_err(StoreError::from)?;
        node.restoring(&base)?.run()?;
        Restoring::finish(&node.engine);
        Ok(node)
    }
}

impl<F: Files + Clone> Node<F> {
    /// The member that the node drives.
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// The engine of the node.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Founds the group with this node as its only member, unless the node knows a group already.
    /// Returns whether it did.
    ///
    /// # Errors
    /// Fails if the disk does.
    pub fn found(&mut self) -> Result<bool, Fatal> {
        if !self.member.group().is_blank() {
            return Ok(false);
        }
        let id = self.config.settings.id;
        let found = found_by([id], &mut self.store)?;
        let raft = TikvRaft::new(id, self.config.seed, found)
            .ok_or_else(|| Fatal::damaged("it contradicts itself"))?;
        let (settings, now) = (self.config.settings.clone(), self.now_us());
        self.member.with(|group| *group = Group::new(raft, settings, false, now));
        Ok(true)
    }

    /// Handles a message of another node.
    ///
    /// # Errors
    /// An error ends the node.
    pub fn receive(&mut self, packet: Packet) -> Result<(), Fatal> {
        let Packet { message, data } = packet;
        if message.kind == MessageKind::Append && !message.entries.is_empty() && self.is_full() {
            // Treated as if it had been lost: the leader sends it again.
            return Ok(());
        }
        if let (Some(base), Some(data)) = (&message.snapshot, data) {
            match self.take_in(base, data) {
                Err(StoreError::Files(FileError::Full)) => {
                    // Treated as if the message had been lost: the leader sends it again.
                    self.out.push(Output::Full);
                    return Ok(());
                }
                kept => kept?,
            }
        }
        let now = self.now_us();
        match self.member.with(|group| group.step(message, now)) {
            Err(Refused::Emptied) => Err(Fatal::Emptied),
            _ => Ok(()),
        }
    }

    /// Keeps the state of a snapshot that has arrived, unless this node is further already.
    fn take_in(&mut self, base: &Base, state: State) -> Result<(), StoreError> {
        let is_new = base.index > self.member.group().applied().0;
        match state {
            State::Bytes(data) if is_new => self.keep(base, &data)?,
            State::Bytes(_) => {}
            State::Written { name, bytes } if is_new => {
                self.snapshot = bytes;
                Snapshots(self.store.files()).adopt(GROUP, base, &name)?;
            }
            State::Written { name, .. } => self.store.files().remove(&name)?,
        }
        Ok(())
    }

    /// Takes the result of a [`Restoring`]. What has become due meanwhile is done in the next turns.
    ///
    /// # Errors
    /// Passes on its error, which ends the node.
    pub fn restored(&mut self, done: Result<(), Fatal>) -> Result<(), Fatal> {
        self.restoring.iter_mut().for_each(|loading| loading.is_loaded = true);
        done
    }

    /// Whether so much waits for the state that is being loaded that nothing may be added.
    fn is_full(&self) -> bool {
        self.restoring.as_ref().is_some_and(|loading| loading.bytes() >= self.bounds.waiting)
    }

    /// Does some of what had to wait for the state. If more is left, it follows in another turn, so
    /// that others are answered in between.
    fn catch_up(&mut self) -> Result<(), Fatal> {
        let waiting = |node: &Self| node.restoring.as_ref().map_or(0, Loading::bytes);
        let enough = waiting(self).saturating_sub(self.bounds.turn);
        while let Some(loading) = self.restoring.as_mut().filter(|loading| loading.is_loaded) {
            let Some(action) = loading.pop() else {
                self.restoring = None;
                Restoring::finish(&self.engine);
                self.set_loading(false);
                break;
            };
            self.perform(action)?;
            if enough > 0 && waiting(self) <= enough {
                self.member.kick();
                break;
            }
        }
        Ok(())
    }

    fn set_loading(&self, loading: bool) {
        let now = self.now_us();
        self.member.with(|group| group.set_loading(loading, now));
    }

    /// Reports that a tick has passed.
    pub fn tick(&mut self) {
        let now = self.now_us();
        self.member.with(|group| group.tick(now));
        self.member.give_up_after(GIVE_UP * self.config.settings.election());
    }

    /// See [`Group::take_over`].
    pub fn take_over(&mut self, silent: bool) {
        let now = self.now_us();
        self.member.with(|group| group.take_over(silent, now));
    }

    /// Ends a turn in which commands were executed.
    pub fn flush(&mut self) {
        let now = self.now_us();
        self.member.with(|group| group.flush(now));
    }

    /// Syncs the disk, which was asked for by [`Output::Sync`] and takes some time.
    ///
    /// # Errors
    /// Fails if the disk does; then nobody knows what is on it.
    pub fn synced(&mut self) -> Result<(), Fatal> {
        let Some((number, messages)) = self.syncing.take() else { return Ok(()) };
        self.store.sync()?;
        self.member.with(|group| group.persisted(number));
        self.send(messages);
        Ok(())
    }

    /// Takes the result of a capture.
    ///
    /// # Errors
    /// Passes on the error of the capture.
    pub fn captured(&mut self, data: Result<Vec<u8>, Fatal>) -> Result<(), Fatal> {
        let data = data?;
        if let Some(taking) = &mut self.taking {
            taking.data = Some(data.into());
        }
        Ok(())
    }

    /// Reports that sending a snapshot to a member has ended; `ok` says whether it arrived.
    pub fn snapshot_sent(&mut self, to: NodeId, ok: bool) {
        self.member.with(|group| group.snapshot_sent(to, ok));
    }

    /// Takes the result of writing a snapshot.
    ///
    /// # Errors
    /// Fails if the disk does, unless it was full. In that case the log is kept and another attempt
    /// is made later.
    pub fn kept(&mut self, kept: Kept) -> Result<(), Fatal> {
        let Kept { base, done } = kept;
        let Some(taking) = self.taking.take() else { return Ok(()) };
        match done {
            Ok(()) if !taking.lost => self.kept_own(&base),
            Ok(()) => {
                Ok(Snapshots(self.store.files()).remove(GROUP, &base).map_err(StoreError::from)?)
            }
            Err(FileError::Full) => {
                self.since += taking.since;
                self.not_before_us = self.now_us() + FULL_REST_US;
                self.out.push(Output::Full);
                Ok(())
            }
            Err(error) => Err(StoreError::from(error).into()),
        }
    }

    /// Does the pending work.
    ///
    /// # Errors
    /// An error ends the node.
    pub fn turn(&mut self, watch: &mut dyn Watch) -> Result<(), Fatal> {
        self.catch_up()?;
        loop {
            self.wait_for_fallen()?;
            let Some(work) = self.member.with(Group::work) else { break };
            self.wait_for_fallen()?;
            self.carry_out(work, watch)?;
        }
        // Nobody executes or reads before the state is there.
        let is_whole = self.restoring.is_none();
        if is_whole {
            self.member.raise();
        }
        if self.syncing.is_none() && self.unsynced.is_some() {
            self.syncing = self.unsynced.take();
            self.out.push(Output::Sync);
        }
        if is_whole {
            self.snapshot(watch)?;
            self.member.open_reads();
        }
        self.member.settle();
        Ok(())
    }

    fn now_us(&self) -> u64 {
        (self.member.clock)().mono_us
    }

    /// Waits for the sessions that executed behind a fence that has fallen. They are done once
    /// every shard has been locked.
    fn wait_for_fallen(&self) -> Result<(), Fatal> {
        if !self.member.has_fallen() {
            return Ok(());
        }
        loop {
            match self.engine.backend.transact(Locks::All, 0, &mut |_| {}) {
                // A script that runs for long is one of those that are waited for.
                Err(storage::Error::Busy) => {}
                taken => return taken.map_err(Fatal::storage),
            }
        }
    }

    fn carry_out(&mut self, work: Work, watch: &mut dyn Watch) -> Result<(), Fatal> {
        if let Some(base) = &work.restore {
            self.store.set_base(GROUP, base)?;
        }
        if let Some(state) = work.hard_state.filter(|_| !self.config.flaws.has(Flaw::VoteNotKept)) {
            self.store.set_hard_state(GROUP, state)?;
        }
        if !work.entries.is_empty() {
            watch.wrote(&work.entries);
            self.since += work.entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
            self.store.append(GROUP, &work.entries)?;
        }
        self.send(work.messages);
        for action in work.actions {
            self.act(action)?;
        }
        if work.number == 0 {
            return Ok(());
        }
        let early = self.config.flaws.has(Flaw::AcknowledgedUnsynced);
        if early || !(work.must_sync || self.unsynced.is_some() || self.syncing.is_some()) {
            self.member.with(|group| group.persisted(work.number));
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

    fn act(&mut self, action: Action) -> Result<(), Fatal> {
        if let Action::Restore(_) = action {
            if let Some(taking) = &mut self.taking {
                taking.lost = true;
            }
            self.member.close_reads();
        }
        match &mut self.restoring {
            Some(loading) => loading.push(action),
            None => self.perform(action)?,
        }
        Ok(())
    }

    /// Does an action, before which none waits.
    fn perform(&mut self, action: Action) -> Result<(), Fatal> {
        match action {
            Action::Restore(base) => {
                let restoring = Box::new(self.restoring(&base)?);
                self.restoring.get_or_insert_default().is_loaded = false;
                self.set_loading(true);
                self.out.push(Output::Restore(restoring));
                Ok(())
            }
            Action::Apply(batch) => match self.next_apply.take() {
                Some(Flaw::OneApart) => Ok(()),
                Some(_) => self.apply(&batch).and_then(|()| self.apply(&batch)),
                None => self.apply(&batch),
            },
            // The group is asked for its members when they are needed.
            Action::Members(_) => Ok(()),
        }
    }

    /// Lets the engine replay the effects of another node, each record as a whole.
    fn apply(&mut self, batch: &Batch) -> Result<(), Fatal> {
        let damaged = || Fatal::Damaged(format!("effect {} cannot be read", batch.first));
        let records = effects::records(&batch.effects).ok_or_else(damaged)?;
        let mut replayer = Replayer::new(&self.engine);
        for (seq, record) in (batch.first..).zip(&records) {
            let at = self.member.inner.lock().positions.give(Kind::Committed, seq);
            let effects = record.requests().map(|request| (0, request));
            replayer.record(Some(at), effects).map_err(Fatal::Damaged)?;
        }
        Ok(())
    }

    /// Prepares the engine for the state of this base.
    fn restoring(&mut self, base: &Base) -> Result<Restoring, Fatal> {
        let source: Box<dyn Read + Send> = match self.config.flaws.has(Flaw::TornSnapshot) {
            true => Box::new(std::io::Cursor::new(self.load_torn(base))),
            false if base.index == 0 => Box::new(std::io::empty()),
            false => {
                let opened = Snapshots(self.store.files()).open(GROUP, base);
                Box::new(opened.map_err(Fatal::damaged)?)
            }
        };
        let at = self.member.inner.lock().positions.anew(base.seq);
        Ok(Restoring::new(self.engine.clone(), source, at))
    }

    /// Takes a snapshot when one is due, and keeps it once its last entry is committed.
    fn snapshot(&mut self, watch: &mut dyn Watch) -> Result<(), Fatal> {
        if self.taking.is_none() && self.wants_snapshot() {
            self.take();
        }
        match self.member.with(Group::cut_outcome) {
            Some(CutOutcome::Kept(base)) => {
                if let Some(taking) = &mut self.taking {
                    taking.base = Some(base);
                }
            }
            Some(CutOutcome::Lost) => {
                if let Some(taking) = &mut self.taking {
                    taking.lost = true;
                }
            }
            Some(CutOutcome::Pending) | None => {}
        }
        let Some(taking) = &mut self.taking else { return Ok(()) };
        if taking.lost && taking.data.is_some() {
            self.taking = None;
            return Ok(());
        }
        match (taking.base.take(), taking.data.take()) {
            (Some(base), Some(data)) => self.keep_own(base, data, watch),
            // While the snapshot is being written, both are `None`.
            undecided => {
                (taking.base, taking.data) = undecided;
                Ok(())
            }
        }
    }

    fn wants_snapshot(&self) -> bool {
        if self.now_us() < self.not_before_us {
            return false;
        }
        let group = self.member.group();
        let entries = match group.wants_snapshot() {
            true => 1,
            false => self.config.snapshot_entries,
        };
        let behind = group.applied().0 - group.base().index;
        behind >= entries
            || (behind > 0 && self.since >= self.config.snapshot_bytes.max(self.snapshot))
    }

    fn take(&mut self) {
        let mut cut = None;
        let member = &self.member;
        if !member.with(Group::may_cut) {
            return;
        }
        let capture = Capture::take(&self.engine, &mut || cut = member.with(Group::cut));
        let Ok(capture) = capture else {
            // The storage is writing another one (`BGSAVE`), and the log can wait.
            self.not_before_us = self.now_us() + SNAPSHOT_REST_US;
            return;
        };
        if cut.is_some() {
            let since = std::mem::take(&mut self.since);
            self.taking = Some(Taking { since, ..Taking::default() });
            self.out.push(Output::Capture(Box::new(capture)));
        }
    }

    fn keep_own(&mut self, base: Base, data: Bytes, watch: &mut dyn Watch) -> Result<(), Fatal> {
        watch.kept(&base, &data);
        if self.config.flaws.has(Flaw::TornSnapshot) {
            self.taking = None;
            self.keep(&base, &data)?;
            return self.kept_own(&base);
        }
        self.snapshot = data.len() as u64;
        let files = self.store.files().clone();
        self.out.push(Output::Keep(Box::new(Keeping { files, base, data })));
        Ok(())
    }

    /// Records that a snapshot of this node is written, and drops from the log what it holds.
    fn kept_own(&mut self, base: &Base) -> Result<(), Fatal> {
        self.store.set_base(GROUP, base)?;
        self.store.sync()?;
        self.member.with(|group| group.compact(base.clone()));
        Snapshots(self.store.files()).remove_before(GROUP, base).map_err(StoreError::from)?;
        Ok(())
    }

    fn keep(&mut self, base: &Base, data: &[u8]) -> Result<(), StoreError> {
        self.snapshot = data.len() as u64;
        if self.config.flaws.has(Flaw::TornSnapshot) {
            return Ok(self.store.files().append(&torn_name(base), data)?);
        }
        Ok(Snapshots(self.store.files()).keep(GROUP, base, data)?)
    }

    /// Reads the snapshot that the planted bug has written, whatever is left of it.
    fn load_torn(&mut self, base: &Base) -> Vec<u8> {
        match base.index {
            0 => Vec::new(),
            // The group was founded with it.
            1 => Snapshots(self.store.files()).load(GROUP, base).unwrap_or_default(),
            _ => self.store.files().read(&torn_name(base)).unwrap_or_default(),
        }
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            match (message.kind, message.snapshot.clone()) {
                (MessageKind::Snapshot, Some(base)) => self.send_snapshot(message, &base),
                _ => self.out.push(Output::Send(Box::new(Packet { message, data: None }))),
            }
        }
    }

    fn send_snapshot(&mut self, message: Message, base: &Base) {
        if self.config.flaws.has(Flaw::TornSnapshot) {
            let data = Some(State::Bytes(self.load_torn(base).into()));
            self.snapshot_sent(message.to, true);
            return self.out.push(Output::Send(Box::new(Packet { message, data })));
        }
        match Snapshots(self.store.files()).open(GROUP, base) {
            Ok(reader) => self.out.push(Output::Snapshot(Box::new((message, reader)))),
            Err(_) => self.snapshot_sent(message.to, false),
        }
    }
}

/// Writes the first log of a group, and the empty snapshot that it begins behind.
fn found_group<F: Files>(
    config: &NodeConfig,
    store: &mut SegmentStore<F>,
) -> Result<Recovered, StoreError> {
    match config.founders.is_empty() {
        true => Ok(Recovered::default()),
        false => found_by(config.founders.iter().copied(), store),
    }
}

fn found_by<F: Files>(
    founders: impl IntoIterator<Item = NodeId>,
    store: &mut SegmentStore<F>,
) -> Result<Recovered, StoreError> {
    let found = founded(founders);
    Snapshots(store.files()).keep(GROUP, &found.base, &[])?;
    store.set_base(GROUP, &found.base)?;
    store.sync()?;
    Ok(found)
}

/// The file to which the planted bug writes a snapshot.
fn torn_name(base: &Base) -> String {
    format!("torn-{}-{}", base.index, base.term)
}
