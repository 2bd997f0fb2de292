//! `POST /v1/command`: commands as JSON, for programs without a client library.
//!
//! A request is a client of its own: it logs in, runs one command or a batch, and leaves. It passes through the same
//! session as a client of the RESP port does, so ACL, limits, blocking and durability hold for it.

mod client;
mod json;
mod login;

use crate::Admin;
use crate::serving::Ends;
use axum::Extension;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use client::{Call, Hold};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of a request's body at most.
pub(crate) const BODY_MAX: usize = 1 << 20;
/// How long commands may take in all: a blocking one waits no longer than this.
const WITHIN: Duration = Duration::from_secs(30);
/// Commands that answer with a stream, or make the connection something else than a client's.
const STREAMING: [&str; 7] =
    ["subscribe", "psubscribe", "ssubscribe", "monitor", "sync", "psync", "quit"];

/// Runs what the body says, as the user whom the headers name.
///
/// The status is 200 when the command succeeded, else what [`json::status`] makes of its error; a batch that
/// could be run has 200, and each of its answers says how it went.
pub async fn command(
    State(admin): State<Arc<Admin>>,
    Extension(ends): Extension<Ends>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match run(admin, ends, &headers, &body).await {
        Ok(answer) => answer,
        Err((status, error)) => (status, Json(json!({ "error": error }))).into_response(),
    }
}

type Refused = (StatusCode, String);

async fn run(
    admin: Arc<Admin>,
    ends: Ends,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Refused> {
    is_json(headers)?;
    let hello = login::hello(headers, &admin.access)?;
    let wanted = json::commands(body).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
    wanted.commands.iter().try_for_each(|command| is_answered_once(command))?;
    let mut request = Vec::with_capacity(body.len());
    resp::encode_command(hello, &mut request);
    for command in &wanted.commands {
        resp::encode_command(command, &mut request);
    }
    let (hold, held) = Hold::new();
    let replies = wanted.commands.len() + 1;
    let call = Call { request, replies, until: Instant::now() + WITHIN, peer: ends.peer() };
    // Whoever asks may leave: then `hold` is dropped, and the client ends as one whose socket was closed.
    let ran = tokio::task::spawn_blocking(move || client::run(&admin, call, held)).await;
    drop(hold);
    let replies = ran.unwrap_or(Err(client::Ended::Panicked));
    let mut replies = replies.map_err(|ended| (ended.status(), ended.to_string()))?.into_iter();
    if let Some(error) = replies.next().as_ref().and_then(resp::Value::as_error) {
        return Err(json::failed(error));
    }
    Ok(answer(replies.collect(), wanted.is_batch))
}

/// A page of another site can send forms and plain text without asking the browser; JSON it cannot.
fn is_json(headers: &HeaderMap) -> Result<(), Refused> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    match kind.eq_ignore_ascii_case("application/json") {
        true => Ok(()),
        false => Err((
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the request needs Content-Type: application/json".into(),
        )),
    }
}

fn is_answered_once(command: &[Vec<u8>]) -> Result<(), Refused> {
    let name = String::from_utf8_lossy(&command[0]).to_lowercase();
    match STREAMING.contains(&name.as_str()) {
        false => Ok(()),
        true => Err((
            StatusCode::BAD_REQUEST,
            format!("ERR {} cannot be sent over HTTP", name.to_uppercase()),
        )),
    }
}

fn answer(replies: Vec<resp::Value>, is_batch: bool) -> Response {
    if is_batch {
        return Json(Value::Array(replies.iter().map(json::outcome).collect())).into_response();
    }
    let reply = replies.first().unwrap_or(&resp::Value::Null);
    let status = reply.as_error().map_or(StatusCode::OK, |error| json::failed(error).0);
    (status, Json(json::outcome(reply))).into_response()
}
