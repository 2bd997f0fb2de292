//! [`Groups`]: the groups of a node, as sessions on any thread see them.

use crate::FIRST_GROUP;
use crate::flaw::{Flaw, Flaws};
use crate::journal::TRY_AGAIN;
use crate::member::{Addresses, Clock, Kick, Member, stream_of_group};
use crate::moving::bytes_of;
use crate::positions::stream_of;
use crate::units::Units;
use consensus::{Group, GroupId, NodeId, TikvRaft};
use engine::Engine;
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
    units: Arc<Units>,
    members: Vec<Arc<Member>>,
}

/// The number of bits of the number of a read; those above say which group is meant.
const READ_BITS: u32 = 48;

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

    /// Sets the groups, in the order of their identities. To be called once.
    pub(crate) fn form(&self, units: Arc<Units>, members: Vec<Arc<Member>>) {
        let first = self.formed.set(Formed { units, members }).is_ok();
        debug_assert!(first, "groups are formed once");
    }

    /// The identity of the node.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The units of slots, once there are groups.
    pub(crate) fn all_units(&self) -> Option<&Arc<Units>> {
        self.formed.get().map(|formed| &formed.units)
    }

    /// All groups; none before the node knows of any.
    pub fn members(&self) -> &[Arc<Member>] {
        self.formed.get().map_or(&[], |formed| &formed.members)
    }

    /// The group of this identity.
    pub fn member(&self, group: GroupId) -> Option<&Arc<Member>> {
        self.members().get(group.checked_sub(FIRST_GROUP)? as usize)
    }

    /// The slots of a group, in ascending ranges. A unit that is being moved still is the former group's.
    pub fn slots(&self, group: GroupId) -> Vec<Range<u16>> {
        self.slots_if(|member, _| member.group_id() == group)
    }

    /// The slots of units whose group, and whether they are being moved, pass a test.
    fn slots_if(&self, test: impl Fn(&Member, bool) -> bool) -> Vec<Range<u16>> {
        let Some(Formed { units, members }) = self.formed.get() else { return Vec::new() };
        let mut ranges: Vec<Range<u16>> = Vec::new();
        for unit in 0..units.count() {
            let owner = units.owner(unit);
            let owner = owner.and_then(|owner| Some((members.get(owner.place)?, owner.moves)));
            if !owner.is_some_and(|(member, moves)| test(member, moves)) {
                continue;
            }
            let slots = units.slots(unit);
            match ranges.last_mut() {
                Some(last) if last.end == slots.start => last.end = slots.end,
                _ => ranges.push(slots),
            }
        }
        ranges
    }

    /// The group that has a slot. While the slot is being moved, that is the former one.
    pub fn of(&self, slot: u16) -> Option<&Arc<Member>> {
        self.at(slot).map(|(member, _)| member)
    }

    /// The group that has a slot, and whether nobody serves it because it is being moved.
    fn at(&self, slot: u16) -> Option<(&Arc<Member>, bool)> {
        let Formed { units, members } = self.formed.get()?;
        let owner = units.owner(units.unit(slot)?)?;
        Some((members.get(owner.place)?, owner.moves))
    }

    /// The unit of a slot.
    pub fn unit(&self, slot: u16) -> Option<u16> {
        self.formed.get()?.units.unit(slot)
    }

    /// The slots of a unit; none of one that does not exist.
    pub fn slots_of_unit(&self, unit: u16) -> Range<u16> {
        let formed = self.formed.get().filter(|formed| unit < formed.units.count());
        formed.map_or(0..0, |formed| formed.units.slots(unit))
    }

    /// The number of units of slots; zero before the node knows of any group.
    pub fn units(&self) -> u16 {
        self.formed.get().map_or(0, |formed| formed.units.count())
    }

    /// Whether a slot is on its way from one group to another, or is to go.
    pub fn moves(&self, slot: u16) -> bool {
        let Some(Formed { units, .. }) = self.formed.get() else { return false };
        let Some(unit) = units.unit(slot) else { return false };
        units.is_to_go(unit) || units.owner(unit).is_some_and(|owner| owner.moves)
    }

    /// Whether a slot is on its way from one group to another: it was given away, and arrives.
    pub fn is_given_away(&self, slot: u16) -> bool {
        self.at(slot).is_some_and(|(_, moves)| moves)
    }

    /// The groups that want the unit of a slot, which another one has.
    pub fn wanting(&self, slot: u16) -> Vec<&Arc<Member>> {
        let Some(Formed { units, .. }) = self.formed.get() else { return Vec::new() };
        let wanting = units.unit(slot).map(|unit| units.wanting(unit)).unwrap_or_default();
        wanting.into_iter().filter_map(|group| self.member(group)).collect()
    }

    /// The number of units that are on their way, or are to go.
    pub fn moving(&self) -> usize {
        let first = |unit| self.slots_of_unit(unit).start;
        (0..self.units()).filter(|unit| self.moves(first(*unit))).count()
    }

    /// Whether the unit of a slot is too large to be moved: the bytes of memory that it has, and how
    /// many it may have. `None` if it is not.
    pub fn too_large(&self, slot: u16, engine: &Engine) -> Option<(u64, u64)> {
        let bytes = bytes_of(engine, self.slots_of_unit(self.unit(slot)?));
        let most = self.of(slot)?.largest_unit();
        (bytes > most).then_some((bytes, most))
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
        let Some(Formed { units, members }) = self.formed.get() else { return Err(DOWN.into()) };
        let push =
            |member: &Arc<Member>| member.push_if_led(effect, units.changed_by(member.group_id()));
        let parts: Vec<_> = members.iter().filter_map(push).collect();
        match parts.is_empty() {
            true => Err(TRY_AGAIN.into()),
            false => Ok(self.several.lock().of(parts)),
        }
    }

    /// Whether any slot is being moved.
    fn any_moves(&self) -> bool {
        self.formed.get().is_some_and(|formed| formed.units.any_moves())
    }

    fn appending(&self, slot: u16) -> Result<&Arc<Member>, Refusal> {
        self.of(slot).ok_or_else(|| DOWN.into())
    }
}

/// The route of a slot that is being moved from a group: nobody serves it for a moment.
fn moving(from: &Member) -> Route {
    from.leader().map_or(Route::Down, |_| Route::TryAgain)
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
            slot => match self.at(slot) {
                Some((_, true)) => Err(TRY_AGAIN.into()),
                Some((member, false)) => member.admit(slot),
                None => Err(DOWN.into()),
            },
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
        if let Some((member, moves)) = self.at(slot) {
            return if moves { moving(member) } else { member.route(slot, session) };
        }
        let (led, first) = (self.led(), self.members().first());
        match first.filter(|_| slot == EVERY_SLOT) {
            Some(_) if led != 0 && self.any_moves() => Route::TryAgain,
            Some(_) if led != 0 => Route::Serve { stream: SEVERAL, fence: led },
            Some(first) => match first.route(0, session) {
                Route::Serve { .. } => Route::TryAgain,
                elsewhere => elsewhere,
            },
            None => Route::Down,
        }
    }

    fn route_read(&self, slot: u16, session: &SessionState, asked: Option<u64>) -> Route {
        let (member, moves) = match self.at(slot) {
            Some(at) => at,
            None => return Route::Down,
        };
        if moves {
            return moving(member);
        }
        // What another group was asked before the slot moved says nothing about this one.
        let tag = u64::from(stream_of_group(member.group_id())) << READ_BITS;
        let asked = asked.filter(|asked| asked >> READ_BITS << READ_BITS == tag);
        match member.route_read(slot, session, asked.map(|asked| asked ^ tag)) {
            Route::Later(asked) => Route::Later(asked | tag),
            route => route,
        }
    }

    fn route_channel(&self, slot: u16, when_down: bool) -> Route {
        self.of(slot).map_or(Route::Down, |member| member.route_channel(slot, when_down))
    }

    fn is_divided(&self) -> bool {
        self.members().len() > 1
    }

    fn served(&self) -> Vec<Range<u16>> {
        self.slots_if(|member, moves| member.is_open() && !moves)
    }

    fn shown(&self) -> Vec<Range<u16>> {
        self.slots_if(|member, _| member.is_open())
    }

    fn is_current(&self, slot: u16, stream: u16, fence: u64) -> bool {
        if stream == SEVERAL {
            return self.led() == fence && !self.any_moves();
        }
        let has_slot = |(member, moves): (&Arc<Member>, bool)| {
            stream_of_group(member.group_id()) == stream && !moves
        };
        self.at(slot).is_some_and(has_slot)
            && self.in_stream(stream).is_some_and(|it| it.is_current(slot, stream, fence))
    }

    fn largest_write(&self) -> usize {
        self.members().first().map_or(usize::MAX, |member| member.largest_write())
    }
}
