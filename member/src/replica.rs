//! [`Replica`]: the part of a group on one node that the node's thread drives: messages, ticks, the
//! log, snapshots, and the state.
//!
//! The log store and the list of actions for the driver are the node's, and come with the calls. How
//! effects are applied is in `applying`; what concerns units of slots that move, in `moving`.

use crate::flaw::Flaw;
use crate::loading::{Bounds, Loading};
use crate::member::Member;
use crate::moving::Appended;
use crate::node::{NodeConfig, found_by};
use crate::output::{Fatal, Keeping, Kept, Output, Packet, State, Watch};
use crate::state::{Capture, Captured, Part, Restored, Restoring, claims_in, locks};
use bytes::Bytes;
use consensus::{Action, Base, CutOutcome, FileError, Files, Group, LogStore};
use consensus::{Message, MessageKind, NodeId, Refused, SegmentStore, Snapshots};
use consensus::{StoreError, TikvRaft, Work};
use engine::Engine;
use std::io::{BufReader, Read};
use std::sync::Arc;

/// The number of election timeouts after which replies no longer wait for the outcome of what a
/// former leader executed.
const GIVE_UP: u64 = 2;

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

/// The log store of the node, and the actions that it asks its driver for.
pub(crate) struct Means<'n, F: Files> {
    pub store: &'n mut SegmentStore<F>,
    pub out: &'n mut Vec<Output<F>>,
}

/// A group on one node.
pub(crate) struct Replica {
    pub config: Arc<NodeConfig>,
    member: Arc<Member>,
    pub engine: Arc<Engine>,
    pub part: Part,
    /// The work that is written and not synced: the number of the last work, and the messages to send
    /// afterwards.
    unsynced: Option<(u64, Vec<Message>)>,
    /// The same, while the sync is under way.
    syncing: Option<(u64, Vec<Message>)>,
    taking: Option<Taking>,
    /// The steps of moves that it has appended.
    pub appended: Appended,
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
    pub bounds: Bounds,
}

impl Replica {
    /// The replica of `part`. `restarted` says whether the group was in the log already.
    pub fn new(
        config: Arc<NodeConfig>,
        member: Arc<Member>,
        engine: Arc<Engine>,
        part: Part,
        restarted: bool,
    ) -> Replica {
        let mut next_apply = None;
        for flaw in [Flaw::OneApart, Flaw::AppliedTwice] {
            next_apply = next_apply.or((restarted && config.flaws.has(flaw)).then_some(flaw));
        }
        Replica {
            config,
            member,
            engine,
            part,
            unsynced: None,
            syncing: None,
            taking: None,
            appended: Appended::default(),
            since: 0,
            snapshot: 0,
            not_before_us: 0,
            next_apply,
            restoring: None,
            bounds: Bounds::default(),
        }
    }

    /// Loads the last snapshot, at the start of the node.
    pub fn load<F: Files>(&self, store: &mut SegmentStore<F>, base: &Base) -> Result<(), Fatal> {
        self.restoring(store, base)?.replace()?;
        Restoring::finish(&self.engine, &self.part);
        Ok(())
    }

    /// The group as sessions see it.
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Founds the group with this node as its only member, if the node knows nothing of it.
    pub fn found<F: Files>(&mut self, store: &mut SegmentStore<F>) -> Result<(), Fatal> {
        if !self.member.group().is_blank() {
            return Ok(());
        }
        let id = self.config.settings.id;
        let found = found_by(self.part.group, [id], store)?;
        let raft = TikvRaft::new(id, self.config.seed_of(self.part.group), found)
            .ok_or_else(|| Fatal::damaged("it contradicts itself"))?;
        let (settings, now) = (self.config.settings.clone(), self.now_us());
        self.member.with(|group| *group = Group::new(raft, settings, false, now));
        Ok(())
    }

    /// Handles a message of another node.
    pub fn receive<F: Files>(
        &mut self,
        packet: Packet,
        means: &mut Means<'_, F>,
    ) -> Result<(), Fatal> {
        let Packet { message, data, .. } = packet;
        if message.kind == MessageKind::Append && !message.entries.is_empty() && self.is_full() {
            // Treated as if it had been lost: the leader sends it again.
            return Ok(());
        }
        if let (Some(base), Some(data)) = (&message.snapshot, data) {
            match self.take_in(base, data, means.store) {
                Err(StoreError::Files(FileError::Full)) => {
                    // Treated as if the message had been lost: the leader sends it again.
                    means.out.push(Output::Full);
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
    fn take_in<F: Files>(
        &mut self,
        base: &Base,
        state: State,
        store: &mut SegmentStore<F>,
    ) -> Result<(), StoreError> {
        let is_new = base.index > self.member.group().applied().0;
        match state {
            State::Bytes(data) if is_new => self.keep(base, &data, store)?,
            State::Bytes(_) => {}
            State::Written { name, bytes } if is_new => {
                self.snapshot = bytes;
                Snapshots(store.files()).adopt(self.part.group, base, &name)?;
            }
            State::Written { name, .. } => store.files().remove(&name)?,
        }
        Ok(())
    }

    /// Takes the result of a [`Restoring`]. What has become due meanwhile is done in the next turns.
    pub fn restored(&mut self, restored: Restored) -> Result<(), Fatal> {
        self.restoring.iter_mut().for_each(|loading| loading.is_loaded = true);
        restored.done
    }

    /// Whether so much waits for the state that is being loaded that nothing may be added.
    fn is_full(&self) -> bool {
        self.restoring.as_ref().is_some_and(|loading| loading.bytes() >= self.bounds.waiting)
    }

    /// Does some of what had to wait for the state. If more is left, it follows in another turn, so
    /// that others are answered in between.
    fn catch_up<F: Files>(&mut self, means: &mut Means<'_, F>) -> Result<(), Fatal> {
        let waiting = |replica: &Self| replica.restoring.as_ref().map_or(0, Loading::bytes);
        let enough = waiting(self).saturating_sub(self.bounds.turn);
        while let Some(loading) = self.restoring.as_mut().filter(|loading| loading.is_loaded) {
            let Some(action) = loading.pop() else {
                self.restoring = None;
                Restoring::finish(&self.engine, &self.part);
                self.set_loading(false);
                break;
            };
            self.perform(action, means)?;
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

    /// Whether something is written that is to be synced. From now on it is being synced.
    pub fn begin_sync(&mut self) -> bool {
        self.syncing = self.unsynced.take();
        self.syncing.is_some()
    }

    /// The disk was synced: what was written before [`Replica::begin_sync`] is safe.
    pub fn synced<F: Files>(&mut self, means: &mut Means<'_, F>) {
        if let Some((number, messages)) = self.syncing.take() {
            self.member.with(|group| group.persisted(number));
            self.send(messages, means);
        }
    }

    /// Takes the result of a capture.
    pub fn captured(&mut self, captured: Captured) -> Result<(), Fatal> {
        let data = captured.data?;
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
    pub fn kept<F: Files>(&mut self, kept: Kept, means: &mut Means<'_, F>) -> Result<(), Fatal> {
        let Kept { base, done, .. } = kept;
        let Some(taking) = self.taking.take() else { return Ok(()) };
        match done {
            Ok(()) if !taking.lost => self.kept_own(&base, means.store),
            Ok(()) => {
                let removed = Snapshots(means.store.files()).remove(self.part.group, &base);
                Ok(removed.map_err(StoreError::from)?)
            }
            Err(FileError::Full) => {
                self.since += taking.since;
                self.not_before_us = self.now_us() + FULL_REST_US;
                means.out.push(Output::Full);
                Ok(())
            }
            Err(error) => Err(StoreError::from(error).into()),
        }
    }

    /// Does the pending work.
    pub fn turn<F: Files + Clone>(
        &mut self,
        means: &mut Means<'_, F>,
        watch: &mut dyn Watch,
    ) -> Result<(), Fatal> {
        self.catch_up(means)?;
        loop {
            self.wait_for_fallen()?;
            let Some(work) = self.member.with(Group::work) else { break };
            self.wait_for_fallen()?;
            self.carry_out(work, means, watch)?;
        }
        // Nobody executes or reads before the state is there.
        if self.restoring.is_none() {
            self.raise();
            self.snapshot(means, watch)?;
            // Who has not got anything of the group yet does not know what is missing.
            if self.member.group().applied().0 > 0 {
                self.member.open_reads();
            }
        }
        self.member.settle();
        Ok(())
    }

    fn now_us(&self) -> u64 {
        (self.member.clock)().mono_us
    }

    /// Whether a snapshot is being taken, or the state is being replaced.
    pub fn is_busy(&self) -> bool {
        self.taking.is_some() || self.restoring.is_some()
    }

    /// Lets sessions execute, if this node leads the group. Whoever holds the shard now may do so for
    /// long, and the other groups do not wait for that: there is another turn with the next tick.
    fn raise(&self) {
        if !self.member.may_raise() {
            return;
        }
        // A group without units serves nobody, and what concerns every key locks every shard.
        let shard = self.part.shards(&self.engine).first().copied().unwrap_or(0);
        let (backend, lock) = (&self.engine.backend, locks(std::slice::from_ref(&shard)));
        if !backend.is_contended(lock) {
            let raise = &mut |_: &mut dyn storage::Tx| self.member.raise();
            // Busy is as good as contended.
            let _ = backend.transact(lock, 0, raise);
        }
    }

    /// Waits for the sessions that executed behind a fence that has fallen. They are done once
    /// every shard of the group has been locked. A script that runs for long is one of those that are
    /// waited for.
    fn wait_for_fallen(&self) -> Result<(), Fatal> {
        if self.member.has_fallen() {
            Part::lock(&self.engine, &self.part.shards(&self.engine), &mut |_| {})?;
            self.member.note_drained();
        }
        Ok(())
    }

    fn carry_out<F: Files>(
        &mut self,
        work: Work,
        means: &mut Means<'_, F>,
        watch: &mut dyn Watch,
    ) -> Result<(), Fatal> {
        let group = self.part.group;
        if let Some(base) = &work.restore {
            means.store.set_base(group, base)?;
        }
        if let Some(state) = work.hard_state.filter(|_| !self.config.flaws.has(Flaw::VoteNotKept)) {
            means.store.set_hard_state(group, state)?;
        }
        if !work.entries.is_empty() {
            watch.wrote(group, &work.entries);
            self.since += work.entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
            means.store.append(group, &work.entries)?;
        }
        self.send(work.messages, means);
        for action in work.actions {
            self.act(action, means)?;
        }
        if work.number == 0 {
            return Ok(());
        }
        let early = self.config.flaws.has(Flaw::AcknowledgedUnsynced);
        if early || !(work.must_sync || self.unsynced.is_some() || self.syncing.is_some()) {
            self.member.with(|group| group.persisted(work.number));
            self.send(work.after_sync, means);
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

    fn act<F: Files>(&mut self, action: Action, means: &mut Means<'_, F>) -> Result<(), Fatal> {
        if let Action::Restore(_) = action {
            if let Some(taking) = &mut self.taking {
                taking.lost = true;
            }
            self.member.close();
            self.wait_for_fallen()?;
        }
        match &mut self.restoring {
            Some(loading) => loading.push(action),
            None => self.perform(action, means)?,
        }
        Ok(())
    }

    /// Does an action, before which none waits.
    fn perform<F: Files>(&mut self, action: Action, means: &mut Means<'_, F>) -> Result<(), Fatal> {
        match action {
            Action::Restore(base) => {
                let restoring = Box::new(self.restoring(means.store, &base)?);
                self.restoring.get_or_insert_default().is_loaded = false;
                self.set_loading(true);
                means.out.push(Output::Restore(restoring));
                Ok(())
            }
            Action::Apply(batch) => match self.next_apply.take() {
                Some(Flaw::OneApart) => Ok(()),
                Some(_) => self.apply(&batch).and_then(|()| self.apply(&batch)),
                None => self.apply(&batch),
            },
            Action::Committed(batch) => self.committed(&batch),
            // The group is asked for its members when they are needed.
            Action::Members(_) => Ok(()),
        }
    }

    /// The snapshot of this base.
    fn source<F: Files>(
        &self,
        store: &mut SegmentStore<F>,
        base: &Base,
    ) -> Result<Box<dyn Read + Send>, Fatal> {
        Ok(match self.config.flaws.has(Flaw::TornSnapshot) {
            true => Box::new(std::io::Cursor::new(self.load_torn(base, store))),
            false if base.index == 0 => Box::new(std::io::empty()),
            false => {
                let opened = Snapshots(store.files()).open(self.part.group, base);
                Box::new(opened.map_err(Fatal::damaged)?)
            }
        })
    }

    /// Prepares the engine for the state of this base.
    fn restoring<F: Files>(
        &self,
        store: &mut SegmentStore<F>,
        base: &Base,
    ) -> Result<Restoring, Fatal> {
        let claims = match self.part.is_all {
            true => None,
            false => claims_in(BufReader::new(self.source(store, base)?))?,
        };
        let source = self.source(store, base)?;
        let at = self.member.inner.lock().positions.anew(base.seq);
        Restoring::new(self.engine.clone(), self.part.clone(), source, at, claims)
    }

    /// Takes a snapshot when one is due, and keeps it once its last entry is committed.
    fn snapshot<F: Files + Clone>(
        &mut self,
        means: &mut Means<'_, F>,
        watch: &mut dyn Watch,
    ) -> Result<(), Fatal> {
        if self.taking.is_none() && self.wants_snapshot() {
            self.take(means);
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
            (Some(base), Some(data)) => self.keep_own(base, data, means, watch),
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
        // All groups of a node share one log.
        let groups = u64::from(self.config.groups.max(1));
        let entries = match group.wants_snapshot() {
            true => 1,
            false => (self.config.snapshot_entries / groups).max(1),
        };
        let behind = group.applied().0 - group.base().index;
        let bytes = (self.config.snapshot_bytes / groups).max(self.snapshot);
        let is_due = behind >= entries || (behind > 0 && self.since >= bytes);
        drop(group);
        is_due && self.part.units.is_whole(self.part.group)
    }

    fn take<F: Files>(&mut self, means: &mut Means<'_, F>) {
        let mut cut = None;
        let member = &self.member;
        if !member.with(Group::may_cut) {
            return;
        }
        let at_cut = &mut || cut = member.with(Group::cut);
        let Ok(capture) = Capture::take(&self.engine, &self.part, at_cut) else {
            // The storage is writing another one (`BGSAVE`), and the log can wait.
            self.not_before_us = self.now_us() + SNAPSHOT_REST_US;
            return;
        };
        if cut.is_some() {
            let since = std::mem::take(&mut self.since);
            self.taking = Some(Taking { since, ..Taking::default() });
            means.out.push(Output::Capture(Box::new(capture)));
        }
    }

    fn keep_own<F: Files + Clone>(
        &mut self,
        base: Base,
        data: Bytes,
        means: &mut Means<'_, F>,
        watch: &mut dyn Watch,
    ) -> Result<(), Fatal> {
        let group = self.part.group;
        watch.kept(group, &base, &data);
        if self.config.flaws.has(Flaw::TornSnapshot) {
            self.taking = None;
            self.keep(&base, &data, means.store)?;
            return self.kept_own(&base, means.store);
        }
        self.snapshot = data.len() as u64;
        let files = means.store.files().clone();
        means.out.push(Output::Keep(Box::new(Keeping { group, files, base, data })));
        Ok(())
    }

    /// Records that a snapshot of this node is written, and drops from the log what it holds.
    fn kept_own<F: Files>(
        &mut self,
        base: &Base,
        store: &mut SegmentStore<F>,
    ) -> Result<(), Fatal> {
        let group = self.part.group;
        store.set_base(group, base)?;
        store.sync()?;
        self.member.with(|group| group.compact(base.clone()));
        Snapshots(store.files()).remove_before(group, base).map_err(StoreError::from)?;
        Ok(())
    }

    fn keep<F: Files>(
        &mut self,
        base: &Base,
        data: &[u8],
        store: &mut SegmentStore<F>,
    ) -> Result<(), StoreError> {
        self.snapshot = data.len() as u64;
        if self.config.flaws.has(Flaw::TornSnapshot) {
            return Ok(store.files().append(&self.torn_name(base), data)?);
        }
        Ok(Snapshots(store.files()).keep(self.part.group, base, data)?)
    }

    /// Reads the snapshot that the planted bug has written, whatever is left of it.
    fn load_torn<F: Files>(&self, base: &Base, store: &mut SegmentStore<F>) -> Vec<u8> {
        match base.index {
            0 => Vec::new(),
            // The group was founded with it.
            1 => Snapshots(store.files()).load(self.part.group, base).unwrap_or_default(),
            _ => store.files().read(&self.torn_name(base)).unwrap_or_default(),
        }
    }

    /// The file to which the planted bug writes a snapshot.
    fn torn_name(&self, base: &Base) -> String {
        format!("torn-{}-{}-{}", self.part.group, base.index, base.term)
    }

    fn send<F: Files>(&mut self, messages: Vec<Message>, means: &mut Means<'_, F>) {
        let group = self.part.group;
        for message in messages {
            match (message.kind, message.snapshot.clone()) {
                (MessageKind::Snapshot, Some(base)) => self.send_snapshot(message, &base, means),
                _ => {
                    let packet = Packet { group, message, data: None };
                    means.out.push(Output::Send(Box::new(packet)));
                }
            }
        }
    }

    fn send_snapshot<F: Files>(&mut self, message: Message, base: &Base, means: &mut Means<'_, F>) {
        let group = self.part.group;
        if self.config.flaws.has(Flaw::TornSnapshot) {
            let data = Some(State::Bytes(self.load_torn(base, means.store).into()));
            self.snapshot_sent(message.to, true);
            return means.out.push(Output::Send(Box::new(Packet { group, message, data })));
        }
        match Snapshots(means.store.files()).open(group, base) {
            Ok(reader) => means.out.push(Output::Snapshot(Box::new((group, message, reader)))),
            Err(_) => self.snapshot_sent(message.to, false),
        }
    }
}
