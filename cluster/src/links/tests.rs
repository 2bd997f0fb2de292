//! Two nodes that send each other messages and snapshots, and strangers.

use super::*;
use crate::hub::Announce;
use crate::service::Peers;
use crate::transport::{Outlet, inbox};
use crate::wire::{Batch, Chunk, Done, Posts, Raft, VERSION};
use async_trait::async_trait;
use consensus::testing::Disk;
use consensus::{Base, Files as _, Membership, MessageKind, Snapshots};
use member::State;
use std::io::{Read, Write};
use storage::testing::{until, until_some};
use tonic::{Request, Response, Status, Streaming};

const SECRET: &str = "nobody else knows";

struct Side {
    hub: Arc<Hub>,
    links: Arc<Links>,
    outlet: Outlet,
    port: u16,
    /// The messages delivered here.
    posts: std::sync::mpsc::Receiver<Post>,
    _dir: tempfile::TempDir,
}

fn side(id: NodeId) -> Side {
    let dir = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = String::new();
    let announce = Announce { host, port: 1, bus_port: port, secret: SECRET.into() };
    let hub = Arc::new(Hub::open(dir.path(), &announce, id, 1).unwrap());
    let (inbox, outlet) = inbox();
    let (told, posts) = std::sync::mpsc::channel();
    let deliver = Arc::new(move |post: &Post| drop(told.send(post.clone())));
    let around = Surroundings { breakers: Arc::default(), clock: Clock::new(), deliver };
    let links = Arc::new(Links::start(hub.clone(), inbox, vec![listener], around).unwrap());
    Side { hub, links, outlet, port, posts, _dir: dir }
}

/// Two nodes of one cluster that have met.
fn pair() -> (Side, Side) {
    let (one, two) = (side(1), side(2));
    one.hub.found(77, 1).unwrap();
    two.links.meet([127, 0, 0, 1].into(), one.port);
    until("they have met", || one.links.seen(2).is_up && two.links.seen(1).is_up);
    assert_eq!(two.hub.cluster(), 77);
    (one, two)
}

fn base() -> Base {
    Base { index: 5, term: 1, members: Membership::of([1, 2]), seq: 0, time: 0 }
}

/// A snapshot on a disk, of which a byte may be altered.
fn snapshot(data: &[u8], altered: Option<usize>) -> SnapshotReader {
    let mut disk = Disk::default();
    Snapshots(&mut disk).keep(0, &base(), data).unwrap();
    let name = disk.list().unwrap().remove(0);
    altered.into_iter().for_each(|at| disk.rot(&name, at));
    Snapshots(&mut disk).open(0, &base()).unwrap()
}

/// Whether the driver is told that its snapshot has arrived.
fn was_sent(side: &Side) -> bool {
    let event = side.outlet.events.recv_timeout(Duration::from_secs(30)).unwrap();
    let Event::SnapshotSent(_, 1, sent) = event else { panic!("nothing else is told") };
    sent
}

fn packet(index: u64, is_snapshot: bool) -> Packet {
    let kind = if is_snapshot { MessageKind::Snapshot } else { MessageKind::Append };
    let message = Message {
        kind,
        to: 1,
        from: 2,
        term: 3,
        log_term: 2,
        index,
        entries: Vec::new(),
        commit: 0,
        commit_term: 0,
        snapshot: is_snapshot.then(base),
        request_snapshot: 0,
        reject: false,
        reject_hint: 0,
        context: bytes::Bytes::new(),
        priority: 0,
    };
    Packet { group: 1, message, data: None }
}

/// The state of the snapshot that a node is sent next.
fn arrived(side: &Side) -> Vec<u8> {
    let Packet { message, data, .. } = received(side);
    let Some(State::Written { name, bytes }) = data else { panic!("it is written") };
    let base = message.snapshot.unwrap();
    let mut folder = side.hub.folder();
    let mut snapshots = Snapshots(&mut folder);
    snapshots.adopt(1, &base, &name).unwrap();
    let state = snapshots.load(1, &base).unwrap();
    assert_eq!(state.len() as u64, bytes);
    state
}

/// The number of files of a node: those of its book and of a snapshot.
fn files(side: &Side) -> usize {
    side.hub.folder().list().unwrap().len()
}

fn received(side: &Side) -> Packet {
    let event = side.outlet.events.recv_timeout(Duration::from_secs(30)).unwrap();
    let Event::Packet(packet) = event else { panic!("nothing else is sent") };
    *packet
}

#[test]
fn messages_arrive_in_order_and_snapshots_whole() {
    let (one, two) = pair();
    (0..1_000).for_each(|index| two.links.send(packet(index, false)));
    for index in 0..1_000 {
        assert_eq!(received(&one).message, packet(index, false).message);
    }
    let data: Vec<u8> = (0..3_500_000_u32).map(|at| (at % 251) as u8).collect();
    two.links.send_snapshot(1, packet(0, true).message, snapshot(&data, None));
    assert_eq!(arrived(&one), data);
    assert!(was_sent(&two));
    two.links.send_snapshot(1, packet(0, true).message, snapshot(&[], None));
    assert!(arrived(&one).is_empty());
    assert!(was_sent(&two));
    // Those of several groups take turns.
    (1..=5).for_each(|group| {
        two.links.send_snapshot(group, packet(0, true).message, snapshot(&data, None));
    });
    (1..=5).for_each(|_| assert_eq!(arrived(&one), data));
    assert!((1..=5).all(|_| was_sent(&two)));
    // What is damaged on the disk of who sends it never counts as whole.
    two.links.send_snapshot(1, packet(0, true).message, snapshot(&data, Some(2_000_000)));
    assert!(!was_sent(&two));
    assert!(one.outlet.events.is_empty());
    until("nothing of it stays", || files(&one) == 2);
    two.links.send(Packet {
        group: 1,
        message: Message { to: 9, ..packet(0, false).message },
        data: None,
    });
    assert_eq!(two.hub.counts.lost.get(), 2, "nobody knows a node 9");
}

#[test]
fn a_node_that_is_gone_is_tried_less_and_less_until_it_is_back() {
    let (one, two) = pair();
    let breaker = || one.links.shared.around.breakers.state(Kind::Node, &name_of(2)).name();
    until("it has answered for a while", || {
        let seen = one.links.seen(2);
        seen.since.zip(seen.last_contact).is_some_and(|(since, last)| last > since)
    });
    assert_eq!(breaker(), "closed");
    let (hub, port) = (two.hub.clone(), two.port);
    two.links.stop();
    until("it is left alone", || breaker() == "open");
    assert!(!one.links.seen(2).is_up);
    let listener =
        until_some("its port is free", || std::net::TcpListener::bind(("127.0.0.1", port)).ok());
    let around = one.links.shared.around.clone();
    let _again = Links::start(hub, inbox().0, vec![listener], around).unwrap();
    until("it is spoken to again", || breaker() == "closed");
    assert!(one.links.seen(2).is_up);
}

#[test]
fn published_messages_arrive_in_order_and_those_of_strangers_do_not() {
    let (one, two) = pair();
    let wait = Duration::from_secs(30);
    for number in 0..1_000 {
        two.links.publish(number % 2 == 0, b"channel", number.to_string().as_bytes());
    }
    for number in 0..1_000 {
        let post = one.posts.recv_timeout(wait).unwrap();
        assert_eq!((post.shard, &*post.channel), (number % 2 == 0, &b"channel"[..]));
        assert_eq!(post.payload, number.to_string());
    }
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let posts = vec![Post { shard: false, channel: "x".into(), payload: "y".into() }];
    let stranger = Posts { version: VERSION, cluster: 78, from: 2, posts };
    let status = runtime.block_on(async {
        let mut client = connect("127.0.0.1", one.port.into(), SECRET, None).await.unwrap();
        client.publish(tonic::codegen::tokio_stream::iter([stranger])).await.unwrap_err()
    });
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    two.links.publish(false, b"last", b"");
    assert_eq!(one.posts.recv_timeout(wait).unwrap().channel, "last");
}

/// A node that does not know of published messages.
struct Older(Arc<Receiver>);

#[async_trait]
impl Peers for Older {
    fn greet(&self, request: Request<Greeting>) -> Result<Response<Greeting>, Status> {
        self.0.greet(request)
    }

    async fn messages(
        self: Arc<Self>,
        request: Request<Streaming<Batch>>,
    ) -> Result<Response<Done>, Status> {
        self.0.clone().messages(request).await
    }

    async fn publish(
        self: Arc<Self>,
        _: Request<Streaming<Posts>>,
    ) -> Result<Response<Done>, Status> {
        Err(Status::unimplemented("what is that?"))
    }

    async fn snapshot(
        self: Arc<Self>,
        request: Request<Streaming<Chunk>>,
    ) -> Result<Response<Done>, Status> {
        self.0.clone().snapshot(request).await
    }
}

#[test]
fn who_takes_no_published_messages_gets_the_others() {
    let (one, two) = pair();
    let (hub, port) = (two.hub.clone(), two.port);
    two.links.stop();
    let listener =
        until_some("its port is free", || std::net::TcpListener::bind(("127.0.0.1", port)).ok());
    let (inbox, outlet) = inbox();
    let receiver = Arc::new(Receiver::new(hub.clone(), inbox, Arc::new(|_: &Post| {})));
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    listener.set_nonblocking(true).unwrap();
    runtime.spawn(async move {
        let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
        let older = PeersServer(Arc::new(Older(receiver)), hub.secret.clone());
        Server::builder().add_service(older).serve_with_incoming(incoming).await
    });
    let lasts = |seen: Seen| {
        seen.is_up && seen.since.zip(seen.last_contact).is_some_and(|(since, last)| last > since)
    };
    let before = one.links.seen(2).since;
    until("it stays connected", || one.links.seen(2).since > before && lasts(one.links.seen(2)));
    one.links.publish(false, b"channel", b"lost");
    one.links.send(Packet {
        group: 1,
        message: Message { to: 2, from: 1, ..packet(7, false).message },
        data: None,
    });
    let event = outlet.events.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(matches!(event, Event::Packet(packet) if packet.message.index == 7));
}

#[test]
fn strangers_and_garbage_are_refused_and_hold_up_nobody() {
    let (one, two) = pair();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let raft = Raft::from((1, packet(1, false).message));
    let batch = |version, cluster, from, raft: &Raft| Batch {
        version,
        cluster,
        from,
        messages: vec![raft.clone()],
    };
    let bad = [
        batch(VERSION + 1, 77, 2, &raft),
        batch(VERSION, 78, 2, &raft),
        batch(VERSION, 77, 3, &raft),
        batch(VERSION, 77, 2, &Raft { kind: 99, ..raft.clone() }),
    ];
    let refused = bad.len() as u64;
    runtime.block_on(async {
        for batch in bad {
            let mut client = connect("127.0.0.1", one.port.into(), SECRET, None).await.unwrap();
            let status =
                client.messages(tonic::codegen::tokio_stream::iter([batch])).await.unwrap_err();
            assert_eq!(status.code(), tonic::Code::PermissionDenied);
        }
    });
    assert_eq!(one.hub.counts.refused.get(), refused);
    // Without the secret nothing is told, and nothing is looked at.
    runtime.block_on(async {
        for wrong in ["", "another"] {
            let mut client = connect("127.0.0.1", one.port.into(), wrong, None).await.unwrap();
            let status = client.greet(two.hub.book().greeting("")).await.unwrap_err();
            assert_eq!(status.code(), tonic::Code::Unauthenticated);
        }
    });
    let mut raw = std::net::TcpStream::connect(("127.0.0.1", one.port)).unwrap();
    raw.write_all(&[b'x'; 4_096]).unwrap();
    // It is closed, or reset.
    let _ = raw.read_to_end(&mut Vec::new());
    two.links.send(packet(7, false));
    assert_eq!(received(&one).message.index, 7);
}
