//! [`EngineService`]: an engine as a service for runtimes.

use super::Session;
use crate::config::Id;
use crate::engine::Engine;
use runtime::{Connection, Now, Peer, Rejection, Service};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

/// The refusal of clients on other machines in protected mode. The code is Redis's, the text is
/// ours.
const PROTECTED: &str = "-DENIED The server is in protected mode: it has no password, so it only \
    serves clients on its own machine. To serve others, set one (requirepass), or switch the mode \
    off there with CONFIG SET protected-mode no, or start with --protected-mode no where the \
    network is closed to strangers.\r\n";

/// The refusal of what would be one connection too many without authentication.
const TOO_MANY_UNAUTHENTICATED: &str = "-ERR max number of unauthenticated clients reached\r\n";

/// Whether `unauthenticated-max` refuses a new connection, which would have to authenticate. The
/// Unix-domain socket stays open to the operator.
fn has_too_many_unauthenticated(engine: &Engine, peer: &Peer) -> bool {
    let limit = engine.config.integer(Id::UnauthenticatedMax) as usize;
    limit > 0
        && matches!(peer, Peer::Tcp { .. })
        && !engine.acl.is_open()
        && engine.clients.unauthenticated.len() >= limit
}

/// Whether `protected-mode` refuses this client, because there is no password and it comes from
/// another machine.
fn is_protected_from(engine: &Engine, peer: &Peer) -> bool {
    let Peer::Tcp { remote, .. } = peer else { return false };
    !remote.ip().to_canonical().is_loopback()
        && engine.config.boolean(Id::ProtectedMode)
        && !engine.acl.has_default_password()
}

/// An engine as a service for runtimes.
pub struct EngineService(pub Arc<Engine>);

impl Service for EngineService {
    fn connect(
        &self,
        peer: Peer,
        waker: Waker,
        now: Now,
    ) -> Result<Box<dyn Connection>, Rejection> {
        let engine = &self.0;
        if engine.clients.len() >= engine.config.integer(Id::Maxclients) as usize {
            engine.clients.rejected.fetch_add(1, Ordering::Relaxed);
            return Err(Rejection(b"-ERR max number of clients reached\r\n".to_vec()));
        }
        if has_too_many_unauthenticated(engine, &peer) {
            engine.clients.rejected.fetch_add(1, Ordering::Relaxed);
            return Err(Rejection(TOO_MANY_UNAUTHENTICATED.as_bytes().to_vec()));
        }
        if is_protected_from(engine, &peer) {
            engine.clients.rejected.fetch_add(1, Ordering::Relaxed);
            return Err(Rejection(PROTECTED.as_bytes().to_vec()));
        }
        Ok(Box::new(Session::new(engine.clone(), peer, waker, now)))
    }

    fn may_block(&self) -> bool {
        self.0.backend.may_block()
    }
}
