//! The server's current state, as JSON.

use crate::Admin;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::clients::describe;
use engine::config::lookup;
use engine::observe::figures::{Line, Value as Figure};
use engine::observe::hot_keys::{Hot, Spent};
use engine::observe::shards::Used;
use engine::observe::{self, SECTIONS};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Slow commands that are shown.
const SLOW_MAX: usize = 128;

fn figure(value: &Figure) -> Value {
    match value {
        Figure::Whole(value) => (*value).into(),
        Figure::Signed(value) => (*value).into(),
        Figure::Real(value, _) => (*value).into(),
        Figure::Text(text) => text.as_ref().into(),
    }
}

fn line(line: &Line) -> (String, Value) {
    match line {
        Line::One(one) => (one.name.to_owned(), figure(&one.read)),
        Line::Free(name, value) => (name.clone(), figure(value)),
        Line::Many(family, of, values) => {
            let fields = family.fields.iter().zip(values);
            let fields: Map<_, _> =
                fields.map(|(field, value)| (field.name.to_owned(), figure(value))).collect();
            (format!("{}{of}", family.name), fields.into())
        }
    }
}

/// `/info`: all figures, by section.
pub async fn info(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let now = admin.clock.now();
    let section =
        |key| observe::section(&admin.engine, key, now).lines().map(line).collect::<Map<_, _>>();
    let sections = SECTIONS.iter().map(|of| (of.key.to_owned(), section(of.key).into()));
    Json(sections.collect::<Map<_, _>>().into())
}

/// `/config`: every directive and its value. Secrets are hidden.
pub async fn config(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let all = admin.engine.config.get_matching(&["*"]).into_iter();
    let shown = all.map(|(name, value)| {
        let is_secret =
            lookup(&name).is_some_and(|(_, directive)| directive.sensitive) && !value.is_empty();
        (name, if is_secret { "(hidden)".into() } else { value.into() })
    });
    Json(shown.collect::<Map<_, _>>().into())
}

/// `/clients`: one object per client, with the fields of `CLIENT LIST`.
///
/// With thousands of clients this takes long, so it happens in a thread of its own: probes of `/health` do not wait
/// for it. One request at a time does so.
pub async fn clients(State(admin): State<Arc<Admin>>) -> Result<Response, StatusCode> {
    let turn = admin.listing.clone().lock_owned().await;
    let list = move || {
        let listed = list_of_clients(&admin);
        drop(turn);
        listed
    };
    // It fails only by a panic, which is in the log.
    let listed = tokio::task::spawn_blocking(list).await;
    let listed = listed.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], listed).into_response())
}

/// The clients as JSON text.
fn list_of_clients(admin: &Admin) -> Vec<u8> {
    let now_ms = admin.clock.now().wall_ms;
    let all = admin.engine.clients.list();
    let fields = |text: String| -> Map<String, Value> {
        let pairs = text.trim_end().split(' ').filter_map(|field| field.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.into())).collect()
    };
    let all: Vec<_> =
        all.iter().map(|client| fields(describe(&admin.engine, client, false, now_ms))).collect();
    // Maps of texts can always be written.
    serde_json::to_vec(&all).unwrap_or_default()
}

/// `/slowlog`: the newest slow commands.
pub async fn slow(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let shown = |entry: engine::observe::slowlog::SlowEntry| {
        let words: Vec<_> =
            entry.args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
        json!({
            "id": entry.id, "unix_time_s": entry.time_s, "duration_us": entry.duration_us,
            "arguments": words, "client": entry.peer, "client_name": entry.name,
        })
    };
    admin
        .engine
        .observe
        .slowlog
        .newest(SLOW_MAX)
        .into_iter()
        .map(shown)
        .collect::<Vec<_>>()
        .into_json()
}

/// `/hotkeys`: the keys and shards on which most is spent, as `HOTKEYS` found; null without it.
pub async fn hot(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let keys = |hot: Option<Vec<Hot>>| {
        let shown =
            |(key, spent): Hot| json!({ "key": String::from_utf8_lossy(&key), "spent": spent });
        hot.map(|hot| hot.into_iter().map(shown).collect::<Vec<_>>())
    };
    let shard = |it: &Spent| json!({ "uses": it.uses, "us": it.us, "bytes": it.bytes });
    let shown = admin.engine.observe.hot_keys.report(admin.clock.now()).map(|report| {
        let shards: Vec<_> = report.shards.iter().map(shard).collect();
        json!({
            "is_active": report.is_active, "sample_ratio": report.ratio,
            "started_unix_ms": report.started_ms, "duration_ms": report.duration_ms,
            "all_commands_us": report.total_us, "all_commands_bytes": report.total_bytes,
            "by_us": keys(report.by_time_us), "by_bytes": keys(report.by_bytes), "shards": shards,
        })
    });
    Json(shown.into())
}

/// `/shards`: of every shard, how much it is used and waited for.
pub async fn shards(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let engine = &admin.engine;
    let shown = |it: Used| {
        json!({
            "accesses": it.load.accesses, "accesses_per_s": it.accesses_per_s,
            "lock_waits": it.load.lock_waits, "lock_wait_us": it.load.lock_wait_ns / 1000,
            "lock_wait_us_per_s": it.wait_ns_per_s / 1000.0,
        })
    };
    let all = engine.observe.shards.all(&*engine.backend);
    all.into_iter().map(shown).collect::<Vec<_>>().into_json()
}

/// A list as an answer.
trait IntoJson {
    fn into_json(self) -> Json<Value>;
}

impl<T: Into<Value>> IntoJson for Vec<T> {
    fn into_json(self) -> Json<Value> {
        Json(Value::Array(self.into_iter().map(Into::into).collect()))
    }
}
