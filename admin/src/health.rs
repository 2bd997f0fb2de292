//! Whether the server is alive (`/health/live`: restart it if not), and whether it is ready for clients
//! (`/health/ready`, `/health`: send it none if not).

use crate::Admin;
use async_trait::async_trait;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use engine::Engine;
use engine::gate::Gate;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The time that a check may take; a check that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Something that must hold for the server to be ready.
#[async_trait]
pub trait Check: Send + Sync {
    /// The name of the check: one word.
    fn name(&self) -> &'static str;

    /// Checks it.
    ///
    /// # Errors
    /// Returns the reason why the server is not ready.
    async fn check(&self) -> Result<(), String>;
}

/// Checks of the engine's own state: each is a gate that makes commands fail.
pub struct GateCheck {
    engine: Arc<Engine>,
    name: &'static str,
    reason: Gate,
    why: &'static str,
}

/// The checks of all gates because of which the engine refuses commands, except those that the
/// configuration asks for.
pub fn gates(engine: &Arc<Engine>) -> Vec<Box<dyn Check>> {
    let known = [
        ("loading", Gate::LOADING, "the data is still being loaded"),
        ("log", Gate::JOURNAL_FAILED, "the log cannot be written"),
        ("master", Gate::STALE, "the master is away, and replica-serve-stale-data is no"),
        ("replicas", Gate::FEW_REPLICAS, "fewer replicas than min-replicas-to-write follow"),
        ("intact", Gate::BROKEN, "a transaction was left half done: restart the server"),
    ];
    let check = |(name, reason, why)| {
        Box::new(GateCheck { engine: engine.clone(), name, reason, why }) as Box<dyn Check>
    };
    known.into_iter().map(check).collect()
}

#[async_trait]
impl Check for GateCheck {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn check(&self) -> Result<(), String> {
        match self.engine.gate().intersects(self.reason) {
            false => Ok(()),
            true => Err(self.why.to_owned()),
        }
    }
}

/// `/health/live`.
pub async fn live(State(admin): State<Arc<Admin>>) -> (StatusCode, &'static str) {
    match admin.engine.gate().contains(Gate::BROKEN) {
        false => (StatusCode::OK, "ok\n"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "broken\n"),
    }
}

/// `/health/ready` and `/health`: every check with its result.
pub async fn ready(State(admin): State<Arc<Admin>>) -> (StatusCode, Json<Value>) {
    let mut told = Map::new();
    let mut is_ready = true;
    for check in &admin.checks {
        let outcome = tokio::time::timeout(PATIENCE, check.check()).await;
        let outcome = outcome.unwrap_or_else(|_| Err("it takes too long".into()));
        is_ready &= outcome.is_ok();
        told.insert(check.name().into(), outcome.err().map_or("ok".into(), Value::from));
    }
    let (code, status) = match is_ready {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    (code, Json(json!({ "status": status, "checks": told })))
}
