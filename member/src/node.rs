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
use crate::state::{Captured, Part, Restored};
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
        for (member, (base, restarted)) in self.groups.members().iter().zip(found) {
            let group = member.group_id();
            let part = Part::of(&self.engine, group, self.groups.slots(group))?;
            let (config, engine) = (self.config.clone(), self.engine.clone());
            let replica = Replica::new(config, member.clone(), engine, part, *restarted);
            replica.load(&mut self.store, base)?;
            self.replicas.push(replica);
        }
        Ok(())
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
        let Node { store, out, replicas, .. } = self;
        let mut means = Means { store, out };
        for replica in replicas.iter_mut() {
            replica.turn(&mut means, watch)?;
        }
        if !self.syncing {
            // Not `any`: all that is written is synced.
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
    if recovered.keys().any(|group| layout.slots(*group).is_empty()) {
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
    groups.form(layout, members);
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
