//! The bound on the handshakes that are under way behind a filter.

use resp::Output;
use runtime::filter::{Broken, Filter, FilterService, Handshakes, Inward};
use runtime::testing::Toy;
use runtime::{Connection, Now, Peer, Rejection, Service};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// Is open once a byte has come.
#[derive(Default)]
struct FirstByte(bool);

impl Filter for FirstByte {
    fn unwrap(
        &mut self,
        _: &[u8],
        _: &mut dyn FnMut(&[u8]),
        _: &mut Output,
    ) -> Result<Inward, Broken> {
        self.0 = true;
        Ok(Inward::Open)
    }

    fn is_open(&self) -> bool {
        self.0
    }

    fn wrap(&mut self, plain: &[u8], wire: &mut Output) {
        wire.extend(plain);
    }

    fn close(&mut self, _: &mut Output) {}

    fn held(&self) -> usize {
        0
    }
}

fn connect(service: &dyn Service) -> Result<Box<dyn Connection>, Rejection> {
    service.connect(Peer::Unix("/nowhere".into()), Waker::noop().clone(), Now::default())
}

fn connect_from(service: &dyn Service, address: &str) -> Option<Box<dyn Connection>> {
    let remote = SocketAddr::new(address.parse().expect("an address"), 1234);
    let local = SocketAddr::new(remote.ip(), 6379);
    service.connect(Peer::Tcp { remote, local }, Waker::noop().clone(), Now::default()).ok()
}

fn service_of(handshakes: &Arc<Handshakes>) -> impl Service {
    FilterService {
        inner: Arc::new(Toy::default()).service(),
        make: || Ok(FirstByte::default()),
        patience: Duration::from_secs(10),
        handshakes: handshakes.clone(),
    }
}

#[test]
fn only_so_many_are_under_way() {
    let handshakes: Arc<Handshakes> = Arc::default();
    let service = service_of(&handshakes);
    let all: Vec<_> = (0..100).filter_map(|_| connect(&service).ok()).collect();
    assert_eq!(all.len(), 100, "there is no bound unless one is set");
    handshakes.set_max(101, 100);
    assert!(connect(&service).is_ok());
    drop(all);
    handshakes.set_max(2, 100);
    let (first, second) = (connect(&service), connect(&service));
    let mut first = first.expect("there is room for it");
    assert!(second.is_ok());
    assert_eq!(connect(&service).err(), Some(Rejection(Vec::new())), "one too many");
    assert_eq!(handshakes.refused(), 1);
    // Who is through takes no place, however long the connection lasts.
    first.receive(b"x", Now::default());
    let third = connect(&service);
    assert!(third.is_ok() && connect(&service).is_err());
    // And who is gone takes none either.
    drop(second);
    assert!(connect(&service).is_ok());
    assert!(connect(&service).is_ok(), "a refused or closed one takes none");
}

#[test]
fn one_address_has_a_share() {
    let handshakes: Arc<Handshakes> = Arc::default();
    let service = service_of(&handshakes);
    handshakes.set_max(6, 50);
    let mut greedy: Vec<_> = (0..6).filter_map(|_| connect_from(&service, "192.0.2.1")).collect();
    assert_eq!((greedy.len(), handshakes.refused()), (3, 3));
    assert!(connect_from(&service, "::ffff:192.0.2.1").is_none(), "the same, written otherwise");
    let other = connect_from(&service, "192.0.2.2");
    let network = [connect_from(&service, "2001:db8::1"), connect_from(&service, "2001:db8::2")];
    assert!(other.is_some() && network.iter().all(Option::is_some), "others get in");
    assert!(connect(&service).is_err(), "the bound of all is there as well");
    drop(other);
    assert!(connect_from(&service, "2001:db8::3").is_some(), "the third of its network");
    // Who is through or gone makes room for its address.
    greedy[0].receive(b"x", Now::default());
    let again = connect_from(&service, "192.0.2.1");
    assert!(again.is_some() && connect_from(&service, "192.0.2.1").is_none());
    drop((greedy, again, network));
    // A share of a small number is at least one; those that were counted under another bound are not missed.
    handshakes.set_max(3, 10);
    let one = connect_from(&service, "192.0.2.1");
    assert!(one.is_some() && connect_from(&service, "192.0.2.1").is_none());
    handshakes.set_max(3, 100);
    let more = [(); 2].map(|()| connect_from(&service, "192.0.2.1"));
    assert!(more.iter().all(Option::is_some), "all of them, if that is the share");
    drop((one, more));
    handshakes.set_max(2, 50);
    assert!(connect_from(&service, "192.0.2.1").is_some());
    assert!(connect_from(&service, "192.0.2.1").is_some(), "the last one is gone");
}

#[test]
fn an_owner_has_one_address_or_a_whole_network() {
    let owner = |text: &str| {
        let remote = SocketAddr::new(text.parse().expect("an address"), 1);
        Peer::Tcp { remote, local: remote }.owner()
    };
    assert_eq!(owner("2001:db8::1"), owner("2001:db8::ffff:1"));
    assert_ne!(owner("2001:db8::1"), owner("2001:db8:0:1::1"));
    assert_eq!(owner("::ffff:10.0.0.1"), owner("10.0.0.1"));
    assert_ne!(owner("10.0.0.1"), owner("10.0.0.2"));
    assert_eq!(Peer::Unix("/nowhere".into()).owner(), None);
}
