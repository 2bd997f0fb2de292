//! [`Access`]: authorization. Without a token, for requests from this machine; with one, for
//! requests that contain it.

use crate::{Admin, COMMAND_PATH};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// The requests that are answered.
pub enum Access {
    /// Programs that reach the port, which listens on this machine's own address only.
    Local,
    /// Requests with `Authorization: Bearer TOKEN`. Probes of `/health` need no token, because
    /// kubelets have none.
    Token(String),
}

impl Access {
    /// Access by `token` if there is one, else for this machine.
    ///
    /// # Errors
    /// Fails if others could reach `address`, and there is no token.
    pub fn new(address: IpAddr, token: &str) -> Result<Self, String> {
        match (token.is_empty(), address.is_loopback()) {
            (false, _) => Ok(Access::Token(token.to_owned())),
            (true, true) => Ok(Access::Local),
            (true, false) => {
                Err(format!("admin-bind {address} is open to others: set admin-token"))
            }
        }
    }

    /// Whether `sent` is the port's token. The comparison takes constant time.
    pub(crate) fn is_token(&self, sent: &str) -> bool {
        match self {
            Access::Token(token) => sent.as_bytes().ct_eq(token.as_bytes()).into(),
            Access::Local => false,
        }
    }

    /// Whether a request may be answered, and if not, how it is refused.
    fn refuses(&self, path: &str, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
        match self {
            Access::Token(_) if path.starts_with("/health") => None,
            // The page requests its data with the token.
            Access::Token(_) if ["/", "/page.js"].contains(&path) => None,
            // The command's own login decides what may be run (`command/login.rs`).
            Access::Token(_) if path == COMMAND_PATH => None,
            Access::Token(_) if sent_token(headers).is_some_and(|sent| self.is_token(sent)) => None,
            Access::Token(_) => Some((StatusCode::UNAUTHORIZED, "a bearer token is needed\n")),
            // A page in a browser of this machine could have its own name lead here.
            Access::Local if names_this_machine(headers) => None,
            Access::Local => {
                Some((StatusCode::FORBIDDEN, "ask for this machine by its own address\n"))
            }
        }
    }
}

fn sent_token(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// Whether the request's `Host` is an address of this machine, or `localhost`. In HTTP/2 the name
/// is elsewhere, and browsers use HTTP/2 only over TLS.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Lets a request through, or refuses it.
pub async fn guard(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    match admin.access.refuses(request.uri().path(), request.headers()) {
        None => next.run(request).await,
        Some(refusal) => refusal.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn without_a_token_only_this_machine_may_ask() {
        assert!(Access::new([192, 0, 2, 1].into(), "").is_err());
        let access = Access::new([127, 0, 0, 1].into(), "").unwrap();
        for host in ["localhost", "localhost:9121", "127.0.0.1:9121", "[::1]:9121", "127.1.2.3"] {
            assert!(access.refuses("/metrics", &headers(header::HOST, host)).is_none(), "{host}");
        }
        for host in ["evil.example", "evil.example:9121", "192.0.2.1", "localhost.evil.example", ""]
        {
            assert!(access.refuses("/metrics", &headers(header::HOST, host)).is_some(), "{host}");
        }
    }

    #[test]
    fn a_wrong_byte_of_a_token_counts_wherever_it_is() {
        const TOKEN: &str = "0123456789abcdef";
        let access = Access::Token(TOKEN.to_owned());
        assert!(access.is_token(TOKEN));
        for at in 0..TOKEN.len() {
            let other = format!("{}X{}", &TOKEN[..at], &TOKEN[at + 1..]);
            assert!(!access.is_token(&other) && !access.is_token(&TOKEN[..at]), "{other}");
        }
        assert!(!access.is_token(&format!("{TOKEN}0")) && !Access::Local.is_token(""));
    }

    #[test]
    fn a_token_opens_everything_and_health_needs_none() {
        let access = Access::new([0, 0, 0, 0].into(), "secret").unwrap();
        let sent = |text: &str| access.refuses("/metrics", &headers(header::AUTHORIZATION, text));
        assert!(sent("Bearer secret").is_none());
        for wrong in ["Bearer secre", "Bearer secret1", "Bearer ", "secret", "Basic secret"] {
            assert!(sent(wrong).is_some(), "{wrong}");
        }
        assert!(access.refuses("/health/ready", &HeaderMap::new()).is_none());
        assert!(access.refuses(COMMAND_PATH, &HeaderMap::new()).is_none(), "it has its own login");
        assert!(access.refuses("/info", &HeaderMap::new()).is_some());
    }
}
