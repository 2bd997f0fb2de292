//! The page for people: one document and one script, which load nothing from other sites.
//!
//! Neither contains a secret, and both are served to everyone who reaches the port. The page
//! requests its data with the token that its user types.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, X_FRAME_OPTIONS,
};
use axum::response::IntoResponse;

/// Nothing but this port's own script may run or be asked, and no other page may show this one.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; \
     img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers: [(HeaderName, &str); 4] = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_FRAME_OPTIONS, "DENY"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}

/// `/`.
pub async fn document() -> impl IntoResponse {
    file("text/html; charset=utf-8", include_str!("../page/index.html"))
}

/// `/page.js`.
pub async fn script() -> impl IntoResponse {
    file("text/javascript; charset=utf-8", include_str!("../page/page.js"))
}
