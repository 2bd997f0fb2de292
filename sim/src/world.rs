//! The simulated world: one thread, one queue of events, one seed.

use crate::client::Clients;
use crate::command::{Answer, Command};
use crate::digest::Digest;
use crate::nemesis::Operator;
use crate::network::Network;
use crate::node::{Node, NodeConfig, Output, layout};
use crate::oracle::Oracle;
use crate::planted::Planted;
use consensus::testing::{Disk, Numbers};
use consensus::{GroupId, NodeId, Role};
use member::{Layout, Packet};
use std::collections::BTreeMap;

/// The time until which faults occur, in microseconds.
pub const CHAOS: u64 = 8_000_000;

/// The time until which slots are moved, in microseconds.
pub const MOVES: u64 = 12_000_000;

/// The time from which clients only read, in microseconds.
const READS: u64 = 13_000_000;

/// The time at which the last committed entry is noted; every member must have applied it at the
/// end. In microseconds.
const LATE: u64 = 14_000_000;

/// The time at which the run ends, in microseconds.
const END: u64 = 15_000_000;

/// The number of answers that clients must get between [`READS`] and [`END`].
const PROGRESS: u64 = 20;

/// The time after which a client gives up waiting, in microseconds.
const PATIENCE: u64 = 1_500_000;

/// The wall clock at the start of a run, in milliseconds.
const EPOCH: u64 = 1_700_000_000_000;

/// An event of the simulation. The second number of an event of a node says in which of its lives
/// it counts.
#[derive(Debug, Clone)]
pub enum Event {
    /// A node's tick.
    Tick(NodeId, u64),
    /// The end of a turn in which commands were executed.
    Flush(NodeId, u64),
    /// A node's sync has finished.
    Synced(NodeId, u64),
    /// A message arrives.
    Deliver(Box<Packet>),
    /// A client chooses its next command.
    Ask(usize),
    /// A client's command arrives at a node.
    Request(usize, u64, NodeId, Command),
    /// An answer arrives at a client.
    Answer(usize, u64, Answer),
    /// A client gives up waiting for an answer.
    GiveUp(usize, u64),
    /// A node starts.
    Start(NodeId),
    /// A node is told to lead a group; whether it may not ask the leader.
    TakeOver(NodeId, GroupId, bool),
    /// A paused node continues.
    Resume(NodeId),
    /// The operator takes its next step.
    Operate,
    /// A unit of slots is moved to another group.
    Move,
    /// A node no longer wants a unit of slots for the groups that it leads.
    Waive(NodeId, u16),
    /// A fault occurs.
    Fault,
    /// The second half of [`World::bridge`].
    Betray(NodeId, NodeId),
    /// Cuts, message loss and disk failures end.
    Mend,
    /// All faults end for good.
    Heal,
    /// Clients only read from now on, see [`READS`].
    OnlyReads,
    /// The last committed entry is noted, see [`LATE`].
    NoteCommit,
}

/// A machine, on which a node may be running.
pub struct Machine {
    /// The parameters of its node.
    pub config: NodeConfig,
    /// Its disk.
    pub disk: Disk,
    /// Its node, while it runs.
    pub node: Option<Node>,
    /// The number of starts. Events for an earlier life are ignored.
    pub life: u64,
    /// The events that arrived while it is paused; `None` if it is not.
    pub held: Option<Vec<Event>>,
    /// Whether it never comes back.
    pub gone: bool,
    /// The speed of its clock, in millionths of the real one.
    rate: u64,
    /// The error of its wall clock, in milliseconds.
    pub wall: i64,
    /// Whether what it executes is proposed late.
    pub slow: bool,
    flush_due: bool,
}

impl Machine {
    /// Its monotonic clock, in microseconds.
    fn now(&self, now: u64) -> u64 {
        (u128::from(now) * u128::from(self.rate) / 1_000_000) as u64
    }

    /// Its wall clock, in milliseconds.
    fn wall(&self, now: u64) -> u64 {
        (EPOCH + self.now(now) / 1_000).saturating_add_signed(self.wall)
    }
}

/// The state of a run.
pub struct World {
    /// The time since the start of the run, in microseconds.
    pub now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    count: u64,
    /// All machines that ever existed.
    pub machines: BTreeMap<NodeId, Machine>,
    /// The network between them.
    pub network: Network,
    /// The source of all random choices.
    pub numbers: Numbers,
    /// The invariants, which see the state of all nodes.
    pub oracle: Oracle,
    /// The clients and their history.
    pub clients: Clients,
    /// The operator who changes the membership.
    pub operator: Operator,
    /// Whether faults are over for good.
    pub healed: bool,
    /// Whether clients only read for the time being.
    pub quiet: bool,
    only_reads: bool,
    answered_before: u64,
    /// For each group its last committed entry, see [`LATE`].
    late: BTreeMap<GroupId, u64>,
    /// Which group has which slots at first.
    pub layout: Layout,
    /// The group in which faults occur that need a leader.
    pub focus: GroupId,
    digest: Digest,
    seed: u64,
    planted: Option<Planted>,
}

impl World {
    /// The world at the start of the run of `seed`.
    pub fn new(seed: u64, planted: Option<Planted>) -> World {
        let mut numbers = Numbers::new(seed);
        let size = if numbers.one_in(3) { 5 } else { 3 };
        let layout = layout(1 + (seed % 3) as u16);
        let mut world = World {
            now: 0,
            queue: BTreeMap::new(),
            count: 0,
            machines: BTreeMap::new(),
            network: Network::good(),
            oracle: Oracle::default(),
            clients: Clients::new(5),
            operator: Operator::new(size + 1),
            healed: false,
            quiet: false,
            only_reads: false,
            answered_before: 0,
            late: BTreeMap::new(),
            layout,
            focus: member::FIRST_GROUP,
            digest: Digest::default(),
            seed,
            planted,
            numbers,
        };
        let founders: Vec<NodeId> = (1..=size).collect();
        for id in 1..=size {
            world.add_host(id, founders.clone());
        }
        for client in 0..world.clients.all.len() {
            let target = 1 + world.numbers.below(size);
            world.clients.all[client].ask_everything_of(target);
            world.after(300_000, Event::Ask(client));
        }
        world.after(500_000, Event::Fault);
        world.after(200_000, Event::Operate);
        world.after(400_000, Event::Move);
        world.after(CHAOS, Event::Heal);
        world.after(READS, Event::OnlyReads);
        world.after(LATE, Event::NoteCommit);
        world
    }

    /// Adds a machine with an empty disk; its node starts at once.
    pub fn add_host(&mut self, id: NodeId, founders: Vec<NodeId>) {
        let config = NodeConfig {
            id,
            seed: self.seed,
            groups: self.layout.groups().count() as u16,
            founders,
            planted: self.planted,
            snapshot_every: 10 + self.numbers.below(60),
        };
        let rate = 970_000 + self.numbers.below(60_001);
        let machine = Machine {
            config,
            disk: Disk::default(),
            node: None,
            life: 0,
            held: None,
            gone: false,
            rate,
            wall: 0,
            slow: false,
            flush_due: false,
        };
        self.machines.insert(id, machine);
        self.after(self.count % 50, Event::Start(id));
    }

    /// Schedules an event in `delay` microseconds.
    pub fn after(&mut self, delay: u64, event: Event) {
        self.count += 1;
        self.queue.insert((self.now + delay, self.count), event);
    }

    /// Runs until the end or the first violation. Returns a digest of all events.
    pub fn run(&mut self) -> u64 {
        while let Some(((now, count), event)) = self.queue.pop_first() {
            if now > END || self.oracle.violation.is_some() {
                break;
            }
            self.now = now;
            self.digest.add(now ^ count << 40);
            self.happen(event);
        }
        if self.oracle.violation.is_none() {
            self.judge();
        }
        self.digest.value()
    }

    /// Checks at the end that clients were served and that every member has applied what was
    /// committed.
    fn judge(&mut self) {
        let served = self.clients.answered - self.answered_before;
        if served < PROGRESS {
            self.oracle
                .blame(format!("after the faults only {served} answers: {}", self.describe()));
        }
        self.judge_moves();
        for (group, late) in self.late.clone() {
            let leader = self.leader_of(group);
            let members = leader.map(|(_, node)| node.member(group).group().members().all());
            let applied = |id: &NodeId| {
                let node = self.machines.get(id).and_then(|machine| machine.node.as_ref());
                node.map_or(0, |node| node.member(group).group().applied().0)
            };
            let mut members = members.unwrap_or_default().into_iter();
            if let Some(id) = members.find(|id| applied(id) < late) {
                let at = applied(&id);
                self.oracle.blame(format!("after the faults node {id} is at {at} of {late}"));
            }
        }
    }

    /// Checks that all moves have ended, if all groups have the same members: others do not hear of them.
    fn judge_moves(&mut self) {
        let groups: Vec<GroupId> = self.layout.groups().collect();
        let members = |group: &GroupId| {
            let (_, node) = self.leader_of(*group)?;
            Some(node.member(*group).group().members().all())
        };
        let all: Vec<_> = groups.iter().map(members).collect();
        let alike = all.windows(2).all(|pair| pair[0] == pair[1]);
        if let Some((id, node)) = self.leader_of(member::FIRST_GROUP).filter(|_| alike)
            && let Some(unit) = node.moving_unit()
        {
            let state = self.describe();
            let what = format!("after the faults unit {unit} still moves on node {id}: {state}");
            self.oracle.blame(what);
        }
    }

    /// Describes the state of each node, for the report.
    fn describe(&self) -> String {
        let of_member = |member: &std::sync::Arc<member::Member>| {
            let group = member.group();
            let (status, members) = (group.status(), group.members());
            format!("{status:?}, applied {}, {members:?}", group.applied().0)
        };
        let of = |(id, machine): (&NodeId, &Machine)| match &machine.node {
            Some(node) => {
                let members = node.members().iter().map(of_member).collect::<Vec<_>>();
                format!("{id}: {}", members.join(" | "))
            }
            None => format!("{id}: down, gone {}", machine.gone),
        };
        self.machines.iter().map(of).collect::<Vec<_>>().join("; ")
    }

    /// The leader of the latest term in the group to which faults occur, if some node leads it.
    pub fn leader(&self) -> Option<(NodeId, &Node)> {
        self.leader_of(self.focus)
    }

    /// The leader of the latest term of a group, if some node leads it.
    pub fn leader_of(&self, group: GroupId) -> Option<(NodeId, &Node)> {
        let running =
            self.machines.iter().filter_map(|(id, machine)| Some((*id, machine.node.as_ref()?)));
        let status = |node: &Node| node.member(group).group().status();
        let leaders = running.filter(|(_, node)| status(node).role == Role::Leader);
        leaders.max_by_key(|(_, node)| status(node).term)
    }

    fn happen(&mut self, event: Event) {
        let Some(event) = self.hold(event) else { return };
        match event {
            Event::Tick(id, life) if self.lives(id, life) => {
                let period = 100_000 * 1_000_000 / self.machines[&id].rate;
                self.after(period, Event::Tick(id, life));
                self.with(id, |node| {
                    node.tick();
                    Ok(())
                });
            }
            Event::Flush(id, life) if self.lives(id, life) => {
                if let Some(machine) = self.machines.get_mut(&id) {
                    machine.flush_due = false;
                }
                self.with(id, |node| {
                    node.flush();
                    Ok(())
                });
            }
            Event::Synced(id, life) if self.lives(id, life) => {
                self.with(id, Node::synced);
            }
            Event::Tick(..) | Event::Flush(..) | Event::Synced(..) => {}
            Event::Deliver(packet) => self.deliver(*packet),
            Event::Start(id) => self.start(id),
            Event::Resume(id) => self.resume(id),
            Event::Operate => self.operate(),
            Event::Move => self.move_unit(),
            Event::Waive(id, unit) => self.waive(id, unit),
            Event::Fault => self.fault(),
            Event::Betray(leader, voter) => self.betray(leader, voter),
            Event::TakeOver(id, group, forced) => self.take_over(id, group, forced),
            Event::Mend => self.mend(),
            Event::Heal => self.heal(),
            Event::OnlyReads => self.only_read(),
            Event::NoteCommit => self.note_commit(),
            other => self.serve(other),
        }
    }

    fn only_read(&mut self) {
        self.only_reads = true;
        self.answered_before = self.clients.answered;
    }

    fn note_commit(&mut self) {
        let of = |group| (group, self.oracle.commit(group));
        self.late = self.layout.groups().map(of).collect();
    }

    /// Holds back an event for a paused node; returns any other. At most one tick is held, because
    /// a held tick schedules no other.
    fn hold(&mut self, event: Event) -> Option<Event> {
        let id = match &event {
            Event::Tick(id, _) | Event::Flush(id, _) | Event::Synced(id, _) => *id,
            Event::Request(_, _, id, _) => *id,
            Event::Deliver(packet) => packet.message.to,
            _ => return Some(event),
        };
        match self.machines.get_mut(&id).and_then(|machine| machine.held.as_mut()) {
            None => Some(event),
            Some(held) => {
                held.push(event);
                None
            }
        }
    }

    /// Continues a paused node. Requests of clients may be delivered before messages of nodes.
    pub fn resume(&mut self, id: NodeId) {
        let held = self.machines.get_mut(&id).and_then(|machine| machine.held.take());
        let mut held = held.unwrap_or_default();
        if self.numbers.one_in(2) {
            held.sort_by_key(|event| !matches!(event, Event::Request(..)));
        }
        for event in held {
            self.after(0, event);
        }
    }

    fn lives(&self, id: NodeId, life: u64) -> bool {
        self.machines.get(&id).is_some_and(|machine| machine.node.is_some() && machine.life == life)
    }

    /// Lets a node handle an event and then do the work that follows from it.
    pub fn with(&mut self, id: NodeId, what: impl FnOnce(&mut Node) -> Result<(), String>) {
        let Some(machine) = self.machines.get_mut(&id) else { return };
        let (wall, now) = (machine.wall(self.now), machine.now(self.now));
        let Some(node) = &mut machine.node else { return };
        node.set_time(wall, now);
        let done = what(node).and_then(|()| node.turn(&mut self.oracle));
        let outputs = std::mem::take(&mut node.out);
        self.digest.add(id);
        for member in node.members() {
            let (index, term, seq) = member.group().applied();
            [index, term, seq].into_iter().for_each(|number| self.digest.add(number));
        }
        let life = machine.life;
        if let Err(what) = done {
            if what.contains("acknowledged") || what.contains("damaged") {
                self.oracle.blame(format!("node {id}: {what}"));
            }
            let delay = 100_000 + self.numbers.below(1_000_000);
            return self.crash(id, delay);
        }
        outputs.into_iter().for_each(|output| self.carry_out(id, life, output));
    }

    fn carry_out(&mut self, id: NodeId, life: u64, output: Output) {
        match output {
            Output::Send(packet) => {
                self.digest.add(packet.message.to << 8 | packet.message.kind as u64);
                let delays = self.network.send(id, packet.message.to, &mut self.numbers);
                for delay in delays {
                    self.after(delay, Event::Deliver(packet.clone()));
                }
            }
            Output::Sync => {
                let slow = if self.numbers.one_in(40) { 60_000 } else { 1_500 };
                let delay = 100 + self.numbers.below(slow);
                self.after(delay, Event::Synced(id, life));
            }
            Output::Answer(operation, answer) => {
                let client = self.clients.all.iter().position(|it| it.waiting == Some(operation));
                // Sometimes the connection breaks and the answer is lost.
                if let Some(client) = client.filter(|_| self.healed || !self.numbers.one_in(100)) {
                    let delay = 50 + self.numbers.below(1_000);
                    self.after(delay, Event::Answer(client, operation, answer));
                }
            }
        }
    }

    fn deliver(&mut self, packet: Packet) {
        let (from, to) = (packet.message.from, packet.message.to);
        if self.network.passes(from, to) {
            self.with(to, |node| node.receive(packet));
        }
    }

    fn serve(&mut self, event: Event) {
        match event {
            Event::Ask(client) if self.clients.all[client].waiting.is_none() => {
                let command = self.clients.choose(&mut self.numbers, self.only_reads || self.quiet);
                let target = match command {
                    Command::Follow(_) => self.anybody(),
                    _ => self.clients.all[client].targets[self.unit_of(&command)],
                };
                let unit = self.unit_of(&command);
                let operation = self.clients.ask(client, command.clone(), unit);
                let delay = 50 + self.numbers.below(1_000);
                self.after(delay, Event::Request(client, operation, target, command));
                self.after(PATIENCE, Event::GiveUp(client, operation));
            }
            Event::Request(client, operation, id, command) => {
                let running = self.machines.get(&id).is_some_and(|machine| machine.node.is_some());
                if !running {
                    return self.after(100, Event::Answer(client, operation, Answer::Moved(0)));
                }
                self.with(id, |node| {
                    node.command(operation, command);
                    Ok(())
                });
                self.flush_soon(id);
            }
            Event::Answer(client, operation, answer) => {
                let elsewhere = !matches!(answer, Answer::Reply(_));
                if self.clients.answer(client, operation, answer.clone()) {
                    self.next_question(client, elsewhere, answer == Answer::Moved(0));
                }
            }
            Event::GiveUp(client, operation)
                if self.clients.answer(client, operation, Answer::Unknown) =>
            {
                self.next_question(client, true, true);
            }
            _ => {}
        }
    }

    /// The unit of slots of a command's keys.
    fn unit_of(&self, command: &Command) -> usize {
        self.layout.unit(engine::commit::slot(&command.key())).unwrap_or(0).into()
    }

    fn anybody(&mut self) -> NodeId {
        let ids: Vec<NodeId> = self.machines.keys().copied().collect();
        *self.numbers.pick(&ids)
    }

    fn flush_soon(&mut self, id: NodeId) {
        let slow = self.machines.get(&id).is_some_and(|machine| machine.slow);
        let delay = self.numbers.below(if slow { 3_000_000 } else { 3_000 });
        let Some(machine) = self.machines.get_mut(&id) else { return };
        if machine.node.is_some() && !std::mem::replace(&mut machine.flush_due, true) {
            let life = machine.life;
            self.after(delay, Event::Flush(id, life));
        }
    }

    /// The client thinks for a while, and may look for another node.
    fn next_question(&mut self, client: usize, elsewhere: bool, anywhere: bool) {
        let stubborn = self.clients.all[client].stubborn && !self.healed && !self.numbers.one_in(8);
        if elsewhere && (anywhere || self.clients.all[client].stubborn) && !stubborn {
            let ids: Vec<NodeId> = self
                .machines
                .iter()
                .filter(|(_, machine)| !machine.gone)
                .map(|(id, _)| *id)
                .collect();
            let target = *self.numbers.pick(&ids);
            self.clients.all[client].ask_again(target);
        }
        let delay = 1_000 + self.numbers.below(if elsewhere { 30_000 } else { 60_000 });
        self.after(delay, Event::Ask(client));
    }

    /// The process ends and what is not synced may be lost; it starts again after a while.
    pub fn crash(&mut self, id: NodeId, delay: u64) {
        let Some(machine) = self.machines.get_mut(&id) else { return };
        machine.life += 1;
        (machine.node, machine.held, machine.flush_due) = (None, None, false);
        let numbers = &mut self.numbers;
        machine.disk.crash(|length| match numbers.below(3) {
            0 => (0, false),
            1 => (length, false),
            _ => (numbers.below(length as u64 + 1) as usize, numbers.one_in(2)),
        });
        self.after(delay, Event::Start(id));
    }

    fn start(&mut self, id: NodeId) {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(&id) else { return };
        if machine.node.is_some() || machine.gone {
            return;
        }
        match Node::start(
            machine.config.clone(),
            machine.disk.clone(),
            machine.wall(now),
            machine.now(now),
        ) {
            Err(what) => self.oracle.blame(format!("node {id} cannot start: {what}")),
            Ok(node) => {
                machine.node = Some(node);
                let life = machine.life;
                let delay = self.numbers.below(100_000);
                self.after(delay, Event::Tick(id, life));
                self.with(id, |_| Ok(()));
            }
        }
    }
}
