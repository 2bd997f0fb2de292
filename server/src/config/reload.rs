//! Reading the configuration again while the server runs.

use super::{Loaded, Sources};
use engine::config::{ConfigStore, Id, SetContext, by_id};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Reloads the configuration, and remembers its contents as of the last reading.
pub(crate) struct Reloader {
    sources: Option<Sources>,
    said: Mutex<Said>,
}

/// The contents of a configuration as read, without later changes at run time.
#[derive(Clone, Default, PartialEq, Eq)]
struct Said {
    values: BTreeMap<Id, String>,
    /// `user` and `rename-command` lines.
    lines: Vec<Vec<String>>,
}

/// The result of a reload.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reloaded {
    /// In force from now on.
    pub applied: Vec<&'static str>,
    /// Changed in a layer, and in force after the next start.
    pub restart: Vec<&'static str>,
    /// Warnings for the operator, one line each.
    pub warnings: Vec<String>,
}

impl Reloader {
    /// Remembers what `loaded` says.
    pub fn new(loaded: &Loaded) -> Self {
        Reloader { sources: loaded.sources.clone(), said: Mutex::new(Said::of(loaded)) }
    }

    /// Reads all layers again. Values that differ from the last reading are set in `store`, all or
    /// none. Changes by `CONFIG SET` meanwhile are kept, unless the directive's own line has
    /// changed.
    ///
    /// # Errors
    /// Fails with a description in one line; nothing has changed then.
    pub fn reload(&self, store: &ConfigStore) -> Result<Reloaded, String> {
        let Some(sources) = &self.sources else {
            return Err("this server was not configured by files".to_owned());
        };
        let loaded = sources.read_again().map_err(|error| error.to_string())?;
        let now = Said::of(&loaded);
        let mut said = self.said.lock();
        let mut reloaded = Reloaded { warnings: loaded.warnings, ..Reloaded::default() };
        let mut pairs = Vec::new();
        for id in said.differing(&now) {
            let (row, value) = (by_id(id), loaded.store.text(id));
            if store.text(id) == value {
                continue;
            }
            if row.immutable {
                reloaded.restart.push(row.name);
            } else {
                reloaded.applied.push(row.name);
                pairs.push((row.name, value));
            }
        }
        if said.lines != now.lines {
            reloaded.restart.push("user, rename-command");
        }
        let pairs: Vec<(&str, &str)> =
            pairs.iter().map(|(name, value)| (*name, &**value)).collect();
        if !pairs.is_empty() {
            // Who can write the file and send the signal may do all that the owner may.
            let context = SetContext { local: true, loading: false, owner: true };
            store.set_many(&pairs, context).map_err(|error| error.to_string())?;
        }
        *said = now;
        Ok(reloaded)
    }
}

/// The directives that determine where clients find a server, which clients are admitted, and which
/// data it loads.
const KEPT_BY_UPGRADES: [Id; 18] = [
    Id::Bind,
    Id::Port,
    Id::TlsPort,
    Id::WebsocketPort,
    Id::WebsocketTlsPort,
    Id::Unixsocket,
    Id::Requirepass,
    Id::Aclfile,
    Id::ProtectedMode,
    Id::Storage,
    Id::Databases,
    Id::Dbfilename,
    Id::Appendonly,
    Id::Appendfilename,
    Id::Appenddirname,
    Id::Replicaof,
    Id::ClusterEnabled,
    Id::Dir,
];

impl Reloader {
    /// The directives which an upgrade must keep, and which a restart with the same words would set
    /// to other values than those in force, because files or a `CONFIG SET` have changed them.
    ///
    /// # Errors
    /// Fails with a description of why such a start would fail.
    pub fn changed_by_a_start(&self, store: &ConfigStore) -> Result<Vec<&'static str>, String> {
        let Some(sources) = &self.sources else { return Ok(Vec::new()) };
        let next = sources.read_again().map_err(|error| error.to_string())?.store;
        let same = |id: &Id| match id {
            // In force it is absolute.
            Id::Dir => canonical(&next.text(*id)) == canonical(&store.text(*id)),
            id => next.text(*id) == store.text(*id),
        };
        let changed = KEPT_BY_UPGRADES.iter().filter(|id| !same(id));
        Ok(changed.map(|id| by_id(*id).name).collect())
    }
}

fn canonical(path: &str) -> Option<PathBuf> {
    std::fs::canonicalize(path).ok()
}

impl Said {
    fn of(loaded: &Loaded) -> Said {
        let value = |id: &Id| (*id, loaded.store.text(*id).to_string());
        let renamed = loaded.renamed_commands.iter();
        let renamed = renamed.map(|(old, new)| vec![old.clone(), new.clone()]);
        Said {
            values: loaded.given.keys().map(value).collect(),
            lines: renamed.chain(loaded.users.iter().cloned()).collect(),
        }
    }

    /// The directives of which one says something else than the other.
    fn differing(&self, other: &Said) -> BTreeSet<Id> {
        let ids = self.values.keys().chain(other.values.keys()).copied();
        ids.filter(|id| self.values.get(id) != other.values.get(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;
    use std::path::PathBuf;
    use std::sync::Arc;

    /// A server's configuration, started from a file with this text and one option; the file.
    fn started(text: &str) -> (tempfile::TempDir, PathBuf, Reloader, Arc<ConfigStore>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.conf");
        std::fs::write(&path, text).unwrap();
        let args = [path.display().to_string(), "--slowlog-max-len".to_owned(), "50".to_owned()];
        let loaded = load(&args, []).unwrap();
        (folder, path, Reloader::new(&loaded), loaded.store)
    }

    #[test]
    fn only_what_its_layers_say_otherwise_changes() {
        let (_folder, path, reloader, store) =
            started("maxmemory 1mb\nslowlog-max-len 20\ntimeout 5\nport 7000\n");
        assert_eq!(reloader.reload(&store), Ok(Reloaded::default()));

        let set = [("maxclients", "77"), ("maxmemory", "3mb")];
        store.set_many(&set, SetContext::default()).unwrap();
        // The option of the command line stays above the file; `timeout` is back at its default.
        std::fs::write(
            &path,
            "maxmemory 1mb\nslowlog-max-len 30\nport 7001\nsave 1 2\nuser a on\n",
        )
        .unwrap();
        let reloaded = reloader.reload(&store).unwrap();
        assert_eq!(reloaded.applied, ["save", "timeout"]);
        assert_eq!(reloaded.restart, ["port", "user, rename-command"]);
        let value = |id| store.text(id).to_string();
        assert_eq!((value(Id::Maxclients), value(Id::Maxmemory)), ("77".into(), "3145728".into()));
        assert_eq!((value(Id::Timeout), value(Id::Save)), ("0".into(), "1 2".into()));
        assert_eq!((value(Id::SlowlogMaxLen), value(Id::Port)), ("50".into(), "7000".into()));
    }

    #[test]
    fn what_is_wrong_changes_nothing() {
        let (_folder, path, reloader, store) = started("timeout 5\n");
        std::fs::write(&path, "timeout 6\nmaxmemry 1\n").unwrap();
        let error = reloader.reload(&store).unwrap_err();
        assert!(error.ends_with("did you mean 'maxmemory'?"), "{error}");
        assert_eq!(store.integer(Id::Timeout), 5);
        std::fs::write(&path, "timeout 6\n").unwrap();
        assert_eq!(reloader.reload(&store).unwrap().applied, ["timeout"]);
        assert_eq!(store.integer(Id::Timeout), 6);
    }

    #[test]
    fn an_upgrade_would_change_what_was_set_since_the_start() {
        let (_folder, path, reloader, store) = started("port 7000\nappendonly no\n");
        assert_eq!(reloader.changed_by_a_start(&store), Ok(vec![]));
        let set = [("appendonly", "yes"), ("requirepass", "secret"), ("timeout", "7")];
        store.set_many(&set, SetContext { owner: true, ..SetContext::default() }).unwrap();
        assert_eq!(reloader.changed_by_a_start(&store), Ok(vec!["requirepass", "appendonly"]));
        std::fs::write(&path, "port 7001\nappendonly yes\nrequirepass secret\n").unwrap();
        assert_eq!(reloader.changed_by_a_start(&store), Ok(vec!["port"]));
        std::fs::write(&path, "nonsense 1\n").unwrap();
        assert!(reloader.changed_by_a_start(&store).is_err());
    }
}
