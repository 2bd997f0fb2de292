//! WebSocket of this process: the pages that may connect, exchanged while running by `CONFIG SET`.

use engine::config::{ConfigStore, Id, Value};
use std::sync::Arc;
use websocket::{Origins, WebSocket};

/// Takes the pages from the configuration, now and whenever they change there.
pub(crate) fn start(websocket: &Arc<WebSocket>, config: &ConfigStore) {
    websocket.allow(Origins::parse(&config.text(Id::WebsocketOrigins)));
    let weak = Arc::downgrade(websocket);
    config.on_change(Box::new(move |id, value: &Value| {
        if let (Id::WebsocketOrigins, Value::Text(words), Some(websocket)) =
            (id, value, weak.upgrade())
        {
            websocket.allow(Origins::parse(words));
        }
        Ok(())
    }));
}
