//! The bound on the handshakes that are under way behind a filter.

use resp::Output;
use runtime::filter::{Broken, Filter, FilterService, Handshakes, Inward};
use runtime::testing::Toy;
use runtime::{Connection, Now, Peer, Rejection, Service};
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

#[test]
fn only_so_many_are_under_way() {
    let handshakes: Arc<Handshakes> = Arc::default();
    let service = FilterService {
        inner: Arc::new(Toy::default()).service(),
        make: || Ok(FirstByte::default()),
        patience: Duration::from_secs(10),
        handshakes: handshakes.clone(),
    };
    let all: Vec<_> = (0..100).filter_map(|_| connect(&service).ok()).collect();
    assert_eq!(all.len(), 100, "there is no bound unless one is set");
    handshakes.set_max(101);
    assert!(connect(&service).is_ok());
    drop(all);
    handshakes.set_max(2);
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
