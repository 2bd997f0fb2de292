//! Which user a request runs as.

use super::Refused;
use crate::Access;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The beginning of a request's client.
#[derive(Debug, PartialEq, Eq)]
pub struct Login {
    /// Its first command, which must have been answered before anything else is sent.
    pub hello: Vec<Vec<u8>>,
    /// The user whose password it has to prove that it knows: a user without one proves nothing.
    pub proves: Option<Vec<u8>>,
}

/// The login that the headers contain.
///
/// `Authorization: Basic` has the name and the password of an ACL user. `Authorization: Bearer` is
/// the password of the user `default`; the admin port's own token is a bearer token as well, and
/// stands for that user without a password.
///
/// # Errors
/// Fails if the header cannot be read, or is missing on a port that is open to others.
pub fn login(headers: &HeaderMap, access: &Access) -> Result<Login, Refused> {
    let refused = |why: &str| (StatusCode::UNAUTHORIZED, why.to_owned());
    let mut hello = vec![b"HELLO".to_vec(), b"3".to_vec()];
    let Some(sent) = headers.get(header::AUTHORIZATION) else {
        return match access {
            Access::Local => Ok(Login { hello, proves: None }),
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
        "bearer" if access.is_token(secret) => return Ok(Login { hello, proves: None }),
        "bearer" => (b"default".to_vec(), secret.as_bytes().to_vec()),
        _ => return Err(unreadable()),
    };
    let proves = matches!(access, Access::Token(_)).then(|| user.clone());
    hello.extend([b"AUTH".to_vec(), user, password]);
    Ok(Login { hello, proves })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(access: &Access, sent: &str) -> Result<String, StatusCode> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, sent.parse().unwrap())]);
        let login = login(&headers, access).map_err(|(status, _)| status)?;
        let proves = String::from_utf8(login.proves.unwrap_or_default()).unwrap();
        Ok(String::from_utf8(login.hello.join(&b' ')).unwrap() + "|" + &proves)
    }

    #[test]
    fn users_come_from_the_header() {
        let access = Access::Token("token".into());
        // ann:se:cret
        assert_eq!(
            with(&access, "Basic YW5uOnNlOmNyZXQ=").unwrap(),
            "HELLO 3 AUTH ann se:cret|ann"
        );
        assert_eq!(with(&access, "bearer secret").unwrap(), "HELLO 3 AUTH default secret|default");
        assert_eq!(with(&access, "Bearer token").unwrap(), "HELLO 3|");
        assert_eq!(with(&Access::Local, "Bearer token").unwrap(), "HELLO 3 AUTH default token|");
        for wrong in ["Basic", "Basic !", "Basic YW5u", "Digest x", ""] {
            assert_eq!(with(&access, wrong), Err(StatusCode::UNAUTHORIZED), "{wrong}");
        }
    }

    #[test]
    fn without_a_header_only_this_machine_is_let_in() {
        assert_eq!(login(&HeaderMap::new(), &Access::Local).unwrap().hello.len(), 2);
        assert!(login(&HeaderMap::new(), &Access::Token("token".into())).is_err());
    }
}
