//! [`Hub`]: what the threads of a node share about it and the other nodes.

use crate::book::{Book, Stranger};
use crate::files::Folder;
use crate::secure::Certificates;
use crate::transport::Counts;
use crate::wire::{Greeting, Peer};
use consensus::{Files, NodeId};
use member::Groups;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;

/// The file that keeps the node's identity and the nodes it knows.
const FILE: &str = "nodes.varve";

/// The name of that file while it is being written.
const NEW_FILE: &str = "nodes.varve.new";

/// The highest number of refused nodes that are named in the log, each once.
const NAMED_MAX: usize = 256;

/// The state that the threads of a node share.
pub struct Hub {
    book: Mutex<Book>,
    folder: PathBuf,
    /// The contents of the file. The lock is held while the file is written, when the book's is
    /// not.
    written: Mutex<Book>,
    groups: OnceLock<Arc<Groups>>,
    named: Mutex<HashSet<(NodeId, Box<str>, Stranger)>>,
    /// The members that are to be forgotten once the group has removed them. Until then their
    /// messages are accepted, because the group may need their vote for it.
    leaving: Mutex<BTreeSet<NodeId>>,
    /// Counts of messages sent, received, lost and refused.
    pub counts: Counts,
    /// The number of units of slots that are not given away, because they are too large.
    pub too_large: AtomicUsize,
    /// The secret that other nodes must present.
    pub secret: crate::service::Secret,
    /// How connections to other nodes are encrypted; not set where they are not.
    pub certificates: OnceLock<Certificates>,
    /// Notified whenever the book has changed.
    pub changed: Notify,
}

/// The addresses that a node announces when it starts.
#[derive(Debug, Clone)]
pub struct Announce {
    /// Its host; empty if the other nodes are to find it out.
    pub host: String,
    /// The port for clients.
    pub port: u16,
    /// The port for other nodes.
    pub bus_port: u16,
    /// The secret that all nodes of the cluster share: printable ASCII, or empty.
    pub secret: Arc<str>,
}

impl Hub {
    /// Loads the node's identity, or creates one: `fresh` is an identity that no other node has.
    /// `stamp` must be larger than at any start before; a time will do.
    ///
    /// # Errors
    /// Fails, with a description, if the file system does, or if the file is damaged, or missing
    /// beside a log.
    pub fn open(
        folder: &Path,
        announce: &Announce,
        fresh: NodeId,
        stamp: u64,
    ) -> Result<Hub, String> {
        let path = folder.join(FILE);
        let shown = path.display();
        let mut book = match std::fs::read(&path) {
            Ok(bytes) => Book::decode(&bytes).ok_or_else(|| match Book::is_of_another_version(&bytes) {
                true => format!("{shown} is of another version, whose data this one cannot use: the node has to join as a new one, with an empty folder"),
                false => format!("{shown} is damaged"),
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if has_log(folder)? {
                    return Err(format!("{shown} is missing beside the log of a group"));
                }
                Book::new(Peer { id: fresh, ..Peer::default() })
            }
            Err(error) => return Err(format!("{shown}: {error}")),
        };
        if book.cluster == 0 {
            book.groups = 0;
        }
        let me = &mut book.me;
        me.stamp = stamp.max(me.stamp + 1);
        (me.port, me.bus_port) = (announce.port.into(), announce.bus_port.into());
        // The host that was found out before may be out of date.
        me.host.clone_from(&announce.host);
        let hub = Hub {
            book: Mutex::new(book.clone()),
            written: Mutex::new(book.clone()),
            folder: folder.to_owned(),
            groups: OnceLock::new(),
            named: Mutex::default(),
            leaving: Mutex::default(),
            counts: Counts::default(),
            too_large: AtomicUsize::default(),
            secret: announce.secret.clone(),
            certificates: OnceLock::new(),
            changed: Notify::new(),
        };
        hub.keep(&book).map_err(|error| format!("{shown}: {error}"))?;
        Ok(hub)
    }

    /// Sets the groups that are told the addresses of nodes.
    pub fn attach(&self, groups: Arc<Groups>) {
        let first = self.groups.set(groups).is_ok();
        debug_assert!(first, "a node has its groups once");
        self.publish(&self.book.lock());
    }

    /// A copy of the book.
    pub fn book(&self) -> Book {
        self.book.lock().clone()
    }

    /// The node's folder, for files that are not the driver's.
    pub fn folder(&self) -> Folder {
        Folder::at(&self.folder)
    }

    /// The identity of this node.
    pub fn id(&self) -> NodeId {
        self.book.lock().me.id
    }

    /// The identity of the cluster; zero while the node belongs to none.
    pub fn cluster(&self) -> u64 {
        self.book.lock().cluster
    }

    /// The number of groups of the cluster; zero while the node belongs to none.
    pub fn groups(&self) -> u16 {
        self.book.lock().groups
    }

    /// A known node.
    pub fn peer(&self, id: NodeId) -> Option<Peer> {
        self.book.lock().others.get(&id).cloned()
    }

    /// Checks whether a node that claims to be `from` in `cluster` may send messages.
    pub fn admits(&self, version: u32, cluster: u64, from: NodeId) -> Result<(), Stranger> {
        let book = self.book.lock();
        if version != crate::wire::VERSION {
            Err(Stranger::Version)
        } else if book.cluster == 0 || cluster != book.cluster {
            Err(Stranger::Cluster)
        } else if book.forgotten.contains(&from) {
            Err(Stranger::Forgotten)
        } else {
            Ok(())
        }
    }

    /// Merges the greeting of another node.
    ///
    /// # Errors
    /// Fails if the greeting is refused. That is counted, and logged once for each node and reason.
    pub fn merge(&self, said: Greeting, remote: &str) -> Result<(), Stranger> {
        let from = said.from;
        let merged = self.change(|book| book.merge(said, remote));
        merged.map(drop).map_err(|why| self.refuse(from, remote, why))
    }

    /// Counts a refused greeting or message, and logs it unless that was done before.
    pub fn refuse(&self, from: NodeId, host: &str, why: Stranger) -> Stranger {
        self.counts.refused.add(1);
        let mut named = self.named.lock();
        if named.len() < NAMED_MAX && named.insert((from, host.into(), why)) {
            tracing::warn!(node = crate::book::name_of(from), host, %why, "a node was refused");
        }
        why
    }

    /// Founds a cluster of so many groups, unless the node belongs to another. The cluster's identity is on the disk
    /// before another node can learn it. Returns whether the node belongs to the cluster now.
    ///
    /// # Errors
    /// Fails if the file system does.
    pub fn found(&self, cluster: u64, groups: u16) -> std::io::Result<bool> {
        let cluster = cluster.max(1);
        let mut written = self.written.lock();
        let founded = Book { cluster, groups, ..self.book() };
        if self.cluster() == 0 {
            self.keep(&founded)?;
            *written = founded;
        }
        drop(written);
        let mut book = self.book.lock();
        if book.cluster == 0 {
            (book.cluster, book.groups) = (cluster, groups);
        }
        let is_in_it = book.cluster == cluster;
        drop(book);
        self.changed.notify_waiters();
        Ok(is_in_it)
    }

    /// Writes changes of the book to its file, and syncs it. The book can be read and changed
    /// meanwhile.
    pub fn save(&self) {
        let mut written = self.written.lock();
        let book = self.book();
        if *written == book {
            return;
        }
        match self.keep(&book) {
            Ok(()) => *written = book,
            // Another attempt follows. After a restart the other nodes tell again what is missing.
            Err(error) => tracing::warn!(%error, "who belongs to the cluster could not be kept"),
        }
    }

    /// Changes the announced addresses of this node. An empty host is found out by the other nodes.
    pub fn announce(&self, what: impl FnOnce(&mut Peer)) {
        let announced = self.change(|book| {
            let before = book.me.clone();
            what(&mut book.me);
            let is_new = book.me != before;
            // Of two announcements of a node the later one counts.
            book.me.stamp += u64::from(is_new);
            Ok(is_new)
        });
        debug_assert!(announced.is_ok(), "nobody refuses it");
    }

    /// Everybody else is forgotten by a node that belongs to no group: who knows it may make its acquaintance again.
    pub fn reset(&self) {
        let reset = self.change(|book| {
            let is_new = book.cluster != 0 || !book.others.is_empty();
            // The number of groups stays as long as the node runs: it has made them.
            book.cluster = 0;
            book.others.clear();
            Ok(is_new)
        });
        debug_assert!(reset.is_ok(), "nobody refuses it");
    }

    /// Marks a member to be removed by the group, which this node leads, and then to be forgotten.
    pub fn let_go(&self, id: NodeId) {
        self.leaving.lock().insert(id);
    }

    /// The nodes that are to be removed and still are in `members`. Those that are not are
    /// forgotten now.
    pub fn leaving(&self, members: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let mut leaving = self.leaving.lock();
        let belongs = |id: &NodeId| members.contains(id);
        let (stay, gone): (BTreeSet<_>, BTreeSet<_>) = leaving.iter().copied().partition(belongs);
        leaving.clone_from(&stay);
        drop(leaving);
        for id in gone {
            self.forget(id);
        }
        stay
    }

    /// Forgets a node for good. Returns whether it was known.
    pub fn forget(&self, id: NodeId) -> bool {
        self.change(|book| Ok(book.forget(id))).unwrap_or(false)
    }

    /// Changes the book. If `what` changed anything, those who wait for it are notified, and one of
    /// them [saves](Self::save) the book. Returns whether anything changed.
    fn change(
        &self,
        what: impl FnOnce(&mut Book) -> Result<bool, Stranger>,
    ) -> Result<bool, Stranger> {
        let mut book = self.book.lock();
        let changed = what(&mut book)?;
        if changed {
            self.publish(&book);
            self.changed.notify_waiters();
        }
        Ok(changed)
    }

    fn publish(&self, book: &Book) {
        let Some(groups) = self.groups.get() else { return };
        let peers = book.others.values().chain([&book.me]);
        let address = |peer: &Peer| (peer.id, format!("{}:{}", peer.host, peer.port).into());
        groups.set_addresses(peers.map(address).collect::<BTreeMap<_, _>>());
    }

    fn keep(&self, book: &Book) -> std::io::Result<()> {
        let new = self.folder.join(NEW_FILE);
        let mut file = std::fs::File::create(&new)?;
        std::io::Write::write_all(&mut file, &book.encode())?;
        file.sync_all()?;
        std::fs::rename(&new, self.folder.join(FILE))?;
        std::fs::File::open(&self.folder)?.sync_all()
    }
}

/// Whether the folder holds the log of a group.
fn has_log(folder: &Path) -> Result<bool, String> {
    let files = Folder::open(folder).map_err(|error| error.to_string())?;
    let names = files.list().map_err(|error| error.to_string())?;
    Ok(names.iter().any(|name| name.ends_with(".log")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{OLDEST_FOLDER, VERSION};

    #[test]
    fn an_identity_survives_and_an_emptied_folder_is_somebody_new() {
        let dir = tempfile::tempdir().unwrap();
        let announce =
            Announce { host: String::new(), port: 7000, bus_port: 17_000, secret: "".into() };
        let first = Hub::open(dir.path(), &announce, 11, 5).unwrap();
        assert!(first.found(77, 3).unwrap() && !first.found(78, 3).unwrap());
        drop(first);
        // The clock went back meanwhile.
        let again = Hub::open(dir.path(), &announce, 12, 4).unwrap();
        assert_eq!(
            (again.id(), again.cluster(), again.groups(), again.book().me.stamp),
            (11, 77, 3, 6)
        );
        std::fs::write(dir.path().join("1.log"), "").unwrap();
        std::fs::write(dir.path().join(FILE), "what?").unwrap();
        let error = |hub: Result<Hub, String>| hub.err().unwrap();
        assert!(error(Hub::open(dir.path(), &announce, 13, 9)).ends_with("is damaged"));
        let older = Greeting { version: OLDEST_FOLDER - 1, from: 11, ..Greeting::default() };
        std::fs::write(dir.path().join(FILE), prost::Message::encode_to_vec(&older)).unwrap();
        assert!(error(Hub::open(dir.path(), &announce, 13, 9)).contains("is of another version"));
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        assert!(error(Hub::open(dir.path(), &announce, 13, 9)).contains("is missing"));
        std::fs::remove_file(dir.path().join("1.log")).unwrap();
        assert_eq!(Hub::open(dir.path(), &announce, 13, 9).unwrap().id(), 13);
    }

    #[test]
    fn strangers_are_counted_each_time_and_messages_need_a_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let announce =
            Announce { host: "h".into(), port: 7000, bus_port: 17_000, secret: "".into() };
        let hub = Hub::open(dir.path(), &announce, 11, 5).unwrap();
        assert_eq!(hub.admits(VERSION, 0, 2), Err(Stranger::Cluster));
        hub.found(77, 1).unwrap();
        assert_eq!(hub.admits(VERSION, 77, 2), Ok(()));
        assert_eq!(hub.admits(VERSION - 1, 77, 2), Err(Stranger::Version));
        assert_eq!(hub.admits(VERSION, 78, 2), Err(Stranger::Cluster));
        let said = Greeting { version: 9, from: 2, ..Greeting::default() };
        for _ in 0..3 {
            assert_eq!(hub.merge(said.clone(), "h"), Err(Stranger::Version));
        }
        assert_eq!(hub.counts.refused.get(), 3);
    }

    #[test]
    fn nobody_waits_for_the_disk_to_read_the_book_or_to_change_it() {
        let dir = tempfile::tempdir().unwrap();
        let announce =
            Announce { host: "h".into(), port: 7000, bus_port: 17_000, secret: "".into() };
        let hub = Arc::new(Hub::open(dir.path(), &announce, 11, 5).unwrap());
        // A disk that does not answer: what is written to it waits for somebody to read.
        let slow = dir.path().join(NEW_FILE);
        assert!(std::process::Command::new("mkfifo").arg(&slow).status().unwrap().success());
        let (done, is_done) = std::sync::mpsc::channel();
        let busy = hub.clone();
        let thread = std::thread::spawn(move || {
            let peer = Peer { id: 2, stamp: 1, host: "h".into(), port: 1, bus_port: 2 };
            let said = Greeting {
                version: VERSION,
                cluster: 7,
                groups: 1,
                from: 2,
                ..Greeting::default()
            };
            busy.merge(Greeting { nodes: vec![peer], ..said }, "h").unwrap();
            done.send(()).unwrap();
            busy.save();
        });
        assert!(is_done.recv_timeout(std::time::Duration::from_secs(30)).is_ok());
        assert_eq!((hub.cluster(), hub.book().others.len()), (7, 1));
        assert!(hub.forget(2) && hub.peer(2).is_none());
        std::fs::read(&slow).unwrap();
        thread.join().unwrap();
        std::fs::remove_file(&slow).unwrap();
        hub.save();
        drop(hub);
        let again = Hub::open(dir.path(), &announce, 12, 9).unwrap();
        assert_eq!((again.cluster(), again.book().forgotten), (7, BTreeSet::from([2])));
    }
}
