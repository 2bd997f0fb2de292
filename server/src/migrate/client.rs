//! A client of two servers, one request at a time.

use super::told;
use resp::Value;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

/// A digest of much data takes long.
const PATIENCE: Duration = Duration::from_secs(600);

/// The address of a server, and the credentials for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: String,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("redis://").ok_or("it has to begin with redis://")?;
        let (login, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (user, password) = login.split_once(':').unwrap_or(("", login));
        let place = place.split_once('/').map_or(place, |(place, _)| place);
        let (host, port) = place.rsplit_once(':').unwrap_or((place, "6379"));
        let port = port.parse().map_err(|_| format!("'{port}' is no port"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        match host.is_empty() {
            true => Err("there is no host".into()),
            false => Ok(Place { host, port, user: user.into(), password: password.into() }),
        }
    }
}

/// An answer, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Text(String),
    Error(String),
}

impl Reply {
    pub fn ok(self) -> Result<(), String> {
        match self {
            Reply::Text(_) => Ok(()),
            Reply::Error(error) => Err(error),
        }
    }
}

/// An answer, whole.
pub(crate) struct Answer(Value);

impl Answer {
    /// The value of the answer.
    ///
    /// # Errors
    /// Fails with the text if the answer is an error.
    pub fn value(self) -> Result<Value, String> {
        match self.0.as_error() {
            Some(error) => Err(String::from_utf8_lossy(error).into_owned()),
            None => Ok(self.0),
        }
    }

    /// Checks that the answer is not an error.
    ///
    /// # Errors
    /// Fails with the text if the answer is an error.
    pub fn ok(self) -> Result<(), String> {
        self.value().map(drop)
    }
}

/// The lines of a section of `INFO`.
pub(crate) struct Info(String);

impl Info {
    pub fn text(&self, name: &str) -> String {
        let find = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned());
        self.0.lines().find_map(find).unwrap_or_default()
    }

    pub fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }
}

/// A connection.
pub(crate) struct Client(TcpStream);

impl Client {
    pub fn connect(place: &Place) -> Result<Self, String> {
        let address = (place.host.as_str(), place.port).to_socket_addrs().map_err(told)?.next();
        let address = address.ok_or("no address")?;
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).map_err(told)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(told)?;
        let mut client = Client(stream);
        match (place.user.as_str(), place.password.as_str()) {
            (_, "") => {}
            ("", password) => client.ask(&["AUTH", password])?.ok()?,
            (user, password) => client.ask(&["AUTH", user, password])?.ok()?,
        }
        Ok(client)
    }

    /// An answer may take so long from now on.
    #[cfg(feature = "cluster")]
    pub fn set_patience(&self, patience: Duration) -> Result<(), String> {
        self.0.set_read_timeout(Some(patience)).map_err(told)
    }

    /// Sends a request and reads its answer.
    pub fn ask(&mut self, words: &[&str]) -> Result<Reply, String> {
        let mut bytes = Vec::new();
        resp::encode_command(words.iter().map(|word| word.as_bytes()), &mut bytes);
        Ok(reply(&self.exchange(&bytes, 1)?.remove(0).0))
    }

    /// Sends a request and reads its answer, which is a text.
    ///
    /// # Errors
    /// Fails with the text of an error reply, or if the connection does.
    pub fn text(&mut self, words: &[&str]) -> Result<String, String> {
        match self.ask(words)? {
            Reply::Text(text) => Ok(text),
            Reply::Error(error) => Err(error),
        }
    }

    /// Sends `count` requests, already encoded, and reads their replies. As nothing is read before
    /// all are sent, they must fit into the sockets' buffers together, or have short replies.
    ///
    /// # Errors
    /// Fails if the connection does. An error reply is an [`Answer`].
    pub fn exchange(&mut self, requests: &[u8], count: usize) -> Result<Vec<Answer>, String> {
        self.0.write_all(requests).map_err(told)?;
        let (mut answers, mut bytes, mut read) = (Vec::new(), Vec::new(), 0);
        let mut chunk = [0; 16 << 10];
        while answers.len() < count {
            let whole = |bytes: &[u8]| resp::decode_whole(bytes).map_err(|error| error.to_string());
            while let Some((value, len)) = whole(&bytes[read..])? {
                read += len;
                answers.push(Answer(value));
            }
            if answers.len() < count {
                match self.0.read(&mut chunk).map_err(told)? {
                    0 => return Err("the connection was closed".into()),
                    more => bytes.extend_from_slice(&chunk[..more]),
                }
            }
        }
        Ok(answers)
    }

    /// A section of `INFO`.
    pub fn info_all(&mut self, section: &str) -> Result<Info, String> {
        self.info_text(section).map(Info)
    }

    pub fn info_text(&mut self, section: &str) -> Result<String, String> {
        self.text(&["INFO", section])
    }

    /// A line of `INFO`.
    pub fn info(&mut self, section: &str, name: &str) -> Result<String, String> {
        self.info_all(section).map(|info| info.text(name))
    }
}

fn reply(value: &Value) -> Reply {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match value.as_error() {
        Some(error) => Reply::Error(text(error)),
        None => Reply::Text(value.as_bytes().map_or(String::new(), text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let place = |host: &str, port, user: &str, password: &str| Place {
            host: host.into(),
            port,
            user: user.into(),
            password: password.into(),
        };
        let read = |text: &str| text.parse::<Place>();
        assert_eq!(read("redis://h"), Ok(place("h", 6379, "", "")));
        assert_eq!(read("redis://u:p@h:1/3"), Ok(place("h", 1, "u", "p")));
        assert_eq!(read("redis://:p@[::1]:2"), Ok(place("::1", 2, "", "p")));
        assert_eq!(read("redis://p@h"), Ok(place("h", 6379, "", "p")));
        for wrong in ["h:1", "redis://h:x", "redis://:1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
