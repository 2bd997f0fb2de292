//! `POST /v1/command`: commands as JSON, for programs without a client library.
//!
//! A request is a client of its own: it logs in, runs one command or a batch, and leaves. It passes through the same
//! session as a client of the RESP port does, so ACL, limits, blocking and durability hold for it.

mod client;
mod json;
mod login;

use crate::Admin;
use crate::serving::{Ends, Stop};
use axum::Extension;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use client::{Call, Hold};
use engine::command::Flag;
use engine::text::args::OwnedRequest;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Bytes of a request's body at most.
pub(crate) const BODY_MAX: usize = 1 << 20;
/// The time that the commands of a request may take together: a blocking one waits no longer than
/// this.
pub(crate) const WITHIN: Duration = Duration::from_secs(30);
/// Requests that run at once: each holds a thread, also when its connection is gone before its command ends.
static RUNNING: Semaphore = Semaphore::const_new(64);

/// Runs the commands of the body, as the user in the headers.
///
/// The status is 200 if the command succeeded, otherwise that of [`json::status`] for its error. A
/// batch that could be run has 200, and each of its answers tells whether it succeeded.
pub async fn command(
    State(admin): State<Arc<Admin>>,
    Extension(ends): Extension<Ends>,
    Extension(stop): Extension<Stop>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match run(admin, (ends, stop), &headers, &body).await {
        Ok(answer) => answer,
        Err((status, error)) => (status, Json(json!({ "error": error }))).into_response(),
    }
}

type Refused = (StatusCode, String);

async fn run(
    admin: Arc<Admin>,
    (ends, stop): (Ends, Stop),
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Refused> {
    is_json(headers)?;
    let login = login::login(headers, &admin.access)?;
    if login.proves.as_ref().is_some_and(|user| needs_no_password(&admin, user)) {
        let why = "NOAUTH this user has no password: the port's token is needed";
        return Err((StatusCode::UNAUTHORIZED, why.into()));
    }
    let wanted = json::commands(body).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
    wanted.commands.iter().try_for_each(|command| is_answered_once(&admin, command))?;
    let busy = || (StatusCode::SERVICE_UNAVAILABLE, "too many commands run at once".to_owned());
    let place = RUNNING.try_acquire().map_err(|_| busy())?;
    let (hold, held) = Hold::new();
    let mut call = Call::new(&login.hello, &wanted.commands, Instant::now() + WITHIN, ends.peer());
    if let Some(parent) = headers.get("traceparent") {
        call.is_part_of(parent.as_bytes());
    }
    // If the peer disconnects, `hold` is dropped, and the client ends like one whose socket was
    // closed. The JSON text is made on that thread, too, so that a long one does not delay other
    // requests.
    let work = move || {
        let answer =
            client::run(&admin, &call, held).map(|replies| text(&replies, wanted.is_batch));
        drop(place);
        answer
    };
    let ran = finished(tokio::task::spawn_blocking(work), hold, stop).await;
    let (status, text) =
        ran.unwrap_or(Err(client::Ended::Panicked)).map_err(client::Ended::told)?;
    Ok((status, [(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// Waits until a request's commands have run. When the port is closed, those that wait for other clients end, and
/// what runs is finished, up to its reply.
async fn finished<T>(
    mut work: JoinHandle<T>,
    hold: Hold,
    mut stop: Stop,
) -> Result<T, tokio::task::JoinError> {
    tokio::select! {
        ran = &mut work => return ran,
        () = stop.asked() => hold.drain(),
    }
    // The peer may still leave, which drops `hold`.
    work.await
}

/// Whether this user needs no password.
fn needs_no_password(admin: &Admin, user: &[u8]) -> bool {
    admin.engine.acl.find(user).is_some_and(|account| account.user().nopass)
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

/// Refuses a command that answers with a stream or not at all, or that makes the connection
/// something else than a client's.
fn is_answered_once(admin: &Admin, command: &[Vec<u8>]) -> Result<(), Refused> {
    let request = OwnedRequest::new(command.iter().map(Vec::as_slice));
    let entry = admin.engine.commands.resolve(request.view());
    match entry.filter(|entry| entry.has(Flag::Streaming)) {
        None => Ok(()),
        Some(_) => {
            let name = String::from_utf8_lossy(request.view().arg(0)).to_uppercase();
            Err((StatusCode::BAD_REQUEST, format!("ERR {name} cannot be sent over HTTP")))
        }
    }
}

/// The status and the body of an answer.
fn text(replies: &[resp::Value], is_batch: bool) -> (StatusCode, String) {
    if is_batch {
        let outcomes = Value::Array(replies.iter().map(json::outcome).collect());
        return (StatusCode::OK, outcomes.to_string());
    }
    let reply = replies.first().unwrap_or(&resp::Value::Null);
    let status = reply.as_error().map_or(StatusCode::OK, |error| json::failed(error).0);
    (status, json::outcome(reply).to_string())
}
