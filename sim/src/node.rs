//! A node: a real engine as a real member of a group, with a session for each operation of a
//! client.

use crate::command::{Answer, Command, address};
use crate::digest::Digest;
use crate::oracle::Oracle;
use crate::planted::Planted;
use consensus::testing::Disk;
use consensus::{
    Base, Entry, Faults, GroupId, Message, NodeId, Settings, SnapshotReader, TikvRaft,
};
use engine::config::ConfigStore;
use engine::{Engine, Environment, NoHost, Parts, Session};
use member::{Contents, Flaws, Groups, Layout, Member, Output as Wanted, Packet, State};
use runtime::{Connection, Now, Peer};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Wake, Waker};
use storage::rdb::Object;
use storage::{Backend, Locks};
use storage_memory::{BySlot, Config, MemoryBackend};

/// The size of a log segment in bytes. It is small, so that segments come and go.
const SEGMENT: usize = 4_096;

/// The number of shards of the storage. It is small, so that keys share shards.
const SHARDS: u32 = 4;

/// The number of units of slots: whole shards.
pub const UNITS: u16 = SHARDS as u16;

/// Which group has which slots at first, if there are so many.
pub fn layout(groups: u16) -> Layout {
    Layout::new(groups, UNITS)
}

/// An action that a node asks the simulated world for.
#[derive(Debug)]
pub enum Output {
    /// Send a message to another node.
    Send(Box<Packet>),
    /// Sync the disk, which takes some time.
    Sync,
    /// Send the answer to an operation to its client.
    Answer(u64, Answer),
}

/// The parameters of a node.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The identity of the node.
    pub id: NodeId,
    /// The seed that determines its election timeouts.
    pub seed: u64,
    /// The number of groups.
    pub groups: u16,
    /// The founders of the groups; empty for a node that joins later.
    pub founders: Vec<NodeId>,
    /// The planted bug.
    pub planted: Option<Planted>,
    /// The number of entries after which it takes a snapshot.
    pub snapshot_every: u64,
}

/// A bound above all identities of nodes.
const NODES_MAX: NodeId = 16;

impl NodeConfig {
    fn of_member(&self) -> member::NodeConfig {
        let faults = Faults::of(self.planted.and_then(Planted::of_group));
        let settings =
            Settings { faults, behind: 20, window_batches: 200, ..Settings::new(self.id) };
        member::NodeConfig {
            seed: self.seed,
            groups: self.groups,
            units: UNITS,
            founders: self.founders.clone(),
            addresses: (1..NODES_MAX).map(|id| (id, address(id))).collect(),
            settings,
            segment_bytes: SEGMENT,
            snapshot_entries: self.snapshot_every,
            snapshot_bytes: u64::MAX,
            flaws: Flaws::of(self.planted.and_then(Planted::of_member)),
        }
    }
}

/// A node's clocks, which are set before each event.
#[derive(Debug, Default)]
struct Time {
    wall_ms: AtomicU64,
    mono_us: AtomicU64,
}

impl Time {
    fn set(&self, wall_ms: u64, mono_us: u64) {
        self.wall_ms.store(wall_ms, Ordering::Relaxed);
        self.mono_us.store(mono_us, Ordering::Relaxed);
    }

    fn now(&self) -> Now {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Now { wall_ms: of(&self.wall_ms), mono_us: of(&self.mono_us) }
    }
}

#[derive(Default)]
struct Alarm(AtomicBool);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// An operation of a client, on a connection of its own.
struct Asked {
    command: Command,
    session: Session,
    alarm: Arc<Alarm>,
    received: Vec<u8>,
}

/// A running node.
pub struct Node {
    config: NodeConfig,
    inner: member::Node<Disk>,
    time: Arc<Time>,
    /// Operations without an answer, by number.
    asked: BTreeMap<u64, Asked>,
    /// For each group the index of the last entry behind which the state was compared with those of
    /// other nodes.
    compared: BTreeMap<GroupId, u64>,
    /// The actions that it asks for.
    pub out: Vec<Output>,
}

impl Node {
    /// Starts a node on a new disk, or from the data on its disk. `wall` is in milliseconds, `now`
    /// in microseconds.
    pub fn start(config: NodeConfig, disk: Disk, wall: u64, now: u64) -> Result<Node, String> {
        let time = Arc::new(Time::default());
        time.set(wall, now);
        let clock = time.clone();
        let clock = Arc::new(move || clock.now());
        let mut of_member = config.of_member();
        of_member.settings.nonce = now;
        let opened = member::Opened::open(of_member, disk, clock, Arc::new(|| {}));
        let opened = opened.map_err(|error| error.to_string())?;
        let engine = engine_of(&config, opened.groups.clone(), time.now());
        let inner = opened.start(engine).map_err(|error| error.to_string())?;
        let (asked, compared) = (BTreeMap::new(), BTreeMap::new());
        Ok(Node { config, inner, time, asked, compared, out: Vec::new() })
    }

    /// All groups of the node.
    pub fn members(&self) -> &[Arc<Member>] {
        self.inner.groups().members()
    }

    /// The node as a member of a group.
    pub fn member(&self, group: GroupId) -> &Member {
        self.inner.groups().member(group).expect("every node has every group")
    }

    /// Sets the clocks: `wall` in milliseconds, `now` in microseconds.
    pub fn set_time(&self, wall: u64, now: u64) {
        // Commands are executed at the groups' time, which never goes back.
        let wall = self.members().iter().fold(wall, |wall, it| it.group().time(wall));
        self.time.set(wall, now);
    }

    /// Handles a message of another node.
    pub fn receive(&mut self, packet: Packet) -> Result<(), String> {
        self.inner.receive(packet).map_err(|error| error.to_string())
    }

    /// Executes a command of a client.
    pub fn command(&mut self, operation: u64, command: Command) {
        let (alarm, now) = (Arc::new(Alarm::default()), self.time.now());
        let peer = Peer::Unix(String::new());
        let engine = self.inner.engine().clone();
        let mut session = Session::new(engine, peer, Waker::from(alarm.clone()), now);
        session.receive(&command.encode(), now);
        let mut asked = Asked { command, session, alarm, received: Vec::new() };
        if let Some(answer) = asked.collect(now) {
            return self.out.push(Output::Answer(operation, answer));
        }
        self.asked.insert(operation, asked);
    }

    /// A tick has passed.
    pub fn tick(&mut self) {
        self.inner.tick();
        if self.config.planted == Some(Planted::FollowerExpires) {
            let members = self.members().iter();
            members.filter(|it| it.group().led().is_err()).for_each(|it| self.expire(it));
        }
    }

    /// The planted bug: a follower deletes what has expired by its own clock.
    fn expire(&self, member: &Member) {
        let backend: &dyn Backend = &*self.inner.engine().backend;
        let slots = self.inner.groups().slots(member.group_id());
        let shards = slots.into_iter().filter_map(|slots| backend.shards_of_slots(slots));
        for shard in shards.flatten() {
            let _ = backend.transact(Locks::One(shard), self.time.now().wall_ms, &mut |tx| {
                let _ = tx.expire_due(shard, 64);
                tx.expired().clear();
            });
        }
    }

    /// It is told to lead a group: by asking the leader or, if it is `forced`, the others.
    pub fn take_over(&mut self, group: GroupId, forced: bool) {
        self.inner.take_over(group, forced);
    }

    /// Ends a turn in which commands were executed.
    pub fn flush(&mut self) {
        self.inner.flush();
    }

    /// Reports that the sync has finished.
    pub fn synced(&mut self) -> Result<(), String> {
        self.inner.synced().map_err(|error| error.to_string())
    }

    /// Does the pending work. An error ends the process.
    pub fn turn(&mut self, oracle: &mut Oracle) -> Result<(), String> {
        while self.work(oracle).map_err(|error| error.to_string())? {}
        for member in self.inner.groups().clone().members() {
            self.compare(member, oracle)?;
        }
        self.answer();
        Ok(())
    }

    /// Compares the state of a group with those of other nodes, if all of it is committed.
    fn compare(&mut self, member: &Member, oracle: &mut Oracle) -> Result<(), String> {
        let (id, of) = (self.config.id, member.group_id());
        let group = member.group();
        oracle.at(of, |judge| judge.look::<TikvRaft>(id, &group));
        let ((index, _, seq), settled) = (group.applied(), group.is_settled());
        drop(group);
        let compared = self.compared.entry(of).or_default();
        if settled && index > *compared {
            let contents = self.inner.contents(of).map_err(|error| error.to_string())?;
            let Some(contents) = contents else { return Ok(()) };
            *compared = index;
            let digest = digest(contents);
            oracle.at(of, |judge| judge.state(id, index, digest, seq));
        }
        Ok(())
    }

    /// Has a group take a unit of slots, if this node leads it.
    pub fn move_unit(&mut self, unit: u16, to: GroupId) {
        self.inner.move_unit(unit, to);
    }

    /// Has the groups that this node leads no longer want a unit of slots.
    pub fn keep_unit(&mut self, unit: u16) {
        self.inner.keep_unit(unit);
    }

    /// A unit of slots that is being moved or is to be, as far as this node knows.
    pub fn moving_unit(&self) -> Option<u16> {
        let groups = self.inner.groups();
        (0..groups.units()).find(|unit| groups.moves(groups.slots_of_unit(*unit).start))
    }

    /// Does the pending work once. Returns whether more is pending now.
    fn work(&mut self, oracle: &mut Oracle) -> Result<bool, member::Fatal> {
        let groups = self.inner.groups().clone();
        self.inner.turn(&mut Watch { id: self.config.id, groups, oracle })?;
        let mut more = false;
        for wanted in std::mem::take(&mut self.inner.out) {
            match wanted {
                Wanted::Send(packet) => self.out.push(Output::Send(packet)),
                Wanted::Sync => self.out.push(Output::Sync),
                Wanted::Capture(capture) => self.inner.captured(capture.run())?,
                Wanted::Keep(keeping) => self.inner.kept(keeping.run())?,
                Wanted::Restore(restoring) => {
                    self.inner.restored(restoring.run())?;
                    more = true;
                }
                Wanted::Snapshot(wanted) => self.send_snapshot(*wanted),
                Wanted::Full => {}
            }
        }
        Ok(more)
    }

    /// Reads a snapshot, which is then sent as one message.
    fn send_snapshot(&mut self, wanted: (GroupId, Message, SnapshotReader)) {
        let (group, message, mut snapshot) = wanted;
        let most = snapshot.length() as usize;
        let data = snapshot.piece(most).map(|piece| piece.unwrap_or_default().into());
        self.inner.snapshot_sent(group, message.to, data.is_ok());
        if let Ok(data) = data {
            let data = Some(State::Bytes(data));
            self.out.push(Output::Send(Box::new(Packet { group, message, data })));
        }
    }

    /// Resumes the sessions that were woken, and collects the answers that are decided.
    fn answer(&mut self) {
        let now = self.time.now();
        let woken = |it: &Asked| it.alarm.0.swap(false, Ordering::SeqCst);
        let woken: Vec<u64> = self
            .asked
            .iter()
            .filter(|(_, it)| woken(it))
            .map(|(operation, _)| *operation)
            .collect();
        for operation in woken {
            let Some(asked) = self.asked.get_mut(&operation) else { continue };
            asked.session.resume(now);
            if let Some(answer) = asked.collect(now) {
                self.asked.remove(&operation);
                self.out.push(Output::Answer(operation, answer));
            }
        }
    }
}

impl Asked {
    /// Collects the output that may be written. Returns the answer once it is complete, and closes
    /// the session.
    fn collect(&mut self, now: Now) -> Option<Answer> {
        self.session.before_write(now);
        let output = self.session.output();
        let bytes = output.to_vec();
        output.consume(bytes.len());
        self.session.written();
        self.received.extend_from_slice(&bytes);
        let (mut replies, mut at) = (Vec::new(), 0);
        while let Ok(Some((reply, used))) = resp::decode(&self.received[at..]) {
            replies.push(reply);
            at += used;
        }
        if replies.len() < self.command.replies() {
            return None;
        }
        self.session.closed(now);
        Some(self.command.answer(&replies))
    }
}

/// Passes what the node writes and keeps to the oracle.
struct Watch<'o> {
    id: NodeId,
    groups: Arc<Groups>,
    oracle: &'o mut Oracle,
}

impl member::Watch for Watch<'_> {
    fn wrote(&mut self, group: GroupId, entries: &[Entry]) {
        self.oracle.at(group, |judge| judge.wrote(self.id, entries));
    }

    fn kept(&mut self, group: GroupId, base: &Base, data: &[u8]) {
        // The node may have learnt in this very turn that the entry is committed.
        let member = self.groups.member(group).expect("it keeps a snapshot of this group");
        self.oracle.at(group, |judge| judge.look::<TikvRaft>(self.id, &member.group()));
        match member::contents_in(data) {
            Ok(contents) => {
                self.oracle.at(group, |judge| judge.kept(self.id, base, digest(contents)));
            }
            Err(error) => self.oracle.blame(format!("node {} keeps a snapshot: {error}", self.id)),
        }
    }
}

fn engine_of(config: &NodeConfig, groups: Arc<Groups>, started: Now) -> Arc<Engine> {
    let storage = Config { shards: SHARDS, databases: 1, ..Config::default() };
    let seed = config.seed ^ config.id;
    let environment = Environment { stopwatch: || 0, seed, started, host: Arc::new(NoHost) };
    let parts = Parts {
        backend: Arc::new(BySlot::new(MemoryBackend::new(storage), engine::commit::slot)),
        journal: Some(groups),
        config: Arc::new(ConfigStore::new()),
        commands: commands::all(),
        environment,
    };
    Engine::new(parts).expect("built-in commands have distinct names")
}

/// A digest of the state. Different states hardly ever have the same digest.
fn digest(contents: Contents) -> u64 {
    let mut digest = Digest::default();
    for (key, value) in contents {
        digest.bytes(&key);
        digest.add(value.0.unwrap_or(0));
        match value.1 {
            Object::String(bytes) => digest.bytes(&bytes),
            Object::List(items) => items.iter().for_each(|item| digest.bytes(item)),
            other => digest.bytes(format!("{other:?}").as_bytes()),
        }
    }
    digest.value()
}
