//! [`Prepared`] and [`Running`]: from a folder and listeners to a running node.

use crate::driver::{NodeDriver, Rerouted};
use crate::files::Folder;
use crate::hub::{Announce, Hub};
use crate::links::{Links, Surroundings};
use crate::local_node::LocalNode;
use crate::secure::Certificates;
use crate::spread::Spread;
use crate::transport::{Event, Inbox, Outlet, inbox};
use crate::wire::Post;
use consensus::{ELECTION_TICKS, Settings};
use engine::Engine;
use engine::commit::SLOTS;
use member::{Fatal, Flaws, GROUPS_MAX, Groups, Member, Opened};
use parking_lot::Mutex;
use runtime::Clock;
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The size in bytes at which a new segment of the log begins.
const SEGMENT: usize = 16 << 20;

/// The number of entries of a group after which a snapshot compacts the log.
const SNAPSHOT_ENTRIES: u64 = 1_000_000;

/// The number of bytes of effects of a group after which a snapshot compacts the log.
const SNAPSHOT_BYTES: u64 = 64 << 20;

/// The number of attempts to hand the leadership over within an election timeout.
const ATTEMPTS: u32 = 4;

/// The number of election timeouts to wait until another node leads.
const HANDING: u32 = 5;

/// The longest time to wait for that: stopping a server must not take for ever.
const HANDING_MAX: Duration = Duration::from_secs(10);

/// The time between two checks of whether something has happened.
const LOOK: Duration = Duration::from_millis(5);

/// The parameters of a node.
pub struct NodeConfig {
    /// The folder of its log, its snapshots and its identity.
    pub folder: PathBuf,
    /// The addresses that it announces.
    pub announce: Announce,
    /// The number of groups, if a cluster is founded here.
    pub groups: u16,
    /// The election timeout: the time without a message from the leader after which another is
    /// elected.
    pub election: Duration,
    /// Random numbers that are unique and cannot be guessed: for the node's identity and the
    /// cluster's.
    pub fresh: [u64; 2],
    /// The server's clock.
    pub clock: Clock,
}

/// A node with an open log. An engine with [`Prepared::groups`] as its journal is still to be made.
pub struct Prepared {
    opened: Opened<Folder>,
    hub: Arc<Hub>,
    ways: (Inbox, Outlet),
    config: NodeConfig,
}

/// A change of an announced address.
#[derive(Debug, Clone)]
pub enum Announced {
    /// The host; empty if the other nodes are to find it out.
    Host(String),
    /// The port for clients.
    Port(u16),
    /// The port for other nodes.
    BusPort(u16),
}

/// A running node. Dropping it stops it.
pub struct Running {
    local_node: Arc<LocalNode>,
    election: Duration,
    thread: Option<JoinHandle<()>>,
}

impl Prepared {
    /// Opens the node in its folder, or creates one.
    ///
    /// # Errors
    /// Fails, with a description, if the folder cannot be used.
    pub fn open(config: NodeConfig) -> Result<Prepared, String> {
        let folder = Folder::open(&config.folder);
        let folder = folder.map_err(|error| format!("{}: {error}", config.folder.display()))?;
        let now = config.clock.now();
        let id = config.fresh[0].max(1);
        let hub = Arc::new(Hub::open(&config.folder, &config.announce, id, now.wall_ms)?);
        let (inbox, outlet) = inbox();
        let (clock, kicked) = (config.clock, inbox.clone());
        let clock = Arc::new(move || clock.now());
        let kick = Arc::new(move || kicked.kick());
        let opened = Opened::open(member_config(&config, &hub), folder, clock, kick);
        let opened =
            opened.map_err(|error| format!("the log in {}: {error}", config.folder.display()))?;
        hub.attach(opened.groups.clone());
        Ok(Prepared { opened, hub, ways: (inbox, outlet), config })
    }

    /// The groups, which are to be the engine's journal.
    pub fn groups(&self) -> Arc<Groups> {
        self.opened.groups.clone()
    }

    /// Starts the node. The storage of `engine` must be empty; other nodes connect to `listeners`.
    /// `ended` is called with the reason if the node cannot go on.
    ///
    /// # Errors
    /// Fails if the last snapshot cannot be loaded or threads cannot be started.
    pub fn start(
        self,
        engine: Arc<Engine>,
        listeners: Vec<TcpListener>,
        certificates: Option<Certificates>,
        ended: impl FnOnce(Fatal) + Send + 'static,
    ) -> Result<Running, String> {
        let Prepared { opened, hub, ways: (inbox, outlet), config } = self;
        if let Some(certificates) = certificates {
            hub.certificates.get_or_init(|| certificates);
        }
        let around = surroundings(&engine, config.clock);
        let local_node = Arc::new(local_node(&opened.groups, &hub, inbox.clone(), &config));
        let node =
            opened.start_behind(engine, local_node.clone()).map_err(|error| error.to_string())?;
        let links = Links::start(hub.clone(), inbox.clone(), listeners, around);
        let links = Arc::new(links.map_err(|error| error.to_string())?);
        let first = local_node.links.set(links.clone()).is_ok();
        debug_assert!(first, "links are made once");
        let tick = config.election / ELECTION_TICKS as u32;
        let driver = NodeDriver {
            node,
            transport: links,
            hub,
            groups: config.groups.clamp(1, GROUPS_MAX),
            inbox,
            outlet,
            tick,
            tried: BTreeMap::new(),
            taking: BTreeMap::new(),
            led_by: BTreeMap::new(),
            wishes: BTreeMap::new(),
            stays: BTreeMap::new(),
            rerouted: Rerouted::default(),
            large: BTreeSet::new(),
            spread: Spread::default(),
        };
        let thread = std::thread::Builder::new().name("group".into()).spawn(move || {
            let panicked = |_| Err(Fatal::Storage("its thread panicked".into()));
            let ran = catch_unwind(AssertUnwindSafe(move || driver.run()));
            if let Err(error) = ran.unwrap_or_else(panicked) {
                ended(error);
            }
        });
        let thread = Some(thread.map_err(|error| error.to_string())?);
        Ok(Running { local_node, election: config.election, thread })
    }
}

fn surroundings(engine: &Arc<Engine>, clock: Clock) -> Surroundings {
    let (breakers, engine) = (engine.peers.breakers.clone(), Arc::downgrade(engine));
    let deliver = move |post: &Post| {
        if let Some(engine) = engine.upgrade() {
            engine.notify.pubsub.deliver(&engine.tuning, post.shard, &post.channel, &post.payload);
        }
    };
    Surroundings { breakers, clock, deliver: Arc::new(deliver) }
}

fn local_node(
    groups: &Arc<Groups>,
    hub: &Arc<Hub>,
    inbox: Inbox,
    config: &NodeConfig,
) -> LocalNode {
    let clock = config.clock;
    LocalNode {
        hub: hub.clone(),
        groups: groups.clone(),
        inbox,
        links: OnceLock::new(),
        slots: Arc::new(Mutex::new(vec![false; usize::from(SLOTS)])),
        giving: Mutex::default(),
        fresh: config.fresh[1],
        timeout: config.election * 2,
        wall_ms: Box::new(move || clock.now().wall_ms),
    }
}

fn member_config(config: &NodeConfig, hub: &Hub) -> member::NodeConfig {
    let tick = (config.election / ELECTION_TICKS as u32).as_micros() as u64;
    member::NodeConfig {
        seed: config.fresh[1],
        groups: hub.groups(),
        units: member::NodeConfig::UNITS,
        founders: Vec::new(),
        addresses: BTreeMap::new(),
        settings: Settings { tick, nonce: config.fresh[1], ..Settings::new(hub.id()) },
        segment_bytes: SEGMENT,
        snapshot_entries: SNAPSHOT_ENTRIES,
        snapshot_bytes: SNAPSHOT_BYTES,
        flaws: Flaws::default(),
    }
}

impl Running {
    /// Announces another address of this node to other nodes and clients.
    pub fn announce(&self, what: Announced) {
        self.local_node.hub.announce(|me| match what {
            Announced::Host(host) => me.host = host,
            Announced::Port(port) => me.port = port.into(),
            Announced::BusPort(port) => me.bus_port = port.into(),
        });
    }

    /// If this node leads groups and another one can take over, hands the leadership of each over and
    /// waits until others lead them: a few election timeouts at most.
    pub fn hand_over(&self) {
        let leads = |member: &&Arc<Member>| member.leader() == Some(member.id());
        let can = |member: &Arc<Member>| !member.group().successors().is_empty();
        let members = self.local_node.groups.members();
        let led: Vec<_> = members.iter().filter(leads).filter(|it| can(it)).collect();
        if led.is_empty() {
            return;
        }
        let is_led = |member: &&Arc<Member>| member.leader().is_some_and(|it| it != member.id());
        let began = Instant::now();
        let patience = (self.election * HANDING).min(HANDING_MAX);
        let mut attempts = 0;
        while began.elapsed() < patience && self.local_node.has_connections() {
            // If the node that was asked first is unable to lead, another one is asked.
            if began.elapsed() >= self.election / ATTEMPTS * attempts {
                attempts += 1;
                self.local_node.inbox.tell(Event::HandOver);
            }
            if led.iter().all(is_led) {
                return tracing::info!("the leadership was handed over");
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.local_node.inbox.tell(Event::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic there was reported when it happened.
            let _ = thread.join();
        }
        self.local_node.links.get().into_iter().for_each(|links| links.stop());
        self.local_node.hub.save();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::cluster::Cluster as _;

    #[test]
    fn who_gives_a_node_its_slots_does_not_wait_for_disks() {
        let dir = tempfile::tempdir().unwrap();
        let announce = Announce { host: "h".into(), port: 1, bus_port: 2, secret: "".into() };
        let config = NodeConfig {
            folder: dir.path().into(),
            announce,
            groups: 3,
            election: Duration::from_secs(1),
            fresh: [11, 77],
            clock: Clock::new(),
        };
        let Prepared { opened, hub, ways: (inbox, outlet), config } =
            Prepared::open(config).unwrap();
        let local_node = local_node(&opened.groups, &hub, inbox, &config);
        // Nobody drives the group: whoever waited for that would wait in vain.
        let all: Vec<u16> = (0..SLOTS).collect();
        assert_eq!(local_node.add_slots(&[7, 8]), Ok(()));
        assert_eq!(local_node.remove_slots(&[6]), Err("ERR Slot 6 is already unassigned".into()));
        assert_eq!(local_node.remove_slots(&[7]), Ok(()));
        assert_eq!((local_node.reset(), local_node.topology().assigned()), (Ok(()), 0));
        assert_eq!(local_node.add_slots(&all), Ok(()));
        let Ok(Event::Found(77, answer)) = outlet.events.try_recv() else { panic!("it is asked") };
        assert_eq!(local_node.add_slots(&[7]), Err("ERR Slot 7 is already busy".into()));
        assert!(
            local_node.remove_slots(&[7]).is_err() && local_node.reset().is_err(),
            "others may hear of it"
        );
        answer(false);
        assert_eq!(local_node.add_slots(&[7]), Ok(()), "they are free again if it failed");
    }
}
