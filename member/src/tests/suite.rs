//! A leader under the conformance suite of journals.

use super::*;
use std::cell::RefCell;
use storage::Db;
use storage::journal::{Appended, Position, Refusal, Withholds};

thread_local! {
    /// The nodes of the test that runs the suite of journals on this thread.
    static NODES: RefCell<Option<Trio>> = const { RefCell::new(None) };
}

/// The leader's member as a journal. `sync` lets the nodes do their work.
struct Leader(Arc<Member>);

impl Leader {
    fn elect() -> Arc<Leader> {
        let mut trio = Trio::new();
        let id = trio.elect(0);
        let member = trio.host(id).node.member().clone();
        NODES.set(Some(trio));
        Arc::new(Leader(member))
    }
}

impl Journal for Leader {
    fn append(&self, slot: u16, db: Db, effect: &[&[u8]]) -> Appended {
        self.0.append(slot, db, effect)
    }

    fn append_encoded(&self, slot: u16, db: Db, resp: &[u8]) -> Appended {
        self.0.append_encoded(slot, db, resp)
    }

    fn append_atomic(&self, slot: u16, effects: &[(Db, Vec<Vec<u8>>)]) -> Appended {
        self.0.append_atomic(slot, effects)
    }

    fn admit(&self, slot: u16) -> Result<(), Refusal> {
        self.0.admit(slot)
    }

    fn may_refuse(&self) -> bool {
        self.0.may_refuse()
    }

    fn write_up_to(&self, position: Position) {
        self.0.write_up_to(position);
    }

    fn poll(&self, position: Position, waker: &Waker) -> Fate {
        self.0.poll(position, waker)
    }

    fn withholds(&self) -> Withholds {
        self.0.withholds()
    }

    fn sync(&self) -> storage::Result<()> {
        NODES.with_borrow_mut(|trio| trio.as_mut().unwrap().settle());
        Ok(())
    }
}

storage::testing::journals::journals!(leader, || (Leader::elect(), ()));
