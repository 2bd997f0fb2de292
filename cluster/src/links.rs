//! [`Links`]: connections to all other nodes, by gRPC, on threads of their own.
//!
//! There is one connection to each known node, which is made again whenever it ends. It carries a
//! stream of batches, regular greetings, and a separate stream for each snapshot. Queues are
//! bounded. A message that does not fit, or has no connection, is lost, so a sender never waits for
//! another node.

use crate::book::{Book, Stranger, name_of};
use crate::hub::Hub;
use crate::outgoing::{Outgoing, Queue, read_pieces};
use crate::receive::{Receiver, host_of};
use crate::secure::{Connector, accept};
use crate::service::{PeersClient, PeersServer};
use crate::transport::{Event, Inbox, Transport};
use crate::wire::{Greeting, Peer, Post};
use bytes::Bytes;
use consensus::{GroupId, Message, NodeId, SnapshotReader};
use engine::peers::breakers::{Breakers, Kind};
use member::Packet;
use parking_lot::Mutex;
use runtime::Clock;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};

/// The time that connecting, or the answer to a greeting, may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The time between two greetings.
const GREETING: Duration = Duration::from_millis(500);

/// The number of pieces of a snapshot that may be read ahead.
const PIECES: usize = 4;

/// The shortest time between two attempts to connect. After some failures the node's breaker has
/// longer ones.
const REST: Duration = Duration::from_millis(50);

/// The time after a snapshot that did not get through.
const SNAPSHOT_REST: Duration = Duration::from_secs(1);

/// The time for which contact with an unknown node is tried.
const MEETING: Duration = Duration::from_secs(15);

/// The time between two attempts to contact it.
const MEETING_REST: Duration = Duration::from_millis(250);

/// The highest number of unknown nodes that are contacted at once.
const MEETINGS_MAX: usize = 64;

/// The connection to another node, or its absence.
#[derive(Default)]
struct Link {
    queue: Queue<(GroupId, Message)>,
    /// Published messages. They have a queue of their own, so that the group's messages never wait
    /// behind them.
    posts: Queue<Post>,
    client: Mutex<Option<PeersClient>>,
    /// Held while a snapshot is sent: one at a time, in turn, so that they leave the messages a share of
    /// the connection's window.
    turn: tokio::sync::Mutex<()>,
    seen: Mutex<Seen>,
}

/// The times of contact with a node.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// Whether there is a connection.
    pub is_up: bool,
    /// The time when the connection was made.
    pub since: Option<Instant>,
    /// The time of its last answer.
    pub last_contact: Option<Instant>,
}

/// Delivers a published message to the subscribers at this node.
pub type Deliver = Arc<dyn Fn(&Post) + Send + Sync>;

/// The parts of the server that the connections use.
#[derive(Clone)]
pub struct Surroundings {
    /// Its circuit breakers.
    pub breakers: Arc<Breakers>,
    /// The clock that these are given.
    pub clock: Clock,
    /// Its subscribers.
    pub deliver: Deliver,
}

/// The state that all tasks share.
struct Shared {
    hub: Arc<Hub>,
    inbox: Inbox,
    around: Surroundings,
    links: Mutex<BTreeMap<NodeId, Arc<Link>>>,
    meetings: AtomicUsize,
}

/// The connections to all other nodes. Dropping this ends them.
pub struct Links {
    shared: Arc<Shared>,
    handle: Handle,
    /// The runtime of the tasks; `None` once it is stopped.
    runtime: Mutex<Option<Runtime>>,
}

impl Links {
    /// Accepts connections on `listeners`, and connects to all known nodes.
    ///
    /// # Errors
    /// Fails if threads cannot be started.
    pub fn start(
        hub: Arc<Hub>,
        inbox: Inbox,
        listeners: Vec<std::net::TcpListener>,
        around: Surroundings,
    ) -> io::Result<Links> {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("peers").enable_all().build()?;
        let receiver = Arc::new(Receiver::new(hub.clone(), inbox.clone(), around.deliver.clone()));
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let _inside = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener)?;
            runtime.spawn(listen(listener, receiver.clone(), hub.clone()));
        }
        let (links, meetings) = (Mutex::default(), AtomicUsize::new(0));
        let shared = Arc::new(Shared { hub, inbox, around, links, meetings });
        runtime.spawn(tend_all(shared.clone()));
        let handle = runtime.handle().clone();
        Ok(Links { shared, handle, runtime: Mutex::new(Some(runtime)) })
    }

    /// The times of contact with a node.
    pub fn seen(&self, id: NodeId) -> Seen {
        self.shared.links.lock().get(&id).map_or(Seen::default(), |link| *link.seen.lock())
    }

    /// The number of bytes that wait to be sent to a node.
    pub fn waiting(&self, id: NodeId) -> usize {
        self.shared.links.lock().get(&id).map_or(0, |link| link.queue.bytes() + link.posts.bytes())
    }

    /// Sends a published message to all other nodes, or loses it. Never blocks.
    pub fn publish(&self, shard: bool, channel: &[u8], payload: &[u8]) {
        // Not copied under the lock, for which the group's messages wait.
        let links: Vec<Arc<Link>> = self.shared.links.lock().values().cloned().collect();
        if links.is_empty() {
            return;
        }
        let copied = Bytes::copy_from_slice;
        let post = Post { shard, channel: copied(channel), payload: copied(payload) };
        for link in links {
            self.shared.count(link.posts.offer(post.clone()));
        }
    }

    /// Tries for a while to reach an unknown node at this address, and to exchange greetings with
    /// it.
    pub fn meet(&self, ip: IpAddr, bus_port: u16) {
        let shared = self.shared.clone();
        if shared.meetings.fetch_add(1, Ordering::SeqCst) >= MEETINGS_MAX {
            shared.meetings.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        self.handle.spawn(async move {
            let began = Instant::now();
            while began.elapsed() < MEETING {
                match meet(&shared.hub, &host_of(ip), bus_port).await {
                    Ok(()) => break,
                    Err(error) => tracing::debug!(error, %ip, bus_port, "a node was not met"),
                }
                tokio::time::sleep(MEETING_REST).await;
            }
            shared.meetings.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

impl Links {
    /// Ends all connections, and stops accepting new ones.
    pub fn stop(&self) {
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Transport for Arc<Links> {
    fn send(&self, packet: Packet) {
        let Packet { group, message, .. } = packet;
        let link = self.shared.links.lock().get(&message.to).cloned();
        self.shared.count(link.is_some_and(|link| link.queue.offer((group, message))));
    }

    fn send_snapshot(&self, group: GroupId, message: Message, snapshot: SnapshotReader) {
        let (shared, to) = (self.shared.clone(), message.to);
        self.handle.spawn(async move {
            let sent = send_snapshot(&shared, (group, message), snapshot).await;
            shared.count(sent.is_ok());
            if let Err(error) = &sent {
                tracing::warn!(error, to = name_of(to), "a snapshot did not get through");
                // The next attempt follows at once.
                tokio::time::sleep(SNAPSHOT_REST).await;
            }
            // The driver's queue may be full for a while.
            let told = move || shared.inbox.tell(Event::SnapshotSent(group, to, sent.is_ok()));
            tokio::task::spawn_blocking(told);
        });
    }

    fn reaches(&self, node: NodeId) -> bool {
        let seen = self.seen(node);
        seen.is_up && seen.last_contact.is_some_and(|at| at.elapsed() < GREETING * 3)
    }
}

impl Shared {
    fn count(&self, sent: bool) {
        let counts = &self.hub.counts;
        if sent { counts.sent.add(1) } else { counts.lost.add(1) }
    }
}

impl Link {
    fn close(&self) {
        self.queue.close();
        self.posts.close();
        *self.client.lock() = None;
        self.seen.lock().is_up = false;
    }
}

async fn listen(listener: tokio::net::TcpListener, receiver: Arc<Receiver>, hub: Arc<Hub>) {
    let server = Server::builder()
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20)
        .max_concurrent_streams(64)
        .http2_keepalive_interval(Some(PATIENCE))
        .http2_keepalive_timeout(Some(PATIENCE));
    let mut server = server;
    let server = server.add_service(PeersServer(receiver, hub.secret.clone()));
    let served = match hub.certificates.get().cloned() {
        None => {
            server.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))).await
        }
        Some(certificates) => {
            let (proven, incoming) = mpsc::channel(1);
            tokio::spawn(accept(listener, certificates, hub, proven));
            server.serve_with_incoming(ReceiverStream::new(incoming)).await
        }
    };
    if let Err(error) = served {
        tracing::error!(%error, "nobody listens to other nodes any more");
    }
}

/// Keeps one task for each known node, and saves the book when it has changed.
async fn tend_all(shared: Arc<Shared>) {
    loop {
        let changed = shared.hub.changed.notified();
        tend_each(&shared);
        let hub = shared.hub.clone();
        // Saving waits for the disk, which the other tasks must not.
        let _ = tokio::task::spawn_blocking(move || hub.save()).await;
        // A change between the two calls is noticed a moment later.
        let _ = tokio::time::timeout(GREETING, changed).await;
    }
}

fn tend_each(shared: &Arc<Shared>) {
    let book = shared.hub.book();
    let mut links = shared.links.lock();
    links.retain(|id, _| book.others.contains_key(id));
    for id in book.others.keys() {
        links.entry(*id).or_insert_with(|| {
            let link = Arc::new(Link::default());
            tokio::spawn(tend(shared.clone(), *id, link.clone()));
            link
        });
    }
}

/// Keeps up the connection to a node until the node is forgotten.
async fn tend(shared: Arc<Shared>, id: NodeId, link: Arc<Link>) {
    let (Surroundings { breakers, clock, .. }, name) = (&shared.around, name_of(id));
    while let Some(peer) = shared.hub.peer(id) {
        // Nobody else asks for this node.
        breakers.admit(Kind::Node, &name, clock.now());
        let proven = || breakers.succeeded(Kind::Node, &name, clock.now());
        let visited = visit(&shared.hub, &peer, &link, proven).await;
        link.close();
        if let Err(error) = visited {
            let (host, port) = (&peer.host, peer.bus_port);
            tracing::debug!(error, host, port, "no connection to a node");
            if breakers.failed(Kind::Node, &name, clock.now()) {
                tracing::warn!(error, host, port, node = name, "a node does not answer");
            }
        }
        let wait = breakers.wait(Kind::Node, &name, clock.now());
        tokio::time::sleep(wait.max(REST)).await;
    }
    breakers.forget(Kind::Node, &name);
}

/// Connects to another node.
async fn connect(
    host: &str,
    port: u32,
    secret: &str,
    through: Option<Connector>,
) -> Result<PeersClient, String> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let endpoint = Endpoint::from_shared(format!("http://{host}:{port}"));
    let endpoint = endpoint.map_err(|error| error.to_string())?;
    let endpoint = endpoint
        .connect_timeout(PATIENCE)
        .tcp_nodelay(true)
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20)
        .http2_keep_alive_interval(PATIENCE / 2)
        .keep_alive_timeout(PATIENCE)
        .keep_alive_while_idle(true);
    let channel = match through {
        Some(connector) => endpoint.connect_with_connector(connector).await,
        None => endpoint.connect().await,
    };
    let channel = channel.map_err(|error| error.to_string())?;
    Ok(PeersClient::new(channel, secret))
}

/// Makes encrypted connections, where that is wanted.
fn connector(hub: &Arc<Hub>) -> Option<Connector> {
    let certificates = hub.certificates.get()?.clone();
    Some(Connector { certificates, hub: hub.clone() })
}

/// Exchanges greetings with the node `to`. Zero stands for any node, which is then asked to join;
/// only this makes new contacts.
async fn greet(hub: &Hub, client: &mut PeersClient, host: &str, to: NodeId) -> Result<(), String> {
    let greeting = Greeting { to, ..hub.book().greeting(host) };
    let answer = tokio::time::timeout(PATIENCE, client.greet(greeting)).await;
    let answer = answer.map_err(|_| "it does not answer")?.map_err(|error| error.to_string())?;
    if to != 0 && answer.from != to {
        return Err(hub.refuse(answer.from, host, Stranger::Another).to_string());
    }
    hub.merge(answer, host).map_err(|why| why.to_string())
}

async fn meet(hub: &Arc<Hub>, host: &str, port: u16) -> Result<(), String> {
    let mut client = connect(host, port.into(), &hub.secret, connector(hub)).await?;
    greet(hub, &mut client, host, 0).await
}

/// Uses a connection to a node from its beginning to its end. Calls `proven` whenever the node has
/// answered on it for a while.
async fn visit(hub: &Arc<Hub>, peer: &Peer, link: &Link, proven: impl Fn()) -> Result<(), String> {
    let through = connector(hub);
    let mut client = connect(&peer.host, peer.bus_port, &hub.secret, through).await?;
    greet(hub, &mut client, &peer.host, peer.id).await?;
    let book = hub.book();
    let (messages, posts) = (link.queue.open(&book), link.posts.open(&book));
    *link.client.lock() = Some(client.clone());
    let now = Some(Instant::now());
    *link.seen.lock() = Seen { is_up: true, since: now, last_contact: now };
    let (mut sender, publisher) = (client.clone(), client.clone());
    tokio::select! {
        ended = sender.messages(messages) => ended.map_err(|error| error.to_string()),
        ended = keep_greeting(hub, client, peer, link, proven) => ended,
        never = keep_publishing(&link.posts, &book, posts, publisher) => match never {},
    }
}

/// Sends published messages, beginning with `posts`. A stream that ends is begun anew a moment later,
/// and ends nothing else: an older node has none.
async fn keep_publishing(
    queue: &Queue<Post>,
    book: &Book,
    mut posts: Outgoing<Post>,
    mut client: PeersClient,
) -> Infallible {
    loop {
        if let Err(error) = client.publish(posts).await {
            tracing::debug!(%error, "published messages do not get through");
        }
        queue.close();
        tokio::time::sleep(GREETING).await;
        posts = queue.open(book);
    }
}

/// Sends greetings regularly, until the node does not answer or has moved.
async fn keep_greeting(
    hub: &Hub,
    mut client: PeersClient,
    peer: &Peer,
    link: &Link,
    proven: impl Fn(),
) -> Result<(), String> {
    let cluster = hub.cluster();
    loop {
        tokio::time::sleep(GREETING).await;
        greet(hub, &mut client, &peer.host, peer.id).await?;
        link.seen.lock().last_contact = Some(Instant::now());
        proven();
        let now = hub.peer(peer.id).ok_or("it was forgotten")?;
        if (&now.host, now.bus_port) != (&peer.host, peer.bus_port) || hub.cluster() != cluster {
            return Ok(());
        }
    }
}

/// Sends a snapshot, once those before it have been sent to that node. Returns when the node has taken
/// it.
async fn send_snapshot(
    shared: &Shared,
    message: (GroupId, Message),
    snapshot: SnapshotReader,
) -> Result<(), String> {
    let link = shared.links.lock().get(&message.1.to).cloned();
    let link = link.ok_or("nobody knows that node")?;
    let _turn = link.turn.lock().await;
    let client = link.client.lock().clone();
    let mut client = client.ok_or("there is no connection")?;
    let (pieces, read) = mpsc::channel(PIECES);
    let book = shared.hub.book();
    tokio::task::spawn_blocking(move || read_pieces(&book, message, snapshot, &pieces));
    client.snapshot(ReceiverStream::new(read)).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
