//! [`Node`]: what one thread drives: the groups of a node, with one log store, and one sync for all.
//!
//! [`Node::turn`] is to be called after every other call. It leaves in [`Node::out`] what its
//! driver has to do.

use crate::flaw::Flaws;
use crate::groups::Groups;
use crate::layout::{GROUPS_MAX, Layout};
use crate::member::{Clock, Kick};
use crate::output::{Fatal, Kept, Output, Packet, Watch};
use crate::replica::{Means, Replica};
use crate::state::{Captured, Contents, Part, Restored, contents_of_part};
use crate::units::{Due, Units};
use consensus::{Base, Files, Group, GroupId, LogStore, NodeId, Recovered, SegmentStore, Settings};
use consensus::{Snapshots, StoreError, TikvRaft, founded};
use engine::Engine;
use engine::cluster::Cluster;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The parameters of a node.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The seed that determines its election timeouts.
    pub seed: u64,
    /// The number of groups; zero for a node that does not know it yet, see [`Node::form`].
    pub groups: u16,
    /// The number of units in which slots are given to groups. It must be the same on all nodes.
    pub units: u16,
    /// The founders of the groups; empty for a node that joins later.
    pub founders: Vec<NodeId>,
    /// The addresses of nodes that clients are told, each `host:port`.
    pub addresses: BTreeMap<NodeId, Box<str>>,
    /// The parameters of each group, among them the node's identity.
    pub settings: Settings,
    /// The size in bytes at which a new segment of the log begins.
    pub segment_bytes: usize,
    /// The number of entries of a group after which a snapshot is taken.
    pub snapshot_entries: u64,
    /// The number of bytes of a group's effects after which a snapshot is taken.
    pub snapshot_bytes: u64,
    /// The planted bug, for the simulator.
    pub flaws: Flaws,
}

impl NodeConfig {
    /// The number of units in a server, as many as there may be groups.
    pub const UNITS: u16 = GROUPS_MAX;

    /// The seed of a group's election timeouts. They differ, so that a node that begins to campaign for
    /// one group need not do so for all.
    pub(crate) fn seed_of(&self, group: GroupId) -> u64 {
        self.seed.wrapping_add((group - crate::FIRST_GROUP).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// An open log with its groups. An engine that uses them as its journal is still to be made.
pub struct Opened<F: Files> {
    config: Arc<NodeConfig>,
    store: SegmentStore<F>,
    /// For each group the base of its log, and whether it was there before.
    found: Vec<(Base, bool)>,
    clock: Clock,
    /// The groups, which are the engine's journal.
    pub groups: Arc<Groups>,
}

/// A node, driven by calls from one thread.
pub struct Node<F: Files> {
    config: Arc<NodeConfig>,
    groups: Arc<Groups>,
    engine: Arc<Engine>,
    store: SegmentStore<F>,
    clock: Clock,
    replicas: Vec<Replica>,
    /// Whether the driver has been asked for a sync.
    syncing: bool,
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
        let config = Arc::new(config);
        let (id, ways) = (config.settings.id, (clock.clone(), kick));
        let groups = Arc::new(Groups::new(id, config.addresses.clone(), ways, config.flaws));
        let found = match config.groups {
            0 => Vec::new(),
            count => open_groups(&config, &mut store, &groups, count, &clock)?,
        };
        Ok(Opened { config, store, found, clock, groups })
    }

    /// Starts the node. The journal of `engine` must be [`Opened::groups`], and its storage empty.
    ///
    /// # Errors
    /// Fails if the last snapshots cannot be loaded.
    pub fn start(self, engine: Arc<Engine>) -> Result<Node<F>, Fatal> {
        let groups = self.groups.clone();
        self.start_behind(engine, groups)
    }

    /// Like [`Opened::start`], but with `cluster` in front of the groups as the engine's view of
    /// the cluster.
    ///
    /// # Errors
    /// Fails if the last snapshots cannot be loaded.
    pub fn start_behind(
        self,
        engine: Arc<Engine>,
        cluster: Arc<dyn Cluster>,
    ) -> Result<Node<F>, Fatal> {
        let Opened { config, mut store, found, clock, groups } = self;
        engine.join(cluster);
        Snapshots(store.files()).sweep().map_err(StoreError::from)?;
        let (replicas, out) = (Vec::new(), Vec::new());
        let mut node = Node { config, groups, engine, store, clock, replicas, syncing: false, out };
        node.replicate(&found)?;
        Ok(node)
    }
}

impl<F: Files + Clone> Node<F> {
    /// Makes a replica of each group, and loads its last snapshot.
    fn replicate(&mut self, found: &[(Base, bool)]) -> Result<(), Fatal> {
        let Some(units) = self.groups.all_units().cloned() else { return Ok(()) };
        for (member, (base, restarted)) in self.groups.members().iter().zip(found) {
            let (group, is_only) = (member.group_id(), found.len() == 1);
            let part = Part::of(&self.engine, group, units.clone(), is_only)?;
            let (config, engine) = (self.config.clone(), self.engine.clone());
            let replica = Replica::new(config, member.clone(), engine, part, *restarted);
            replica.load(&mut self.store, base)?;
            self.replicas.push(replica);
        }
        Ok(())
    }

    /// Has a group take a unit of slots from the group that has it. Returns false if that cannot be asked
    /// for here and now: the group is not led here, or not ready.
    pub fn move_unit(&mut self, unit: u16, to: GroupId) -> bool {
        let is_there = unit < self.groups.units();
        is_there && self.at(to, |replica, _| replica.want(unit)).unwrap_or(false)
    }

    /// Has the groups that are led here no longer want a unit of slots. One that was given away already
    /// arrives all the same. Returns false if a group is not ready to say so and it is to be tried again.
    pub fn keep_unit(&mut self, unit: u16) -> bool {
        let said = self.replicas.iter_mut().map(|replica| replica.waive(unit));
        said.filter(|said| !said).count() == 0
    }

    /// The units that other groups want and that groups which are led here do not give away, because
    /// they are too large.
    pub fn too_large(&self) -> Vec<u16> {
        let due = self.groups.all_units().map(|units| units.due()).unwrap_or_default();
        let of = |group: GroupId| self.replicas.get((group - crate::FIRST_GROUP) as usize);
        let is_large = |due| match due {
            Due::Release { by, unit, .. } => {
                of(by).is_some_and(|it| it.member().is_open() && !it.is_small(unit)).then_some(unit)
            }
            _ => None,
        };
        let mut large: Vec<u16> = due.into_iter().filter_map(is_large).collect();
        large.dedup();
        large
    }

    /// Does what is due for the moves that are under way. Returns whether anything was appended to a log.
    fn advance_moves(&mut self) -> Result<bool, Fatal> {
        let due = self.groups.all_units().map(|units| units.due()).unwrap_or_default();
        let mut appended = false;
        for due in due {
            // Nobody serves a unit that nobody takes.
            if let Due::Release { to, .. } = due
                && self.groups.member(to).is_none_or(|member| member.leader().is_none())
            {
                continue;
            }
            let done = self.at(due.by(), |replica, _| replica.advance(due));
            appended |= done.unwrap_or(Ok(false))?;
        }
        Ok(appended)
    }

    /// The data of a group's units and which these are, for comparisons; `None` while some are missing
    /// here, because another group has acquired them since or they are being moved.
    ///
    /// # Errors
    /// Fails if the storage does.
    pub fn contents(&self, group: GroupId) -> storage::Result<Option<Contents>> {
        let place = group.checked_sub(crate::FIRST_GROUP).map(|place| place as usize);
        let replica = place.and_then(|place| self.replicas.get(place));
        let replica = replica.filter(|it| it.part.is_all || it.part.units.is_whole(group));
        replica.map(|it| contents_of_part(&self.engine, &it.part)).transpose()
    }

    /// Tells a node that did not know it how many groups there are. Does nothing for one that did.
    ///
    /// # Errors
    /// Fails if the disk does.
    pub fn form(&mut self, groups: u16) -> Result<(), Fatal> {
        if !self.replicas.is_empty() || groups == 0 {
            return Ok(());
        }
        let Node { config, store, groups: formed, clock, .. } = self;
        let found = open_groups(config, store, formed, groups, clock)?;
        Arc::make_mut(config).groups = groups;
        self.replicate(&found)
    }

    /// Whether the node knows how many groups there are.
    pub fn is_formed(&self) -> bool {
        !self.replicas.is_empty()
    }

    /// The groups of the node, as sessions see them.
    pub fn groups(&self) -> &Arc<Groups> {
        &self.groups
    }

    /// The engine of the node.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Founds `groups` groups with this node as their only member, unless the node belongs to a
    /// cluster already. Returns whether it did. The first group is founded last: without it, founding
    /// is not done, and may be continued.
    ///
    /// # Errors
    /// Fails if the disk does.
    pub fn found(&mut self, groups: u16) -> Result<bool, Fatal> {
        self.form(groups)?;
        let is_blank = |replica: &Replica| replica.member().group().is_blank();
        if !self.replicas.first().is_some_and(is_blank) {
            return Ok(false);
        }
        for replica in self.replicas.iter_mut().rev() {
            replica.found(&mut self.store)?;
        }
        Ok(true)
    }

    /// Runs `what` on a replica, if there is one of this group.
    fn at<R>(
        &mut self,
        group: GroupId,
        what: impl FnOnce(&mut Replica, &mut Means<'_, F>) -> R,
    ) -> Option<R> {
        let Node { store, out, replicas, .. } = self;
        let place = group.checked_sub(crate::FIRST_GROUP)? as usize;
        Some(what(replicas.get_mut(place)?, &mut Means { store, out }))
    }

    /// Handles a message of another node. One for a group that the node does not know is lost.
    ///
    /// # Errors
    /// An error ends the node.
    pub fn receive(&mut self, packet: Packet) -> Result<(), Fatal> {
        self.at(packet.group, |replica, means| replica.receive(packet, means)).unwrap_or(Ok(()))
    }

    /// Takes the result of a [`Restoring`](crate::Restoring). What has become due meanwhile is done in
    /// the next turns.
    ///
    /// # Errors
    /// Passes on its error, which ends the node.
    pub fn restored(&mut self, restored: Restored) -> Result<(), Fatal> {
        self.at(restored.group, |replica, _| replica.restored(restored)).unwrap_or(Ok(()))
    }

    /// Reports that a tick has passed.
    pub fn tick(&mut self) {
        self.replicas.iter_mut().for_each(Replica::tick);
        self.step_aside();
    }

    /// A node that was removed from a group no longer hears what that one gives and takes. It hands over
    /// the groups that it still leads, to members of all.
    fn step_aside(&self) {
        let members = self.groups.members();
        if members.len() < 2 || !members.iter().any(|it| it.group().is_removed()) {
            return;
        }
        let belongs =
            |id: &NodeId| members.iter().all(|it| it.group().members().all().contains(id));
        for member in members {
            let (hands_over, successors) = {
                let group = member.group();
                (group.status().hands_over, group.successors())
            };
            if let Some(to) = successors.into_iter().find(belongs).filter(|_| !hands_over) {
                // Only a node that does not lead refuses.
                let _ = member.with(|group| group.transfer(to));
            }
        }
    }

    /// See [`Group::take_over`].
    pub fn take_over(&mut self, group: GroupId, silent: bool) {
        self.at(group, |replica, _| replica.take_over(silent));
    }

    /// Ends a turn in which commands were executed.
    pub fn flush(&mut self) {
        self.replicas.iter_mut().for_each(Replica::flush);
    }

    /// Syncs the disk, which was asked for by [`Output::Sync`] and takes some time.
    ///
    /// # Errors
    /// Fails if the disk does; then nobody knows what is on it.
    pub fn synced(&mut self) -> Result<(), Fatal> {
        if std::mem::take(&mut self.syncing) {
            self.store.sync()?;
            let Node { store, out, replicas, .. } = self;
            let mut means = Means { store, out };
            replicas.iter_mut().for_each(|replica| replica.synced(&mut means));
        }
        Ok(())
    }

    /// Takes the result of a capture.
    ///
    /// # Errors
    /// Passes on the error of the capture.
    pub fn captured(&mut self, captured: Captured) -> Result<(), Fatal> {
        self.at(captured.group, |replica, _| replica.captured(captured)).unwrap_or(Ok(()))
    }

    /// Reports that sending a snapshot of a group to a member has ended; `ok` says whether it arrived.
    pub fn snapshot_sent(&mut self, group: GroupId, to: NodeId, ok: bool) {
        self.at(group, |replica, _| replica.snapshot_sent(to, ok));
    }

    /// Takes the result of writing a snapshot.
    ///
    /// # Errors
    /// Fails if the disk does, unless it was full. In that case the log is kept and another attempt
    /// is made later.
    pub fn kept(&mut self, kept: Kept) -> Result<(), Fatal> {
        self.at(kept.group, |replica, means| replica.kept(kept, means)).unwrap_or(Ok(()))
    }

    /// Does the pending work.
    ///
    /// # Errors
    /// An error ends the node.
    pub fn turn(&mut self, watch: &mut dyn Watch) -> Result<(), Fatal> {
        loop {
            let Node { store, out, replicas, .. } = self;
            let mut means = Means { store, out };
            for replica in replicas.iter_mut() {
                replica.turn(&mut means, watch)?;
            }
            if !self.advance_moves()? {
                break;
            }
        }
        if !self.syncing {
            // Not `any`: all that is written is synced.
            let replicas = &mut self.replicas;
            let begun =
                replicas.iter_mut().filter_map(|replica| replica.begin_sync().then_some(()));
            self.syncing = begun.count() > 0;
            if self.syncing {
                self.out.push(Output::Sync);
            }
        }
        Ok(())
    }

    /// The first group.
    #[cfg(test)]
    pub(crate) fn member(&self) -> &Arc<crate::Member> {
        self.replicas[0].member()
    }

    /// Does a step of a move, though it may not be due.
    #[cfg(test)]
    pub(crate) fn advance(&mut self, due: Due) -> Result<bool, Fatal> {
        self.at(due.by(), |replica, _| replica.advance(due)).unwrap_or(Ok(false))
    }

    #[cfg(test)]
    pub(crate) fn set_bounds(&mut self, bounds: crate::loading::Bounds) {
        self.replicas.iter_mut().for_each(|replica| replica.bounds = bounds);
    }
}

/// Opens the logs of `count` groups, and forms them. Returns for each the base of its log, and whether
/// it was there before.
fn open_groups<F: Files>(
    config: &NodeConfig,
    store: &mut SegmentStore<F>,
    groups: &Groups,
    count: u16,
    clock: &Clock,
) -> Result<Vec<(Base, bool)>, Fatal> {
    let layout = Layout::new(count, config.units);
    let mut recovered = store.recovered();
    let known = |group: &GroupId| layout.groups().any(|it| it == *group);
    if !recovered.keys().all(known) {
        return Err(Fatal::damaged("it has more groups than the cluster"));
    }
    let (mut found, mut members) = (Vec::new(), Vec::new());
    for group in layout.groups() {
        let there = recovered.remove(&group);
        let restarted = there.is_some();
        let there = match there {
            Some(there) => there,
            None if config.founders.is_empty() => Recovered::default(),
            None => found_by(group, config.founders.iter().copied(), store)?,
        };
        let base = there.base.clone();
        let raft = TikvRaft::new(config.settings.id, config.seed_of(group), there)
            .ok_or_else(|| Fatal::damaged("it contradicts itself"))?;
        let made = Group::new(raft, config.settings.clone(), restarted, clock().mono_us);
        members.push(Arc::new(groups.member_of(group, count == 1, made)));
        found.push((base, restarted));
    }
    groups.form(Arc::new(Units::new(layout, config.flaws)), members);
    Ok(found)
}

/// Writes the first log of a group, and the empty snapshot that it begins behind.
pub(crate) fn found_by<F: Files>(
    group: GroupId,
    founders: impl IntoIterator<Item = NodeId>,
    store: &mut SegmentStore<F>,
) -> Result<Recovered, StoreError> {
    let found = founded(founders);
    Snapshots(store.files()).keep(group, &found.base, &[])?;
    store.set_base(group, &found.base)?;
    store.sync()?;
    Ok(found)
}
