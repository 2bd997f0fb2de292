//! Clients, which send one command after the other and record the history of what they saw.

use crate::check::append::{self, Transaction};
use crate::check::number::{History, Number};
use crate::check::{Span, Verdict, linear};
use crate::command::{Answer, Command, Micro, Reply};
use crate::node::UNITS;
use consensus::NodeId;
use consensus::testing::Numbers;
use std::collections::BTreeMap;

/// The number of keys that hold numbers.
const NUMBERS: u64 = 3;

/// The number of keys that hold lists. They follow those of numbers.
const LISTS: u64 = 3;

/// The number of steps after which the check of one key gives up.
const STEPS: u64 = 400_000;

/// An operation in the history.
#[derive(Debug, Clone)]
struct Operation {
    command: Command,
    span: Span,
    reply: Option<Reply>,
    /// Whether the answer said that it was not executed.
    cut: bool,
}

/// A client.
#[derive(Debug, Clone)]
pub struct Client {
    /// For each unit of slots the node it asks.
    pub targets: [NodeId; UNITS as usize],
    /// The unit that it asked last.
    asked: usize,
    /// The operation whose answer it waits for.
    pub waiting: Option<u64>,
    /// Whether it keeps asking the same node whatever the answers, which would reveal a stale
    /// leader.
    pub stubborn: bool,
}

impl Client {
    /// From now on it asks this node, whatever the slot.
    pub fn ask_everything_of(&mut self, node: NodeId) {
        self.targets = [node; UNITS as usize];
    }

    /// From now on it asks this node about the slots that it asked about last.
    pub fn ask_again(&mut self, node: NodeId) {
        self.targets[self.asked] = node;
    }
}

/// All clients, and the history of what they saw.
#[derive(Debug, Default)]
pub struct Clients {
    /// The clients.
    pub all: Vec<Client>,
    operations: Vec<Operation>,
    /// Counts questions and answers, which gives the history its order.
    moment: u64,
    /// The value that was written last. No value is written twice.
    value: u64,
    /// The number of operations that were executed and answered.
    pub answered: u64,
}

impl Clients {
    /// Creates `count` clients.
    pub fn new(count: usize) -> Clients {
        let client = |at: usize| Client {
            targets: [1; UNITS as usize],
            asked: 0,
            waiting: None,
            stubborn: at % 2 == 1,
        };
        Clients { all: (0..count).map(client).collect(), ..Clients::default() }
    }

    /// Chooses a command at random; one that only reads if `only_reads`.
    pub fn choose(&mut self, numbers: &mut Numbers, only_reads: bool) -> Command {
        self.value += 1;
        let value = self.value;
        let key = numbers.below(NUMBERS) as u8;
        let list = |numbers: &mut Numbers| (NUMBERS + numbers.below(LISTS)) as u8;
        if only_reads {
            let lists = (NUMBERS..NUMBERS + LISTS).map(|key| Micro::Read(key as u8)).collect();
            return match numbers.below(6) {
                0 | 1 => Command::Get(key),
                2 => Command::Follow(key),
                _ => Command::Exec(lists),
            };
        }
        match numbers.below(12) {
            0 | 1 => Command::Get(key),
            2 => Command::Follow(key),
            3..=4 => Command::Set(key, value),
            // The key with values that expire gets no conditional write: if its outcome were
            // unknown, the model could not say what it left.
            5 => Command::SetNx(1 + key % 2, value),
            6 => Command::Del(key),
            7 => Command::SetPx(0, value, 200 + numbers.below(2_000)),
            8 => Command::Exec(vec![Micro::Read(list(numbers)), Micro::Read(list(numbers))]),
            9 => Command::Exec(vec![Micro::Append(list(numbers), value)]),
            _ => {
                let (one, other) = (list(numbers), list(numbers));
                let append = [Micro::Append(one, value), Micro::Append(other, value + 1_000_000)];
                Command::Exec([&append[..], &[Micro::Read(one), Micro::Read(other)]].concat())
            }
        }
    }

    /// Records that a client sends a command about a unit of slots. Returns the number of the operation.
    pub fn ask(&mut self, client: usize, command: Command, unit: usize) -> u64 {
        self.all[client].asked = unit;
        self.moment += 1;
        let span = Span { begin: self.moment, end: None };
        self.operations.push(Operation { command, span, reply: None, cut: false });
        let operation = self.operations.len() as u64 - 1;
        self.all[client].waiting = Some(operation);
        operation
    }

    /// Records an answer to a client. Returns false if the client no longer waits for it.
    pub fn answer(&mut self, client: usize, operation: u64, answer: Answer) -> bool {
        if self.all[client].waiting != Some(operation) {
            return false;
        }
        self.all[client].waiting = None;
        self.moment += 1;
        let it = &mut self.operations[operation as usize];
        match answer {
            Answer::Reply(reply) => {
                it.span.end = Some(self.moment);
                it.reply = Some(reply);
                self.answered += 1;
            }
            Answer::Moved(leader) => {
                it.cut = true;
                if !self.all[client].stubborn && leader != 0 {
                    self.all[client].ask_again(leader);
                }
            }
            Answer::Unknown => {}
        }
        true
    }

    /// Checks whether the history is possible. Returns the verdict and the number of checks that
    /// gave up.
    pub fn check(&self) -> (Result<(), String>, u64) {
        let mut gave_up = 0;
        for (key, history) in self.numbers() {
            match linear::check(&Number, &history, STEPS) {
                Verdict::Possible => {}
                Verdict::GaveUp => gave_up += 1,
                Verdict::Impossible(what) => {
                    return (Err(format!("key {key} is not linearizable: {what}")), gave_up);
                }
            }
        }
        match append::check(&self.transactions()) {
            Verdict::Impossible(what) => (Err(format!("not serializable: {what}")), gave_up),
            _ => (Ok(()), gave_up),
        }
    }

    /// The history of each number, by key. Operations that were not executed are left out, and so
    /// are reads without an answer.
    pub fn numbers(&self) -> BTreeMap<u8, History> {
        let mut all: BTreeMap<u8, History> = BTreeMap::new();
        for it in self.operations.iter().filter(|it| !it.cut) {
            let unread =
                matches!(it.command, Command::Get(_) | Command::Follow(_)) && it.reply.is_none();
            if let Some(key) = it.command.number_key().filter(|_| !unread) {
                let operation = (it.command.clone(), it.reply.clone());
                all.entry(key).or_default().push((it.span, operation));
            }
        }
        all
    }

    /// The transactions on lists that may have been executed.
    pub fn transactions(&self) -> Vec<Transaction> {
        let happened = self.operations.iter().filter(|it| !it.cut);
        let transaction = |it: &Operation| match (&it.command, &it.reply) {
            (Command::Exec(steps), Some(Reply::Lists(read))) => {
                Some(Transaction { span: it.span, steps: steps.clone(), read: Some(read.clone()) })
            }
            (Command::Exec(steps), _) => {
                Some(Transaction { span: it.span, steps: steps.clone(), read: None })
            }
            _ => None,
        };
        happened.filter_map(transaction).collect()
    }
}
