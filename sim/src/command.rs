//! The commands that clients send to nodes and the replies they get: a few Redis commands on
//! numbers and lists.

use consensus::NodeId;
use resp::Value;

/// A command. The keys of numbers and those of lists do not overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Reads a number.
    Get(u8),
    /// A number, from whoever is asked, as it is agreed on.
    Follow(u8),
    /// Sets a number.
    Set(u8, u64),
    /// Sets a number if the key does not exist.
    SetNx(u8, u64),
    /// Sets a number that expires after some milliseconds.
    SetPx(u8, u64, u64),
    /// Deletes a number.
    Del(u8),
    /// Appends to lists and reads lists in one transaction.
    Exec(Vec<Micro>),
}

/// A step of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Micro {
    /// Appends a number to a list.
    Append(u8, u64),
    /// Reads a whole list.
    Read(u8),
}

/// The reply of a node to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The command was executed.
    Ok,
    /// The condition of the command failed, or there was nothing to delete.
    No,
    /// The number, or `None` if the key does not exist.
    Number(Option<u64>),
    /// For each step of a transaction: the list that it read, or `None` for an append.
    Lists(Vec<Option<Vec<u64>>>),
}

/// The outcome of a command as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The command was executed and this is its reply.
    Reply(Reply),
    /// The command was not executed, or was undone. This node may lead; zero if no leader is known.
    Moved(NodeId),
    /// Nobody can say whether the command was executed.
    Unknown,
}

/// The address of a node, as the error `MOVED` shows it to clients.
pub fn address(id: NodeId) -> Box<str> {
    format!("node:{id}").into()
}

impl Command {
    /// The key of a command about a number; `None` for a transaction.
    pub fn number_key(&self) -> Option<u8> {
        match self {
            Command::Get(key) | Command::Set(key, _) | Command::SetNx(key, _) => Some(*key),
            Command::SetPx(key, ..) | Command::Del(key) | Command::Follow(key) => Some(*key),
            Command::Exec(_) => None,
        }
    }

    /// A key of the command; all of them have the same slot.
    pub fn key(&self) -> Vec<u8> {
        match self.number_key() {
            Some(key) => format!("number:{key}").into_bytes(),
            None => b"{list}".to_vec(),
        }
    }

    /// The number of replies that a node sends to the command.
    pub fn replies(&self) -> usize {
        match self {
            Command::Exec(steps) => steps.len() + 2,
            Command::Follow(_) => 2,
            _ => 1,
        }
    }

    /// The bytes that a client sends.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let number = |key: &u8| format!("number:{key}");
        let mut say = |words: &[&str]| resp::encode_command(words.iter(), &mut out);
        match self {
            Command::Get(key) => say(&["GET", &number(key)]),
            Command::Follow(key) => {
                say(&["CLIENT", "CONSISTENCY", "QUORUM", "READS", "INDEX"]);
                say(&["GET", &number(key)]);
            }
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

    /// Derives the outcome of the command from all replies to it.
    ///
    /// # Panics
    /// Panics if the command cannot have such replies.
    pub fn answer(&self, replies: &[Value]) -> Answer {
        let error = |value: &Value| match value {
            Value::Error(text) => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        };
        // The last error counts. `EXECABORT` only says that an earlier error was the cause.
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
            (Command::Get(_) | Command::Follow(_), Value::Null) => Reply::Number(None),
            (Command::Get(_) | Command::Follow(_), value) => Reply::Number(Some(number(value)?)),
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

/// The outcome that an error stands for.
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
    /// The key of the list.
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
