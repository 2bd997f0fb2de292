//! Checks linearizability: the algorithm of Wing and Gong with Lowe's cache, as Porcupine uses it.
//!
//! Operations are taken in an order that respects time: one may come next if it began before the
//! first answer among those not yet taken. Where none fits the model, the last one is taken back. A
//! combination of taken operations and state is tried once only.

use super::{Span, Verdict};
use std::collections::HashSet;
use std::hash::Hash;

/// The sequential specification: how a single copy of the data would behave.
pub trait Model {
    /// The state of the single copy.
    type State: Clone + Eq + Hash;
    /// An operation, with its answer if there was one.
    type Operation;

    /// The state before the first operation.
    fn initial(&self) -> Self::State;
    /// The state after an operation with this answer; `None` if the operation cannot have this
    /// answer.
    fn step(&self, state: &Self::State, operation: &Self::Operation) -> Option<Self::State>;
}

/// A call or an answer, in the linked list of those not taken.
#[derive(Debug, Clone, Copy)]
struct Event {
    operation: usize,
    is_call: bool,
    next: usize,
    previous: usize,
    /// For a call: the position of its answer.
    answer: usize,
}

/// The position of the list's head, which is not an event.
const HEAD: usize = 0;

struct Events(Vec<Event>);

impl Events {
    fn new<O>(history: &[(Span, O)]) -> Events {
        let mut all: Vec<(u64, bool, usize)> = Vec::new();
        for (operation, (span, _)) in history.iter().enumerate() {
            all.push((span.begin, true, operation));
            // At the same moment calls come before answers. That permits more orders, so no history
            // is rejected wrongly.
            all.push((span.end.unwrap_or(u64::MAX), false, operation));
        }
        all.sort_by_key(|(time, is_call, operation)| (*time, !is_call, *operation));
        let mut calls = vec![0; history.len()];
        let head = Event { operation: 0, is_call: false, next: 1, previous: all.len(), answer: 0 };
        let mut events = vec![head];
        for (at, (_, is_call, operation)) in all.iter().copied().enumerate() {
            let at = at + 1;
            let next = if at == all.len() { HEAD } else { at + 1 };
            events.push(Event { operation, is_call, next, previous: at - 1, answer: 0 });
            match is_call {
                true => calls[operation] = at,
                false => events[calls[operation]].answer = at,
            }
        }
        if all.is_empty() {
            events[HEAD].next = HEAD;
        }
        Events(events)
    }

    fn unlink(&mut self, at: usize) {
        let Event { next, previous, .. } = self.0[at];
        self.0[previous].next = next;
        self.0[next].previous = previous;
    }

    fn relink(&mut self, at: usize) {
        let Event { next, previous, .. } = self.0[at];
        self.0[previous].next = at;
        self.0[next].previous = at;
    }

    /// Takes a call and its answer out of the list.
    fn take(&mut self, call: usize) {
        self.unlink(call);
        self.unlink(self.0[call].answer);
    }

    /// Puts a call and its answer back, in reverse order.
    fn untake(&mut self, call: usize) {
        self.relink(self.0[call].answer);
        self.relink(call);
    }
}

/// The state of the search: the operations taken, their order, and the combinations tried.
struct Search<'a, M: Model> {
    model: &'a M,
    history: &'a [(Span, M::Operation)],
    events: Events,
    /// The number of operations with an answer that are not taken.
    answers: usize,
    /// One bit for each operation that is taken.
    taken: Vec<u64>,
    tried: HashSet<(Vec<u64>, M::State)>,
    stack: Vec<(usize, M::State)>,
    state: M::State,
}

/// Checks whether the operations can have happened one after the other. Gives up after `steps`
/// steps.
pub fn check<M: Model>(model: &M, history: &[(Span, M::Operation)], steps: u64) -> Verdict {
    let mut search = Search {
        model,
        history,
        events: Events::new(history),
        answers: history.iter().filter(|(span, _)| span.end.is_some()).count(),
        taken: vec![0; history.len().div_ceil(64)],
        tried: HashSet::new(),
        stack: Vec::new(),
        state: model.initial(),
    };
    let mut at = search.events.0[HEAD].next;
    for _ in 0..steps {
        // Operations with an unknown outcome need not have happened.
        if search.answers == 0 {
            return Verdict::Possible;
        }
        let is_call = at != HEAD && search.events.0[at].is_call;
        let next = if is_call { Some(search.take(at)) } else { search.take_back() };
        let Some(next) = next else {
            return Verdict::Impossible(format!("{} operations have no order", history.len()));
        };
        at = next;
    }
    Verdict::GaveUp
}

impl<M: Model> Search<'_, M> {
    fn flip(&mut self, operation: usize) {
        self.taken[operation / 64] ^= 1 << (operation % 64);
    }

    /// Takes a call if it fits the model and the result was not tried before. Returns the position
    /// at which to continue.
    fn take(&mut self, at: usize) -> usize {
        let Event { operation, next, .. } = self.events.0[at];
        let (span, what) = &self.history[operation];
        let Some(after) = self.model.step(&self.state, what) else { return next };
        self.flip(operation);
        if !self.tried.insert((self.taken.clone(), after.clone())) {
            self.flip(operation);
            return next;
        }
        self.stack.push((at, std::mem::replace(&mut self.state, after)));
        self.answers -= usize::from(span.end.is_some());
        self.events.take(at);
        self.events.0[HEAD].next
    }

    /// Called at an answer whose call fitted nowhere before it. Takes the last call back and
    /// returns the position at which to continue; `None` if no call is taken.
    fn take_back(&mut self) -> Option<usize> {
        let (call, before) = self.stack.pop()?;
        let Event { operation, .. } = self.events.0[call];
        self.flip(operation);
        self.answers += usize::from(self.history[operation].0.end.is_some());
        self.state = before;
        self.events.untake(call);
        Some(self.events.0[call].next)
    }
}
