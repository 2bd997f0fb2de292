//! All paths of the admin port.

use crate::{Admin, COMMAND_PATH, access, command, health, metrics, page, state};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use std::sync::Arc;

/// All paths of the admin port.
pub fn router(admin: Admin) -> Router {
    let admin = Arc::new(admin);
    Router::new()
        .route("/", get(page::document))
        .route("/page.js", get(page::script))
        .route("/metrics", get(metrics::metrics))
        .route("/health", get(health::ready))
        .route("/health/ready", get(health::ready))
        .route("/health/live", get(health::live))
        .route("/info", get(state::info))
        .route("/config", get(state::config))
        .route("/clients", get(state::clients))
        .route("/slowlog", get(state::slow))
        .route("/hotkeys", get(state::hot))
        .route("/shards", get(state::shards))
        .route(COMMAND_PATH, post(command::command))
        .layer(DefaultBodyLimit::max(command::BODY_MAX))
        .layer(axum::middleware::from_fn_with_state(admin.clone(), access::guard))
        .with_state(admin)
}
