//! [`Groups`]: the groups of a node, as sessions on any thread see them.

use crate::FIRST_GROUP;
use crate::flaw::{Flaw, Flaws};
use crate::journal::TRY_AGAIN;
use crate::layout::Layout;
use crate::member::{Addresses, Clock, Kick, Member, stream_of_group};
use crate::positions::stream_of;
use consensus::{Group, GroupId, NodeId, TikvRaft};
use engine::cluster::{Cluster, Route};
use engine::session::SessionState;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use storage::Db;
use storage::journal::{
    Appended, EVERY_SLOT, Fate, Journal, Position, Refusal, SEVERAL, Withholds,
};

/// The number of positions in several streams that are remembered. Of an older one nobody knows what
/// became of it.
const SEVERAL_MAX: usize = 4_096;

/// The error of a command for a node that knows of no group.
const DOWN: &str = "CLUSTERDOWN Hash slot not served";

/// The groups of a node, and what they share.
pub struct Groups {
    id: NodeId,
    clock: Clock,
    kick: Kick,
    flaws: Flaws,
    addresses: Addresses,
    /// The groups, once the node knows how many there are.
    formed: OnceLock<Formed>,
    several: Mutex<Several>,
}

/// The groups, each of which has some slots.
struct Formed {
    layout: Layout,
    members: Vec<Arc<Member>>,
}

/// Positions that stand for one in each of several streams.
#[derive(Default)]
struct Several {
    last: u64,
    known: VecDeque<(u64, Vec<Position>)>,
}

impl Several {
    /// A position that stands for all of `parts`.
    fn of(&mut self, parts: Vec<Position>) -> Position {
        if let [] | [_] = parts[..] {
            return parts.first().copied().unwrap_or_default();
        }
        if let Some((number, known)) = self.known.back()
            && *known == parts
        {
            return Position { stream: SEVERAL, seq: *number };
        }
        self.last += 1;
        self.known.push_back((self.last, parts));
        if self.known.len() > SEVERAL_MAX {
            self.known.pop_front();
        }
        Position { stream: SEVERAL, seq: self.last }
    }

    /// The positions for which another one stands; none if it is forgotten.
    fn parts(&self, position: Position) -> Vec<Position> {
        if position.stream != SEVERAL {
            return vec![position];
        }
        let found = self.known.binary_search_by_key(&position.seq, |(number, _)| *number);
        found.map_or_else(|_| Vec::new(), |at| self.known[at].1.clone())
    }
}

impl Groups {
    pub(crate) fn new(
        id: NodeId,
        addresses: BTreeMap<NodeId, Box<str>>,
        (clock, kick): (Clock, Kick),
        flaws: Flaws,
    ) -> Groups {
        let addresses = Addresses::new(addresses.into());
        let (formed, several) = (OnceLock::new(), Mutex::default());
        Groups { id, clock, kick, flaws, addresses, formed, several }
    }

    /// A member of a group of this node; `is_only` says whether there is no other group.
    pub(crate) fn member_of(&self, id: GroupId, is_only: bool, group: Group<TikvRaft>) -> Member {
        let ways = (self.clock.clone(), self.kick.clone());
        Member::new((self.id, id, is_only), group, self.addresses.clone(), ways, self.flaws)
    }

    /// Sets the groups, in the order of the layout. To be called once.
    pub(crate) fn form(&self, layout: Layout, members: Vec<Arc<Member>>) {
        let first = self.formed.set(Formed { layout, members }).is_ok();
        debug_assert!(first, "groups are formed once");
    }

    /// The identity of the node.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// All groups; none before the node knows of any.
    pub fn members(&self) -> &[Arc<Member>] {
        self.formed.get().map_or(&[], |formed| &formed.members)
    }

    /// The group of this identity.
    pub fn member(&self, group: GroupId) -> Option<&Arc<Member>> {
        self.members().get(group.checked_sub(FIRST_GROUP)? as usize)
    }

    /// The slots of a group; none for one that does not exist.
    pub fn slots(&self, group: GroupId) -> Range<u16> {
        self.formed.get().map_or(0..0, |formed| formed.layout.slots(group))
    }

    /// The group that has a slot.
    pub fn of(&self, slot: u16) -> Option<&Arc<Member>> {
        let formed = self.formed.get()?;
        formed.members.get(formed.layout.place(slot)?)
    }

    /// Replaces the addresses of nodes that clients are told, each `host:port`.
    pub fn set_addresses(&self, addresses: BTreeMap<NodeId, Box<str>>) {
        *self.addresses.write() = addresses;
    }

    /// The group whose effects are in a stream.
    fn in_stream(&self, stream: u16) -> Option<&Arc<Member>> {
        self.members().get(usize::from(stream))
    }

    /// The groups that are led here, as bits.
    fn led(&self) -> u64 {
        let open = self.members().iter().filter(|member| member.is_open());
        open.map(|member| 1_u64 << stream_of_group(member.group_id())).sum()
    }

    /// [`Journal::admit`] for what concerns every slot.
    fn admit_all(&self) -> Result<(), Refusal> {
        let mut open = self.members().iter().filter(|member| member.is_open()).peekable();
        match (open.peek(), self.members().first()) {
            (Some(_), _) => open.try_for_each(|member| member.admit(0)),
            (None, Some(first)) => first.admit(0),
            (None, None) => Err(DOWN.into()),
        }
    }

    /// Appends an effect to the log of every group that is led here.
    fn append_all(&self, effect: &[&[u8]]) -> Appended {
        let parts: Vec<_> =
            self.members().iter().filter_map(|member| member.push_if_led(effect)).collect();
        match parts.is_empty() {
            true => Err(TRY_AGAIN.into()),
            false => Ok(self.several.lock().of(parts)),
        }
    }

    fn appending(&self, slot: u16) -> Result<&Arc<Member>, Refusal> {
        self.of(slot).ok_or_else(|| DOWN.into())
    }
}

impl Journal for Groups {
    fn append(&self, slot: u16, db: Db, effect: &[&[u8]]) -> Appended {
        match slot {
            EVERY_SLOT => self.append_all(effect),
            slot => self.appending(slot)?.append(slot, db, effect),
        }
    }

    fn append_encoded(&self, slot: u16, db: Db, resp: &[u8]) -> Appended {
        self.appending(slot)?.append_encoded(slot, db, resp)
    }

    fn append_atomic(&self, slot: u16, effects: &[(Db, Vec<Vec<u8>>)]) -> Appended {
        self.appending(slot)?.append_atomic(slot, effects)
    }

    fn admit(&self, slot: u16) -> Result<(), Refusal> {
        match slot {
            EVERY_SLOT => self.admit_all(),
            slot => self.appending(slot)?.admit(slot),
        }
    }

    fn may_refuse(&self) -> bool {
        true
    }

    fn write_up_to(&self, _: Position) {
        (self.kick)();
    }

    fn poll(&self, position: Position, waker: &Waker) -> Fate {
        if position.stream != SEVERAL {
            let member = self.in_stream(stream_of(position));
            return member.map_or(Fate::Unknown, |member| member.poll(position, waker));
        }
        let parts = self.several.lock().parts(position);
        if parts.is_empty() {
            return Fate::Unknown;
        }
        let fates = parts.iter().map(|part| self.poll(*part, waker));
        fates.fold(Fate::Kept, |all, fate| if all == Fate::Kept { fate } else { all })
    }

    fn seen(&self, last: Position, fence: Option<u64>) -> Position {
        self.in_stream(last.stream).map_or(last, |member| member.seen(last, fence))
    }

    fn seen_several(&self, last: &dyn Fn(u16) -> Position) -> Position {
        let streams = (0..).take(self.members().len());
        let seen = streams.map(|stream| self.seen(last(stream), None));
        let parts = seen.filter(|position| position.seq != 0).collect();
        self.several.lock().of(parts)
    }

    fn parts(&self, position: Position, each: &mut dyn FnMut(Position)) {
        let parts = self.several.lock().parts(position);
        parts.into_iter().for_each(each);
    }

    fn withholds(&self) -> Withholds {
        match self.flaws.has(Flaw::ConditionNotWithheld) {
            true => Withholds::Writes,
            false => Withholds::Everything,
        }
    }
}

impl Cluster for Groups {
    fn route(&self, slot: u16, session: &SessionState) -> Route {
        if let Some(member) = self.of(slot) {
            return member.route(slot, session);
        }
        let (led, first) = (self.led(), self.members().first());
        match first.filter(|_| slot == EVERY_SLOT) {
            Some(_) if led != 0 => Route::Serve { stream: SEVERAL, fence: led },
            Some(first) => match first.route(0, session) {
                Route::Serve { .. } => Route::TryAgain,
                elsewhere => elsewhere,
            },
            None => Route::Down,
        }
    }

    fn route_read(&self, slot: u16, session: &SessionState, asked: Option<u64>) -> Route {
        self.of(slot).map_or(Route::Down, |member| member.route_read(slot, session, asked))
    }

    fn route_channel(&self, slot: u16, when_down: bool) -> Route {
        self.of(slot).map_or(Route::Down, |member| member.route_channel(slot, when_down))
    }

    fn is_divided(&self) -> bool {
        self.members().len() > 1
    }

    fn served(&self) -> Vec<Range<u16>> {
        let open = self.members().iter().filter(|member| member.is_open());
        open.map(|member| self.slots(member.group_id())).collect()
    }

    fn is_current(&self, stream: u16, fence: u64) -> bool {
        match stream {
            SEVERAL => self.led() == fence,
            stream => self.in_stream(stream).is_some_and(|member| member.is_current(stream, fence)),
        }
    }

    fn largest_write(&self) -> usize {
        self.members().first().map_or(usize::MAX, |member| member.largest_write())
    }
}
