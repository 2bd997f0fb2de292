//! RESP over WebSocket (RFC 6455), on any runtime, so that a web page can be a client.
//!
//! - [`handshake`]: the request that begins a connection, and whether it is granted.
//! - [`frames`]: extracts the payload of a peer's bytes, without keeping it.
//! - [`filter`]: the sans-IO filter that [`runtime::filter`] puts around a session.
//!
//! Promises: a page whose origin is not listed is refused, because a browser lets any page connect
//! to `localhost` and there may be no password. Messages are merely pieces of the two streams of
//! RESP: a command or a reply may be spread over several. Of received bytes, a connection holds at
//! most one frame's header or one control frame; before it has begun, [`handshake::HEAD_MAX`]
//! bytes.
//!
//! The crate knows nothing of sessions, commands, and the configuration's registry.

pub mod filter;
pub mod frames;
pub mod handshake;

use filter::WebSocketFilter;
pub use handshake::Origins;
use parking_lot::RwLock;
use runtime::Service;
use runtime::filter::FilterService;
use std::sync::Arc;
use std::time::Duration;

/// The time that a connection may take for its whole opening handshake.
pub const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// The WebSocket settings (the allowed origins), which can be replaced while clients are connected.
#[derive(Default)]
pub struct WebSocket {
    origins: RwLock<Arc<Origins>>,
}

impl WebSocket {
    /// Connections that begin from now on may come from these pages.
    pub fn allow(&self, origins: Origins) {
        *self.origins.write() = Arc::new(origins);
    }

    /// Serves what `inner` serves, through WebSocket.
    pub fn serve(self: &Arc<Self>, inner: Arc<dyn Service>) -> Arc<dyn Service> {
        let this = self.clone();
        let make = move || Ok(WebSocketFilter::new(this.origins.read().clone()));
        // These cost no more than other requests, so there may be any number.
        let handshakes = Arc::default();
        Arc::new(FilterService { inner, make, patience: HANDSHAKE_PATIENCE, handshakes })
    }
}
