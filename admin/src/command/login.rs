//! Which user a request runs as: the `HELLO` that its client begins with.

use super::Refused;
use crate::Access;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The first command of a request's client.
///
/// `Authorization: Basic` names an ACL user and its password. `Authorization: Bearer` is the password of the user
/// `default`; the admin port's own token also is a bearer token, and stands for that user without a password.
///
/// # Errors
/// When the header cannot be read, or is missing on a port that is open to others.
pub fn hello(headers: &HeaderMap, access: &Access) -> Result<Vec<Vec<u8>>, Refused> {
    let refused = |why: &str| (StatusCode::UNAUTHORIZED, why.to_owned());
    let mut hello = vec![b"HELLO".to_vec(), b"3".to_vec()];
    let Some(sent) = headers.get(header::AUTHORIZATION) else {
        return match access {
            Access::Local => Ok(hello),
            Access::Token(_) => Err(refused("NOAUTH a user's name and password are needed")),
        };
    };
    let unreadable = || refused("WRONGPASS the Authorization header cannot be read");
    let (scheme, secret) =
        sent.to_str().ok().and_then(|sent| sent.split_once(' ')).ok_or_else(unreadable)?;
    let (user, password) = match scheme.to_ascii_lowercase().as_str() {
        "basic" => {
            let pair = BASE64_STANDARD.decode(secret.trim()).map_err(|_| unreadable())?;
            let colon = pair.iter().position(|byte| *byte == b':').ok_or_else(unreadable)?;
            (pair[..colon].to_vec(), pair[colon + 1..].to_vec())
        }
        "bearer" if access.is_token(secret) => return Ok(hello),
        "bearer" => (b"default".to_vec(), secret.as_bytes().to_vec()),
        _ => return Err(unreadable()),
    };
    hello.extend([b"AUTH".to_vec(), user, password]);
    Ok(hello)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(access: &Access, sent: &str) -> Result<String, StatusCode> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, sent.parse().unwrap())]);
        let words = hello(&headers, access).map_err(|(status, _)| status)?;
        Ok(String::from_utf8(words.join(&b' ')).unwrap())
    }

    #[test]
    fn users_come_from_the_header() {
        let access = Access::Token("token".into());
        // ann:se:cret
        assert_eq!(with(&access, "Basic YW5uOnNlOmNyZXQ=").unwrap(), "HELLO 3 AUTH ann se:cret");
        assert_eq!(with(&access, "bearer secret").unwrap(), "HELLO 3 AUTH default secret");
        assert_eq!(with(&access, "Bearer token").unwrap(), "HELLO 3");
        assert_eq!(with(&Access::Local, "Bearer token").unwrap(), "HELLO 3 AUTH default token");
        for wrong in ["Basic", "Basic !", "Basic YW5u", "Digest x", ""] {
            assert_eq!(with(&access, wrong), Err(StatusCode::UNAUTHORIZED), "{wrong}");
        }
    }

    #[test]
    fn without_a_header_only_this_machine_is_let_in() {
        assert_eq!(hello(&HeaderMap::new(), &Access::Local).unwrap().len(), 2);
        assert!(hello(&HeaderMap::new(), &Access::Token("token".into())).is_err());
    }
}
