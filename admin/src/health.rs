//! Whether the server is alive (`/health/live`: restart it if not), and whether it is ready for clients
//! (`/health/ready`, `/health`: send it none if not).

use crate::Admin;
use async_trait::async_trait;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use engine::Engine;
use engine::engine::gate;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long a check may take; what takes longer counts as failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Something that must hold for the server to be ready.
#[async_trait]
pub trait Check: Send + Sync {
    /// What is checked: one word.
    fn name(&self) -> &'static str;

    /// Checks it.
    ///
    /// # Errors
    /// Why the server is not ready.
    async fn check(&self) -> Result<(), String>;
}

/// Checks of what the engine itself knows: each a gate that turns commands away.
pub struct Gate {
    engine: Arc<Engine>,
    name: &'static str,
    bit: u32,
    why: &'static str,
}

/// Everything for which the engine itself turns commands away, but what the configuration asks for.
pub fn gates(engine: &Arc<Engine>) -> Vec<Box<dyn Check>> {
    let known = [
        ("loading", gate::LOADING, "the data is still being loaded"),
        ("log", gate::JOURNAL_FAILED, "the log cannot be written"),
        ("master", gate::STALE, "the master is away, and replica-serve-stale-data is no"),
        ("replicas", gate::FEW_REPLICAS, "fewer replicas than min-replicas-to-write follow"),
        ("intact", gate::BROKEN, "a transaction was left half done: restart the server"),
    ];
    let check = |(name, bit, why)| {
        Box::new(Gate { engine: engine.clone(), name, bit, why }) as Box<dyn Check>
    };
    known.into_iter().map(check).collect()
}

#[async_trait]
impl Check for Gate {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn check(&self) -> Result<(), String> {
        match self.engine.gate() & self.bit {
            0 => Ok(()),
            _ => Err(self.why.to_owned()),
        }
    }
}

/// `/health/live`.
pub async fn live(State(admin): State<Arc<Admin>>) -> (StatusCode, &'static str) {
    match admin.engine.gate() & gate::BROKEN {
        0 => (StatusCode::OK, "ok\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "broken\n"),
    }
}

/// `/health/ready` and `/health`: every check with what came out.
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
