//! [`LoadTarget`]: where a start loads data to.

use engine::command::Spec;
use engine::config::ConfigStore;
use engine::replication::Cut;
use parking_lot::Mutex;
use std::sync::Arc;
use storage::Backend;

/// The backend and settings that a start loads data into, and the other things found in the files.
pub(crate) struct LoadTarget {
    pub backend: Arc<dyn Backend>,
    pub config: Arc<ConfigStore>,
    #[cfg_attr(not(feature = "aof"), expect(dead_code, reason = "only a log is replayed"))]
    pub commands: Vec<&'static [Spec]>,
    /// Texts of function libraries that were found: the engine that serves is made later.
    pub libraries: Mutex<Vec<Vec<u8>>>,
    /// The position in a stream that the data are of, if that is known.
    pub position: Mutex<Option<Cut>>,
}

impl LoadTarget {
    /// Nothing is loaded yet.
    pub fn new(
        backend: Arc<dyn Backend>,
        config: Arc<ConfigStore>,
        commands: Vec<&'static [Spec]>,
    ) -> LoadTarget {
        LoadTarget {
            backend,
            config,
            commands,
            libraries: Mutex::default(),
            position: Mutex::default(),
        }
    }
}
