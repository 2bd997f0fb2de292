//! The model of one key that holds a number or nothing.

use super::Span;
use super::linear::Model;
use crate::command::{Command, Reply};

/// The model.
pub struct Number;

/// A command about one key, and its reply if there was one.
pub type Operation = (Command, Option<Reply>);

/// The history of one key.
pub type History = Vec<(Span, Operation)>;

/// The number, if there is one, and whether it may expire at any time.
type State = Option<(u64, bool)>;

impl Number {
    /// The state after a command, and the reply to it.
    fn run(state: State, command: &Command) -> (State, Reply) {
        match *command {
            Command::Get(_) | Command::Follow(_) => {
                (state, Reply::Number(state.map(|(number, _)| number)))
            }
            Command::Set(_, number) => (Some((number, false)), Reply::Ok),
            Command::SetPx(_, number, _) => (Some((number, true)), Reply::Ok),
            Command::SetNx(_, number) => match state {
                Some(_) => (state, Reply::No),
                None => (Some((number, false)), Reply::Ok),
            },
            Command::Del(_) => (None, if state.is_some() { Reply::Ok } else { Reply::No }),
            Command::Exec(_) => (state, Reply::No),
        }
    }
}

impl Model for Number {
    type State = State;
    type Operation = Operation;

    fn initial(&self) -> State {
        None
    }

    fn step(&self, state: &State, (command, reply): &Operation) -> Option<State> {
        let (after, would) = Number::run(*state, command);
        let Some(reply) = reply else { return Some(after) };
        if would == *reply {
            return Some(after);
        }
        // The number may have expired in between, at a time that nobody else can know.
        let may_expire = state.is_some_and(|(_, expires)| expires);
        let (after, would) = Number::run(None, command);
        (may_expire && would == *reply).then_some(after)
    }
}
