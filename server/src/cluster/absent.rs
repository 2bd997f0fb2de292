//! The refusal of `cluster-enabled yes` by a server built without the feature `cluster`.

use crate::config::Loaded;
use crate::error::StartError;
use crate::process::Process;
use engine::Engine;
use engine::config::{ConfigStore, Id};
use runtime::Clock;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use storage::Journal;

/// Never one.
#[derive(Clone, Default)]
pub(crate) struct RunningNode(());

/// Never one.
pub(crate) enum Entrance {}

/// Refuses.
pub(crate) fn wanted(loaded: &Loaded) -> Result<bool, StartError> {
    match loaded.store.boolean(Id::ClusterEnabled) {
        false => Ok(false),
        true => Err(StartError::NotCompiledIn {
            directive: "cluster-enabled",
            value: "yes".into(),
            feature: Some("cluster"),
            available: vec!["no"],
        }),
    }
}

/// Refuses.
pub(crate) fn check(_: &ConfigStore, _: &[SocketAddr]) -> Result<(), StartError> {
    Err(StartError::other("this server was built without the feature `cluster`"))
}

/// Refuses.
pub(crate) fn enter(
    _: &ConfigStore,
    _: &[SocketAddr],
    _: &Path,
    _: Clock,
) -> Result<Entrance, StartError> {
    Err(StartError::other("this server was built without the feature `cluster`"))
}

impl Entrance {
    pub fn journal(&self) -> Arc<dyn Journal> {
        match *self {}
    }

    pub fn start(self, _: &Arc<Engine>, _: &Process) -> Result<RunningNode, StartError> {
        match self {}
    }
}

impl RunningNode {
    pub fn hand_over(&self) {}

    pub fn stop(&self) {}
}
