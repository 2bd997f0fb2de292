//! The beginning of a connection: an HTTP request that asks for WebSocket, and its answer.

use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};

/// The most bytes that a request may have.
pub const HEAD_MAX: usize = 8 * 1024;

/// The pages that may connect: origins, as browsers send them (`https://example.org`, `null` for a file).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    named: Vec<String>,
    any: bool,
}

impl Origins {
    /// Parses origins, separated by spaces or commas; `*` permits every page.
    pub fn parse(words: &str) -> Origins {
        let separated = words.split([' ', ',', '\t']).filter(|word| !word.is_empty());
        let (any, named): (Vec<_>, Vec<_>) = separated.partition(|word| *word == "*");
        let plain = |word: &str| word.trim_end_matches('/').to_ascii_lowercase();
        Origins { named: named.into_iter().map(plain).collect(), any: !any.is_empty() }
    }

    /// Whether a page of this origin may connect.
    fn allow(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        self.any || self.named.contains(&origin)
    }
}

/// The result of parsing the upgrade request from the bytes received so far.
#[derive(Debug)]
pub enum Begun {
    /// The request is not whole.
    Partial,
    /// It was granted: the length of the request in bytes, and the answer.
    Granted(usize, Vec<u8>),
    /// It was refused: the answer, and the reason.
    Refused(Vec<u8>, String),
}

/// Reads a request and answers it.
pub fn begin(bytes: &[u8], origins: &Origins) -> Begun {
    match Request::try_parse(bytes) {
        Err(error) => refused("400 Bad Request", &error.to_string()),
        Ok(None) if bytes.len() >= HEAD_MAX => {
            refused("431 Request Header Fields Too Large", "the request is too long")
        }
        Ok(None) => Begun::Partial,
        Ok(Some((len, _))) if len > HEAD_MAX => {
            refused("431 Request Header Fields Too Large", "the request is too long")
        }
        Ok(Some((len, request))) => answer(&request, len, origins),
    }
}

fn answer(request: &Request, len: usize, origins: &Origins) -> Begun {
    // A program sends none; a browser always does, and no page can make it send another.
    let origin = request.headers().get("origin").map(|value| value.to_str().unwrap_or_default());
    if let Some(origin) = origin
        && !origins.allow(origin)
    {
        let why = "pages of this origin may not connect (websocket-origins names those that may)";
        return refused("403 Forbidden", why);
    }
    let mut wire = Vec::new();
    let written =
        create_response(request).and_then(|response| write_response(&mut wire, &response));
    match written {
        Ok(()) => Begun::Granted(len, wire),
        Err(error) => refused(
            "426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13",
            &format!("this port speaks WebSocket: {error}"),
        ),
    }
}

fn refused(status: &str, why: &str) -> Begun {
    let len = why.len() + 1;
    let wire = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n\r\n{why}\n"
    );
    Begun::Refused(wire.into_bytes(), why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    fn text(begun: Begun) -> String {
        match begun {
            Begun::Partial => "partial".to_owned(),
            Begun::Granted(len, wire) => format!("{len} {}", String::from_utf8(wire).unwrap()),
            Begun::Refused(wire, _) => String::from_utf8(wire).unwrap(),
        }
    }

    #[test]
    fn the_example_of_the_rfc_is_granted() {
        let request = format!("{ASKED}\r\nrest");
        let answer = text(begin(request.as_bytes(), &Origins::default())).to_ascii_lowercase();
        assert!(answer.starts_with(&format!("{} http/1.1 101 ", request.len() - 4)), "{answer}");
        assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        for cut in 1..request.len() - 4 {
            assert_eq!(text(begin(&request.as_bytes()[..cut], &Origins::default())), "partial");
        }
    }

    #[test]
    fn pages_are_refused_unless_their_origin_is_named() {
        let from = |origin: &str| format!("{ASKED}Origin: {origin}\r\n\r\n").into_bytes();
        let status = |origin: &str, words: &str| {
            let answer = text(begin(&from(origin), &Origins::parse(words)));
            answer.split_once("HTTP/1.1 ").unwrap().1[..3].to_owned()
        };
        assert_eq!(status("https://evil.example", ""), "403");
        assert_eq!(status("https://evil.example", "https://a.example"), "403");
        assert_eq!(status("https://A.example", "http://b.example, https://a.example/"), "101");
        assert_eq!(status("null", "null"), "101");
        assert_eq!(status("https://any.example", "*"), "101");
    }

    #[test]
    fn other_requests_are_told_what_is_spoken_here() {
        let answers = [
            ("GET /health HTTP/1.1\r\nHost: h\r\n\r\n", "426"),
            ("POST / HTTP/1.1\r\nHost: h\r\n\r\n", "400"),
            ("*1\r\n$4\r\nPING\r\n", "400"),
            ("\x16\x03\x01\x00\x01", "400"),
        ];
        for (request, status) in answers {
            let answer = text(begin(request.as_bytes(), &Origins::default()));
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
        }
        let endless = format!("GET / HTTP/1.1\r\nCookie: {}", "x".repeat(HEAD_MAX));
        assert!(text(begin(endless.as_bytes(), &Origins::default())).starts_with("HTTP/1.1 431 "));
    }
}
