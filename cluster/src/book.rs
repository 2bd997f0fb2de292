//! [`Book`]: a node's identity and the other nodes that it knows, as nodes keep them on disk and
//! tell them to each other.
//!
//! Nodes do not vote on addresses. Each node alone announces its own, the latest announcement
//! counts, and every node passes on what it knows (gossip). Which nodes are *members* of the group
//! is decided by the group.

use crate::wire::{Greeting, OLDEST_FOLDER, Peer, VERSION};
use consensus::NodeId;
use member::GROUPS_MAX;
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet};

/// The highest number of known nodes.
pub const NODES_MAX: usize = 64;

/// The highest number of nodes that are remembered as forgotten.
const FORGOTTEN_MAX: usize = 4_096;

/// The longest name of a host, in bytes.
const HOST_MAX: usize = 255;

/// The reason why a greeting is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Stranger {
    /// The sender uses another version of the protocol.
    #[error("it speaks another version of the protocol")]
    Version,
    /// The sender belongs to another cluster.
    #[error("it belongs to another cluster")]
    Cluster,
    /// The sender's cluster has another number of groups than the one that this node has forgotten.
    #[error("its cluster has another number of groups than the last one: start this node again")]
    Groups,
    /// The sender has been forgotten by this cluster.
    #[error("it was forgotten by this cluster")]
    Forgotten,
    /// The greeting is invalid.
    #[error("what it says makes no sense")]
    Garbage,
    /// Another node than the expected one answered.
    #[error("another node answers at this address")]
    Another,
    /// It has no certificate of a trusted authority, or does not speak TLS.
    #[error("it has shown no certificate of a trusted authority")]
    Certificate,
}

/// The nodes that a node knows, itself included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Book {
    /// This node.
    pub me: Peer,
    /// The identity of the cluster; zero while the node belongs to none.
    pub cluster: u64,
    /// The number of groups of the cluster, which never changes; zero while the node knows of none.
    pub groups: u16,
    /// The other nodes.
    pub others: BTreeMap<NodeId, Peer>,
    /// The nodes that were removed for good. Identities are never reused.
    pub forgotten: BTreeSet<NodeId>,
}

impl Book {
    /// The book of a node that knows no other node.
    pub fn new(me: Peer) -> Book {
        Book { me, cluster: 0, groups: 0, others: BTreeMap::new(), forgotten: BTreeSet::new() }
    }

    /// The greeting of this node. `your_host` is the host at which it reaches the receiver.
    pub fn greeting(&self, your_host: &str) -> Greeting {
        Greeting {
            version: VERSION,
            cluster: self.cluster,
            from: self.me.id,
            nodes: std::iter::once(&self.me).chain(self.others.values()).cloned().collect(),
            forgotten: self.forgotten.iter().copied().collect(),
            your_host: your_host.into(),
            to: 0,
            groups: self.groups.into(),
        }
    }

    /// Merges what another node says, whose address is `remote`. Returns whether anything was
    /// new.
    ///
    /// # Errors
    /// Fails if the sender is not a node of this cluster or the greeting is invalid. Nothing is
    /// merged then.
    pub fn merge(&mut self, said: Greeting, remote: &str) -> Result<bool, Stranger> {
        self.check(&said)?;
        let before = self.clone();
        if self.cluster == 0 {
            self.cluster = said.cluster;
            self.groups = said.groups as u16;
        }
        if self.me.host.is_empty() && is_host(&said.your_host) {
            self.me.host = said.your_host;
        }
        let room = FORGOTTEN_MAX.saturating_sub(self.forgotten.len());
        self.forgotten.extend(said.forgotten.iter().take(room).filter(|id| **id != self.me.id));
        for mut peer in said.nodes {
            if peer.id == said.from && peer.host.is_empty() {
                peer.host = remote.into();
            }
            self.note(peer);
        }
        self.others.retain(|id, _| !self.forgotten.contains(id));
        Ok(*self != before)
    }

    fn check(&self, said: &Greeting) -> Result<(), Stranger> {
        if said.version != VERSION {
            return Err(Stranger::Version);
        }
        if self.cluster != 0 && said.cluster != 0 && self.cluster != said.cluster {
            return Err(Stranger::Cluster);
        }
        if said.to != 0 && said.to != self.me.id {
            return Err(Stranger::Another);
        }
        if self.forgotten.contains(&said.from) {
            return Err(Stranger::Forgotten);
        }
        let groups = 1..=u32::from(GROUPS_MAX);
        if said.cluster != 0 && !groups.contains(&said.groups) {
            return Err(Stranger::Garbage);
        }
        if self.groups != 0 && said.cluster != 0 && said.groups != u32::from(self.groups) {
            return Err(Stranger::Groups);
        }
        let sound = said.from != 0 && said.from != self.me.id && said.nodes.len() <= NODES_MAX;
        if sound { Ok(()) } else { Err(Stranger::Garbage) }
    }

    fn note(&mut self, peer: Peer) {
        let sound = peer.id != 0
            && is_host(&peer.host)
            && [peer.port, peer.bus_port].iter().all(|port| (1..=65_535).contains(port));
        if !sound || peer.id == self.me.id {
            return;
        }
        let full = self.others.len() + 1 >= NODES_MAX;
        match self.others.get(&peer.id) {
            Some(known) if known.stamp >= peer.stamp => {}
            None if full => {}
            _ => drop(self.others.insert(peer.id, peer)),
        }
    }

    /// Forgets a node for good. Returns whether it was known.
    pub fn forget(&mut self, id: NodeId) -> bool {
        let known = self.others.remove(&id).is_some();
        if known && self.forgotten.len() < FORGOTTEN_MAX {
            self.forgotten.insert(id);
        }
        known
    }

    /// Encodes the book as its file keeps it.
    pub fn encode(&self) -> Vec<u8> {
        self.greeting("").encode_to_vec()
    }

    /// Whether these bytes are a book of a version of the protocol whose data cannot be used.
    pub fn is_of_another_version(bytes: &[u8]) -> bool {
        let version = Greeting::decode(bytes).map_or(VERSION, |said| said.version);
        !(OLDEST_FOLDER..=VERSION).contains(&version) && version != 0
    }

    /// Decodes what [`Book::encode`] wrote; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Book> {
        let said = Greeting::decode(bytes).ok()?;
        let me = said.nodes.iter().find(|peer| peer.id == said.from && peer.id != 0)?.clone();
        let others = said.nodes.iter().filter(|peer| peer.id != me.id);
        let others: BTreeMap<_, _> = others.map(|peer| (peer.id, peer.clone())).collect();
        let forgotten = said.forgotten.iter().copied().collect();
        let is_usable = (OLDEST_FOLDER..=VERSION).contains(&said.version);
        (is_usable && others.len() < NODES_MAX).then_some(Book {
            me,
            cluster: said.cluster,
            groups: u16::try_from(said.groups).ok()?,
            others,
            forgotten,
        })
    }
}

/// Whether a text is valid as a host. Hosts appear in lines of replies, so few characters are
/// allowed.
pub fn is_host(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
    !text.is_empty() && text.len() <= HOST_MAX && text.bytes().all(fits)
}

/// A node's identity as Redis shows it: forty hexadecimal digits, of which the first sixteen are
/// the identity.
pub fn name_of(id: NodeId) -> String {
    let mut mixed = id;
    let mut word = || {
        mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        mixed
    };
    let (first, second) = (word(), word());
    format!("{id:016x}{first:016x}{:08x}", second >> 32)
}

/// The identity in a name that [`name_of`] made; `None` for any other text.
pub fn id_of(name: &str) -> Option<NodeId> {
    let id = u64::from_str_radix(name.get(..16)?, 16).ok()?;
    name_of(id).eq_ignore_ascii_case(name).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: NodeId, stamp: u64, host: &str) -> Peer {
        Peer { id, stamp, host: host.into(), port: 7000 + id as u32, bus_port: 17_000 }
    }

    fn book(id: NodeId, cluster: u64) -> Book {
        let groups = u16::from(cluster != 0) * 3;
        Book { cluster, groups, ..Book::new(peer(id, 1, "10.0.0.1")) }
    }

    #[test]
    fn who_is_in_no_cluster_joins_the_one_it_hears_of_and_learns_who_is_there() {
        let (mut old, mut new) = (book(1, 77), book(2, 0));
        old.others.insert(3, peer(3, 1, "10.0.0.3"));
        assert_eq!(new.merge(old.greeting("10.9.9.9"), "10.0.0.1"), Ok(true));
        assert_eq!((new.cluster, new.groups, new.others.len()), (77, 3, 2));
        assert_eq!(new.me.host, "10.0.0.1", "it knew its host");
        assert_eq!(new.merge(old.greeting(""), "10.0.0.1"), Ok(false), "nothing is new");
        assert_eq!(old.merge(new.greeting(""), "10.0.0.2"), Ok(true));
        assert_eq!(old.others.len(), 2);
        let older = Greeting { version: OLDEST_FOLDER, ..old.greeting("") };
        assert_eq!(Book::decode(&older.encode_to_vec()), Some(old.clone()));
        assert_eq!(Book::decode(&old.encode()), Some(old));
    }

    #[test]
    fn hosts_are_learnt_from_who_sees_them() {
        let (mut one, mut two) = (Book::new(peer(1, 1, "")), Book::new(peer(2, 1, "")));
        two.merge(one.greeting("10.0.0.2"), "10.0.0.1").unwrap();
        assert_eq!(two.me.host, "10.0.0.2");
        assert_eq!(two.others[&1].host, "10.0.0.1");
        one.merge(two.greeting("10.0.0.1"), "10.0.0.2").unwrap();
        assert_eq!((&*one.me.host, &*one.others[&2].host), ("10.0.0.1", "10.0.0.2"));
    }

    #[test]
    fn strangers_are_refused_and_change_nothing() {
        let mut mine = book(1, 77);
        let before = mine.clone();
        let hello = book(2, 77).greeting("");
        for (said, why) in [
            (Greeting { version: VERSION + 1, ..hello.clone() }, Stranger::Version),
            (Greeting { groups: 0, ..hello.clone() }, Stranger::Garbage),
            (Greeting { groups: 65, ..hello.clone() }, Stranger::Garbage),
            (Greeting { cluster: 78, ..hello.clone() }, Stranger::Cluster),
            (Greeting { to: 9, ..hello.clone() }, Stranger::Another),
            (Greeting { from: 0, ..hello.clone() }, Stranger::Garbage),
            (Greeting { from: 1, ..hello.clone() }, Stranger::Garbage),
            (Greeting { nodes: vec![peer(2, 1, "h"); 65], ..hello.clone() }, Stranger::Garbage),
        ] {
            assert_eq!(mine.merge(said, "10.0.0.2"), Err(why));
        }
        assert_eq!(mine, before);
        // Nodes that cannot be are passed over, and the rest is taken.
        let odd = ["", "a b", "a\r\nb", &"x".repeat(256)].map(|host| peer(9, 1, host));
        let nodes = odd.into_iter().chain([Peer { port: 70_000, ..peer(8, 1, "h") }]);
        let said = Greeting { nodes: nodes.chain([peer(2, 1, "h")]).collect(), ..hello };
        assert_eq!(mine.merge(said, "10.0.0.2"), Ok(true));
        assert_eq!(mine.others.keys().copied().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn who_is_forgotten_stays_so_and_the_later_word_counts() {
        let mut mine = book(1, 77);
        mine.merge(book(2, 77).greeting(""), "10.0.0.2").unwrap();
        let later = Book { me: peer(2, 5, "10.0.0.7"), ..book(2, 77) };
        mine.merge(later.greeting(""), "10.0.0.2").unwrap();
        mine.merge(book(2, 77).greeting(""), "10.0.0.2").unwrap();
        assert_eq!(mine.others[&2].host, "10.0.0.7");
        assert!(mine.forget(2) && !mine.forget(2));
        assert_eq!(mine.merge(later.greeting(""), "10.0.0.7"), Err(Stranger::Forgotten));
        let mut other = book(3, 77);
        other.merge(later.greeting(""), "10.0.0.7").unwrap();
        other.merge(mine.greeting(""), "10.0.0.1").unwrap();
        assert_eq!(other.others.keys().copied().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn names_stand_for_identities() {
        for id in [1, 2, u64::MAX] {
            let name = name_of(id);
            assert_eq!((name.len(), id_of(&name)), (40, Some(id)));
        }
        assert_eq!(id_of("0000000000000001"), None);
        assert_eq!(id_of(&"0".repeat(39)), None);
        assert_eq!(id_of("ä"), None);
    }
}
