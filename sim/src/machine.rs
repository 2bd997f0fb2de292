//! What is replicated: a trait, and a small store of numbers and lists.
//!
//! The trait is what a group asks of the real engine: execute first, say what happened as effects,
//! apply the effects of others.

use std::collections::BTreeMap;

/// A state that executes commands and applies effects.
pub trait Machine: Default {
    /// What clients ask.
    type Command: Clone;
    /// What they get.
    type Reply: Clone + PartialEq;

    /// Executes a command at `time`, milliseconds; appends its effects to `effects`, one after the
    /// other, each with its own bytes.
    fn execute(
        &mut self,
        command: &Self::Command,
        time: u64,
        effects: &mut Vec<Vec<u8>>,
    ) -> Self::Reply;
    /// Whether a condition failed.
    fn is_refusal(reply: &Self::Reply) -> bool;
    /// The shards a command locks.
    fn shards(command: &Self::Command) -> Vec<usize>;
    /// Applies effects, one behind the other. False for bytes that are none.
    fn apply(&mut self, effects: &[u8]) -> bool;
    /// Everything, as bytes.
    fn snapshot(&self) -> Vec<u8>;
    /// The reverse. Takes what it can of bytes that are cut off.
    fn restore(bytes: &[u8]) -> Self;
    /// Equal for equal states, and hardly for others.
    fn digest(&self) -> u64;
    /// Deletes what is expired at `time`. Followers never do; the planted bug does.
    fn expire(&mut self, time: u64);
}

/// Shards.
pub const SHARDS: usize = 8;

/// A number or a list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Value {
    /// With the time it expires at; zero for never.
    Number(u64, u64),
    List(Vec<u64>),
}

/// Commands of [`Store`]. Keys of numbers and of lists do not overlap.
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

/// Replies of [`Store`].
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

/// A small store of numbers and lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Store(BTreeMap<u8, Value>);

const SET: u8 = 1;
const DEL: u8 = 2;
const APPEND: u8 = 3;
/// Bytes of an effect: kind, key, number, time.
const EFFECT: usize = 18;

fn effect(kind: u8, key: u8, number: u64, time: u64) -> Vec<u8> {
    let mut out = vec![kind, key];
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&time.to_le_bytes());
    out
}

impl Store {
    fn run(&mut self, effect: Vec<u8>, effects: &mut Vec<Vec<u8>>) {
        self.apply(&effect);
        effects.push(effect);
    }

    fn number(&self, key: u8) -> Option<u64> {
        match self.0.get(&key) {
            Some(Value::Number(number, _)) => Some(*number),
            _ => None,
        }
    }

    /// A leader deletes what is expired when it comes across it, and says so.
    fn drop_expired(&mut self, key: u8, time: u64, effects: &mut Vec<Vec<u8>>) {
        if let Some(Value::Number(_, at)) = self.0.get(&key)
            && *at > 0
            && *at <= time
        {
            self.run(effect(DEL, key, 0, 0), effects);
        }
    }

    fn micro(&mut self, micro: Micro, effects: &mut Vec<Vec<u8>>) -> Option<Vec<u64>> {
        match micro {
            Micro::Append(key, number) => {
                self.run(effect(APPEND, key, number, 0), effects);
                None
            }
            Micro::Read(key) => match self.0.get(&key) {
                Some(Value::List(list)) => Some(list.clone()),
                _ => Some(Vec::new()),
            },
        }
    }
}

impl Machine for Store {
    type Command = Command;
    type Reply = Reply;

    fn execute(&mut self, command: &Command, time: u64, effects: &mut Vec<Vec<u8>>) -> Reply {
        if let Some(key) = command.number_key() {
            self.drop_expired(key, time, effects);
        }
        match command {
            Command::Get(key) => Reply::Number(self.number(*key)),
            Command::Set(key, number) => {
                self.run(effect(SET, *key, *number, 0), effects);
                Reply::Ok
            }
            Command::SetNx(key, number) => match self.number(*key) {
                Some(_) => Reply::No,
                None => {
                    self.run(effect(SET, *key, *number, 0), effects);
                    Reply::Ok
                }
            },
            Command::SetPx(key, number, span) => {
                self.run(effect(SET, *key, *number, time + span), effects);
                Reply::Ok
            }
            Command::Del(key) => match self.number(*key) {
                None => Reply::No,
                Some(_) => {
                    self.run(effect(DEL, *key, 0, 0), effects);
                    Reply::Ok
                }
            },
            Command::Exec(steps) => {
                Reply::Lists(steps.iter().map(|step| self.micro(*step, effects)).collect())
            }
        }
    }

    fn is_refusal(reply: &Reply) -> bool {
        *reply == Reply::No
    }

    fn shards(command: &Command) -> Vec<usize> {
        let shard = |key: u8| usize::from(key) % SHARDS;
        match command {
            Command::Exec(steps) => steps.iter().map(|step| shard(step.key())).collect(),
            other => other.number_key().map(shard).into_iter().collect(),
        }
    }

    fn apply(&mut self, effects: &[u8]) -> bool {
        for bytes in effects.chunks(EFFECT) {
            let Some((numbers, [])) = bytes.get(2..).map(|rest| rest.as_chunks::<8>()) else {
                return false;
            };
            let [number, time] = numbers else { return false };
            let (number, time) = (u64::from_le_bytes(*number), u64::from_le_bytes(*time));
            match bytes[0] {
                SET => drop(self.0.insert(bytes[1], Value::Number(number, time))),
                DEL => drop(self.0.remove(&bytes[1])),
                APPEND => match self.0.entry(bytes[1]).or_insert(Value::List(Vec::new())) {
                    Value::List(list) => list.push(number),
                    Value::Number(..) => return false,
                },
                _ => return false,
            }
        }
        true
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (key, value) in &self.0 {
            match value {
                Value::Number(number, time) => out.extend(effect(SET, *key, *number, *time)),
                Value::List(list) => {
                    list.iter().for_each(|number| out.extend(effect(APPEND, *key, *number, 0)));
                }
            }
        }
        out
    }

    fn restore(bytes: &[u8]) -> Store {
        let mut store = Store::default();
        store.apply(&bytes[..bytes.len() / EFFECT * EFFECT]);
        store
    }

    fn digest(&self) -> u64 {
        crate::digest::of(&self.snapshot())
    }

    fn expire(&mut self, time: u64) {
        let expired =
            |value: &Value| matches!(value, Value::Number(_, at) if *at > 0 && *at <= time);
        self.0.retain(|_, value| !expired(value));
    }
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
    fn effects_and_snapshots_give_the_same_state() {
        let (mut leader, mut follower) = (Store::default(), Store::default());
        let exec = Command::Exec(vec![Micro::Append(9, 1), Micro::Append(9, 2), Micro::Read(9)]);
        let commands =
            [Command::Set(1, 5), Command::SetPx(2, 6, 100), Command::SetNx(1, 7), exec.clone()];
        let mut effects = Vec::new();
        let replies: Vec<Reply> =
            commands.iter().map(|it| leader.execute(it, 1_000, &mut effects)).collect();
        assert_eq!(replies[2], Reply::No);
        assert_eq!(replies[3], Reply::Lists(vec![None, None, Some(vec![1, 2])]));
        assert!(follower.apply(&effects.concat()));
        assert_eq!(leader, follower);
        assert_eq!(Store::restore(&leader.snapshot()), leader);
        assert_eq!(Store::restore(&leader.snapshot()[..20]).number(1), Some(5));
    }

    #[test]
    fn a_leader_says_when_something_has_expired() {
        let (mut store, mut effects) = (Store::default(), Vec::new());
        store.execute(&Command::SetPx(2, 6, 100), 1_000, &mut effects);
        assert_eq!(store.execute(&Command::Get(2), 1_099, &mut effects), Reply::Number(Some(6)));
        assert_eq!(effects.len(), 1);
        assert_eq!(store.execute(&Command::Get(2), 1_100, &mut effects), Reply::Number(None));
        assert_eq!(effects[1], effect(DEL, 2, 0, 0));
        assert!(!store.apply(&[9; EFFECT]) && !store.apply(&[SET]));
    }
}
