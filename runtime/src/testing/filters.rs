//! The suite of filters: what every [`Filter`] promises, as tests that a filter runs in one line.
//!
//! ```text
//! runtime::filter_suite!(tls, || (filter(), peer()));
//! ```
//!
//! The second argument makes a filter before its handshake, and the peer that it talks to.

use crate::filter::{Filter, Inward};
use resp::Output;

/// The other end of a filter, in memory.
pub trait FilterPeer {
    /// Sends bytes, as soon as the handshake permits it.
    fn send(&mut self, plain: &[u8]);

    /// Announces that nothing follows.
    fn finish(&mut self);

    /// Takes what it has for the wire by now.
    fn outgoing(&mut self) -> Vec<u8>;

    /// Decodes bytes from the wire, and returns their contents.
    ///
    /// # Panics
    /// Panics if the filter does not keep to the protocol.
    fn receive(&mut self, wire: &[u8]) -> Vec<u8>;

    /// Whether the filter has announced that nothing follows.
    fn saw_end(&self) -> bool;
}

/// Runs every test of the suite against one filter; see [`crate::testing::filters`].
#[macro_export]
macro_rules! filter_suite {
    ($name:ident, $make:expr) => {
        $crate::filter_suite! { @tests $name, $make;
            bytes_pass_in_any_pieces, much_passes, nothing_but_an_incomplete_record_is_held,
            ends_are_announced, what_comes_before_the_end_passes, nonsense_breaks_it
        }
    };
    (@tests $name:ident, $make:expr; $($test:ident),+) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            $(#[test]
            fn $test() {
                $crate::testing::filters::$test($make);
            })+
        }
    };
}

/// A filter and its peer, with the wire between them.
struct Ends<F, P> {
    filter: F,
    peer: P,
    /// The filter's output that the peer has not taken.
    wire: Output,
    /// The bytes that came out of the filter.
    inside: Vec<u8>,
    /// The bytes that came out of the peer.
    outside: Vec<u8>,
    inward: Inward,
}

impl<F: Filter, P: FilterPeer> Ends<F, P> {
    fn new((filter, peer): (F, P)) -> Self {
        let (inside, outside) = (Vec::new(), Vec::new());
        Ends { filter, peer, wire: Output::new(), inside, outside, inward: Inward::Open }
    }

    /// Hands bytes to the filter, which must accept them.
    fn unwrap(&mut self, bytes: &[u8]) {
        let Ends { filter, wire, inside, .. } = self;
        let unwrapped = filter.unwrap(bytes, &mut |plain| inside.extend_from_slice(plain), wire);
        self.inward = unwrapped.expect("bytes of the filter's own peer");
    }

    /// Carries bytes in both directions, `step` at a time, until there are none.
    fn carry(&mut self, step: usize) {
        loop {
            let (there, back) = (self.peer.outgoing(), self.wire.to_vec());
            self.wire.consume(back.len());
            if there.is_empty() && back.is_empty() {
                return;
            }
            there.chunks(step).for_each(|piece| self.unwrap(piece));
            for piece in back.chunks(step) {
                self.outside.extend(self.peer.receive(piece));
            }
        }
    }

    fn wrap(&mut self, plain: &[u8]) {
        self.filter.wrap(plain, &mut self.wire);
    }
}

/// Bytes that differ from their neighbours.
fn text(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// Bytes come out as they went in, however the wire cuts them, and only after the handshake.
pub fn bytes_pass_in_any_pieces<F: Filter, P: FilterPeer>(make: impl Fn() -> (F, P)) {
    for step in [1, 7, 1 << 20] {
        let mut ends = Ends::new(make());
        assert!(!ends.filter.is_open(), "before the handshake");
        let (question, answer) = (text(1_000), text(700));
        ends.peer.send(&question);
        ends.carry(step);
        assert!(ends.filter.is_open(), "in pieces of {step}");
        assert!(ends.inside == question && ends.outside.is_empty(), "in pieces of {step}");
        ends.wrap(&answer);
        ends.carry(step);
        assert!(ends.outside == answer, "in pieces of {step}");
    }
}

/// There is no limit to how much passes, in both directions.
pub fn much_passes<F: Filter, P: FilterPeer>(make: impl Fn() -> (F, P)) {
    let mut ends = Ends::new(make());
    let much = text(1 << 20);
    ends.carry(1 << 20);
    for piece in much.chunks(50_000) {
        ends.peer.send(piece);
        ends.carry(10_000);
        ends.wrap(piece);
        ends.carry(10_000);
    }
    assert!(ends.inside == much && ends.outside == much);
}

/// Of what was sent, no more is held than a record that has not come to its end.
pub fn nothing_but_an_incomplete_record_is_held<F: Filter, P: FilterPeer>(
    make: impl Fn() -> (F, P),
) {
    let mut ends = Ends::new(make());
    ends.carry(1 << 20);
    for _ in 0..3 {
        ends.peer.send(&text(500));
        let wire = ends.peer.outgoing();
        let (most, last) = wire.split_at(wire.len() - 1);
        ends.unwrap(most);
        assert!(ends.filter.held() <= most.len(), "{} bytes", ends.filter.held());
        ends.unwrap(last);
        assert_eq!(ends.filter.held(), 0);
    }
    assert_eq!(ends.inside.len(), 1_500);
}

/// Each side learns that nothing follows from the other.
pub fn ends_are_announced<F: Filter, P: FilterPeer>(make: impl Fn() -> (F, P)) {
    let mut ends = Ends::new(make());
    ends.peer.send(b"last");
    ends.carry(1 << 20);
    assert_eq!(ends.inward, Inward::Open);
    ends.peer.finish();
    ends.carry(1 << 20);
    assert_eq!((ends.inward, &*ends.inside), (Inward::Ended, &b"last"[..]));
    assert!(!ends.peer.saw_end());
    ends.filter.close(&mut ends.wire);
    ends.carry(1 << 20);
    assert!(ends.peer.saw_end());
}

/// Output that precedes the announcement of the end is not lost.
pub fn what_comes_before_the_end_passes<F: Filter, P: FilterPeer>(make: impl Fn() -> (F, P)) {
    let mut ends = Ends::new(make());
    ends.carry(1 << 20);
    ends.wrap(b"farewell");
    ends.filter.close(&mut ends.wire);
    ends.carry(1 << 20);
    assert_eq!((ends.peer.saw_end(), &*ends.outside), (true, &b"farewell"[..]));
}

/// Bytes of another protocol are an error, and pass nothing on.
pub fn nonsense_breaks_it<F: Filter, P: FilterPeer>(make: impl Fn() -> (F, P)) {
    let (mut filter, _) = make();
    let (mut wire, mut passed) = (Output::new(), 0);
    let bytes = b"*1\r\n$4\r\nPING\r\n";
    let unwrapped = filter.unwrap(bytes, &mut |plain| passed += plain.len(), &mut wire);
    assert!(unwrapped.is_err(), "{unwrapped:?}");
    assert!(passed == 0 && !filter.is_open());
}
