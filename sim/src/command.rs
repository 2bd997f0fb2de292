//! What clients ask of nodes, and what they are told: a few commands of Redis's, on numbers and lists.

use consensus::NodeId;
use resp::Value;

/// Keys of numbers and of lists do not overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A number.
    Get(u8),
    /// A number for good.
    Set(u8, u64),
    /// A number if there is none.
    SetNx(u8, u64),
    /// A number for some milliseconds.
    SetPx(u8, u64, u64),
    /// Nothing.
    Del(u8),
    /// Appends to lists and reads lists, as one.
    Exec(Vec<Micro>),
}

/// A step of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Micro {
    /// Appends a number.
    Append(u8, u64),
    /// Reads a list.
    Read(u8),
}

/// What a node replies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Done.
    Ok,
    /// A condition failed, or there was nothing to delete.
    No,
    /// A number, or none.
    Number(Option<u64>),
    /// What each step read.
    Lists(Vec<Option<Vec<u64>>>),
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The reply.
    Reply(Reply),
    /// Not executed here, or undone; this node may lead (zero if none is known).
    Moved(NodeId),
    /// Perhaps.
    Unknown,
}

/// Where clients find a node.
pub fn address(id: NodeId) -> Box<str> {
    format!("node:{id}").into()
}

impl Command {
    /// The key, of a command about a number.
    pub fn number_key(&self) -> Option<u8> {
        match self {
            Command::Get(key) | Command::Set(key, _) | Command::SetNx(key, _) => Some(*key),
            Command::SetPx(key, ..) | Command::Del(key) => Some(*key),
            Command::Exec(_) => None,
        }
    }

    /// How many replies there will be.
    pub fn replies(&self) -> usize {
        match self {
            Command::Exec(steps) => steps.len() + 2,
            _ => 1,
        }
    }

    /// As it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let number = |key: &u8| format!("number:{key}");
        let mut say = |words: &[&str]| resp::encode_command(words.iter(), &mut out);
        match self {
            Command::Get(key) => say(&["GET", &number(key)]),
            Command::Set(key, value) => say(&["SET", &number(key), &value.to_string()]),
            Command::SetNx(key, value) => say(&["SET", &number(key), &value.to_string(), "NX"]),
            Command::SetPx(key, value, span) => {
                say(&["SET", &number(key), &value.to_string(), "PX", &span.to_string()]);
            }
            Command::Del(key) => say(&["DEL", &number(key)]),
            Command::Exec(steps) => {
                say(&["MULTI"]);
                for step in steps {
                    let list = format!("{{list}}:{}", step.key());
                    match step {
                        Micro::Append(_, value) => say(&["RPUSH", &list, &value.to_string()]),
                        Micro::Read(_) => say(&["LRANGE", &list, "0", "-1"]),
                    }
                }
                say(&["EXEC"]);
            }
        }
        out
    }

    /// What all the replies to it say.
    ///
    /// # Panics
    /// When they are none that it can have.
    pub fn answer(&self, replies: &[Value]) -> Answer {
        let error = |value: &Value| match value {
            Value::Error(text) => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        };
        // What is said last counts, but that a transaction was given up has a cause before.
        let last = replies.last().and_then(error);
        let text = match last.filter(|text| !text.starts_with("EXECABORT")) {
            Some(text) => Some(text),
            None => replies.iter().find_map(error),
        };
        match text {
            Some(text) => answer_of_error(&text),
            None => {
                let reply = replies.last().and_then(|value| self.reply(value));
                Answer::Reply(reply.unwrap_or_else(|| panic!("{self:?}: {replies:?}")))
            }
        }
    }

    fn reply(&self, value: &Value) -> Option<Reply> {
        Some(match (self, value) {
            (Command::Get(_), Value::Null) => Reply::Number(None),
            (Command::Get(_), value) => Reply::Number(Some(number(value)?)),
            (Command::Del(_), Value::Integer(0)) | (Command::SetNx(..), Value::Null) => Reply::No,
            (Command::Del(_), Value::Integer(1)) => Reply::Ok,
            (Command::Set(..) | Command::SetNx(..) | Command::SetPx(..), Value::Simple(_)) => {
                Reply::Ok
            }
            (Command::Exec(steps), Value::Array(values)) => {
                let read = |(step, value): (&Micro, &Value)| match (step, value) {
                    (Micro::Append(..), Value::Integer(_)) => Some(None),
                    (Micro::Read(_), Value::Array(list)) => {
                        Some(Some(list.iter().map(number).collect::<Option<_>>()?))
                    }
                    _ => None,
                };
                Reply::Lists(steps.iter().zip(values).map(read).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }
}

/// What an error stands for.
fn answer_of_error(text: &str) -> Answer {
    let mut words = text.split(' ');
    match words.next() {
        Some("MOVED") => {
            let leader = words.nth(1).and_then(|to| to.rsplit(':').next()?.parse().ok());
            Answer::Moved(leader.unwrap_or(0))
        }
        Some("TRYAGAIN" | "CLUSTERDOWN" | "LOADING") => Answer::Moved(0),
        Some("UNKNOWN") => Answer::Unknown,
        _ => panic!("a node says: {text}"),
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Bulk(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

impl Micro {
    /// The list.
    pub fn key(self) -> u8 {
        match self {
            Micro::Append(key, _) | Micro::Read(key) => key,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_nodes_write_them() {
        let error = |text: &str| Value::Error(text.as_bytes().to_vec());
        let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let exec = Command::Exec(vec![Micro::Append(9, 1), Micro::Read(9)]);
        let list = Value::Array(vec![Value::Integer(1), Value::Array(vec![bulk("1")])]);
        let done = [Value::Simple(b"OK".to_vec()), list];
        let lists = Reply::Lists(vec![None, Some(vec![1])]);
        assert_eq!(exec.answer(&done), Answer::Reply(lists));
        let aborted = [error("MOVED 7 node:3"), error("EXECABORT Transaction discarded")];
        assert_eq!(exec.answer(&aborted), Answer::Moved(3));
        assert_eq!(Command::Get(1).answer(&[bulk("5")]), Answer::Reply(Reply::Number(Some(5))));
        assert_eq!(Command::Get(1).answer(&[error("UNKNOWN whether")]), Answer::Unknown);
        assert_eq!(Command::SetNx(1, 2).answer(&[Value::Null]), Answer::Reply(Reply::No));
        assert_eq!(Command::Del(1).answer(&[error("CLUSTERDOWN no")]), Answer::Moved(0));
    }
}
