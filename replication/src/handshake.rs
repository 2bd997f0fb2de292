//! [`Handshake`]: how a replica introduces itself to its master, line by line.

use crate::history::Id;
use resp::encode_command;

/// The credentials of a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// `masteruser`; empty for the default user.
    pub user: String,
    /// `masterauth`; empty for none.
    pub password: String,
}

/// The address of a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// The port that is shown to others.
    pub port: u16,
    /// `replica-announce-ip`; empty for the address that the master sees.
    pub ip: String,
}

/// The position from which a replica would continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The history it has followed.
    pub id: Id,
    /// The position up to which it has followed it.
    pub position: u64,
}

/// The replica's next step in the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send these bytes and read a line.
    Send(Vec<u8>),
    /// Read another line.
    Read,
    /// All data follow, as [`crate::Framing`] reads them, then the stream from this position of this history.
    Full {
        /// The history.
        id: Id,
        /// The position.
        position: u64,
    },
    /// The stream goes on where it was left, under a new identity if there is one.
    Continue(Option<Id>),
    /// The master cannot now, or not ever; the text says why.
    Refused(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Ping,
    Auth,
    Port,
    Ip,
    Capabilities,
    Psync,
}

/// The replica's half of the conversation until the stream begins.
#[derive(Debug)]
pub struct Handshake {
    login: Login,
    presence: Presence,
    resume: Option<Resume>,
    /// The master is to let us take over (`FAILOVER`).
    takeover: bool,
    asked: Asked,
}

fn bytes(words: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_command(words.iter().map(|word| word.as_bytes()), &mut out);
    out
}

impl Handshake {
    /// The handshake, and its first request.
    pub fn new(login: Login, presence: Presence, resume: Option<Resume>) -> (Self, Vec<u8>) {
        let handshake = Handshake { login, presence, resume, takeover: false, asked: Asked::Ping };
        (handshake, bytes(&["PING"]))
    }

    /// Makes the other end, which was our replica until now, our master (`FAILOVER`).
    pub fn take_over(mut self) -> Self {
        self.takeover = true;
        self
    }

    /// Handles a line from the master, given without its line end, and returns the next step.
    pub fn line(&mut self, line: &[u8]) -> Step {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Step::Read; // a sign of life
        }
        let error = line.strip_prefix(b"-").map(|text| String::from_utf8_lossy(text).into_owned());
        match (self.asked, error) {
            (Asked::Psync, error) => self.answer(line, error),
            (Asked::Ping, Some(text)) if !is_about_permission(&text) => {
                Step::Refused(format!("error reply to PING: {text}"))
            }
            (Asked::Auth, Some(text)) => Step::Refused(format!("unable to AUTH: {text}")),
            // Old masters do not know these words.
            (_, _) => self.next(),
        }
    }

    fn next(&mut self) -> Step {
        let Handshake { login, presence, .. } = self;
        self.asked = match self.asked {
            Asked::Ping => Asked::Auth,
            Asked::Auth => Asked::Port,
            Asked::Port => Asked::Ip,
            Asked::Ip => Asked::Capabilities,
            Asked::Capabilities | Asked::Psync => Asked::Psync,
        };
        if self.asked == Asked::Auth && login.password.is_empty() {
            self.asked = Asked::Port;
        }
        if self.asked == Asked::Ip && presence.ip.is_empty() {
            self.asked = Asked::Capabilities;
        }
        Step::Send(match self.asked {
            Asked::Ping => bytes(&["PING"]),
            Asked::Auth if login.user.is_empty() => bytes(&["AUTH", &login.password]),
            Asked::Auth => bytes(&["AUTH", &login.user, &login.password]),
            Asked::Port => bytes(&["REPLCONF", "listening-port", &presence.port.to_string()]),
            Asked::Ip => bytes(&["REPLCONF", "ip-address", &presence.ip]),
            Asked::Capabilities => bytes(&["REPLCONF", "capa", "eof", "capa", "psync2"]),
            Asked::Psync => self.psync(),
        })
    }

    fn psync(&self) -> Vec<u8> {
        match &self.resume {
            Some(Resume { id, position }) => {
                let offset = (position + 1).to_string();
                let words = ["PSYNC", id.as_str(), &offset, "FAILOVER"];
                bytes(&words[..if self.takeover { 4 } else { 3 }])
            }
            None => bytes(&["PSYNC", "?", "-1"]),
        }
    }

    fn answer(&self, line: &[u8], error: Option<String>) -> Step {
        if let Some(text) = error {
            return Step::Refused(text);
        }
        let text = String::from_utf8_lossy(line);
        let mut words = text.split_ascii_whitespace();
        let (kind, id) = (words.next(), words.next().and_then(|id| Id::parse(id.as_bytes())));
        match (kind, id) {
            (Some("+FULLRESYNC"), Some(id)) => match words.next().and_then(|at| at.parse().ok()) {
                Some(position) => Step::Full { id, position },
                None => Step::Refused(format!("no position in '{text}'")),
            },
            (Some("+CONTINUE"), id) if self.resume.is_some() => Step::Continue(id),
            _ => Step::Refused(format!("unexpected reply to PSYNC: '{text}'")),
        }
    }
}

/// Answers to `PING` that only ask for a password.
fn is_about_permission(text: &str) -> bool {
    ["NOAUTH", "NOPERM", "ERR operation not permitted"].iter().any(|word| text.starts_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(step: Step) -> String {
        match step {
            Step::Send(bytes) => {
                let words = String::from_utf8(bytes).unwrap();
                words
                    .lines()
                    .filter(|line| !line.starts_with(['*', '$']))
                    .collect::<Vec<_>>()
                    .join(" ")
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_replica_introduces_itself() {
        let login = Login { user: "u".into(), password: "p".into() };
        let presence = Presence { port: 7, ip: "10.0.0.1".into() };
        let (mut talk, first) = Handshake::new(login, presence, None);
        assert_eq!(first, b"*1\r\n$4\r\nPING\r\n");
        assert_eq!(sent(talk.line(b"-NOAUTH Authentication required.")), "AUTH u p");
        assert_eq!(sent(talk.line(b"+OK")), "REPLCONF listening-port 7");
        assert_eq!(sent(talk.line(b"+OK")), "REPLCONF ip-address 10.0.0.1");
        assert_eq!(sent(talk.line(b"-ERR Unrecognized")), "REPLCONF capa eof capa psync2");
        assert_eq!(sent(talk.line(b"+OK")), "PSYNC ? -1");
        assert_eq!(talk.line(b""), Step::Read);
        let id = "a".repeat(40);
        let full = talk.line(format!("+FULLRESYNC {id} 12\r").as_bytes());
        assert_eq!(full, Step::Full { id: Id::parse(id.as_bytes()).unwrap(), position: 12 });
    }

    #[test]
    fn it_goes_on_where_it_was() {
        let id = Id::parse("b".repeat(40).as_bytes()).unwrap();
        let resume = Some(Resume { id, position: 41 });
        let begin = || {
            let (mut talk, _) = Handshake::new(Login::default(), Presence::default(), resume);
            assert_eq!(sent(talk.line(b"+PONG")), "REPLCONF listening-port 0");
            assert_eq!(sent(talk.line(b"+OK")), "REPLCONF capa eof capa psync2");
            assert_eq!(sent(talk.line(b"+OK")), format!("PSYNC {id} 42"));
            talk
        };
        assert_eq!(begin().line(b"+CONTINUE"), Step::Continue(None));
        let new = format!("+CONTINUE {}", "c".repeat(40));
        let new = begin().line(new.as_bytes());
        assert_eq!(new, Step::Continue(Id::parse("c".repeat(40).as_bytes())));
        let later = begin().line(b"-NOMASTERLINK Can't SYNC while not connected with my master");
        assert!(matches!(later, Step::Refused(text) if text.starts_with("NOMASTERLINK")));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let (mut talk, _) = Handshake::new(Login::default(), Presence::default(), None);
        assert!(matches!(talk.line(b"-LOADING"), Step::Refused(_)));
        for line in ["+CONTINUE", "+FULLRESYNC x 1", "+what", "$12"] {
            let (mut talk, _) = Handshake::new(Login::default(), Presence::default(), None);
            while !sent(talk.line(b"+OK")).starts_with("PSYNC") {}
            assert!(matches!(talk.line(line.as_bytes()), Step::Refused(_)), "{line}");
        }
    }
}
