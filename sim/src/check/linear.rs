//! Linearizability: the algorithm of Wing and Gong with the cache of Lowe, as Porcupine uses it.
//!
//! Operations are taken in some order that respects time: one may come next if it began before the
//! first answer among those not taken yet. Where none fits the model, the last one is taken back. What
//! was tried (the same operations taken, the same state) is not tried again.

use super::{Span, Verdict};
use std::collections::HashSet;
use std::hash::Hash;

/// What a single copy would do.
pub trait Model {
    /// What it knows.
    type State: Clone + Eq + Hash;
    /// An operation with its answer, if there was one.
    type Operation;

    /// Before anything happened.
    fn initial(&self) -> Self::State;
    /// The state after an operation that was answered so; `None` if it would answer otherwise.
    fn step(&self, state: &Self::State, operation: &Self::Operation) -> Option<Self::State>;
}

/// A call or an answer, in a list of those not taken.
#[derive(Debug, Clone, Copy)]
struct Event {
    operation: usize,
    is_call: bool,
    next: usize,
    previous: usize,
    /// Of a call, where its answer is.
    answer: usize,
}

/// Not an event: the end of the list, and its beginning.
const HEAD: usize = 0;

struct Events(Vec<Event>);

impl Events {
    fn new<O>(history: &[(Span, O)]) -> Events {
        let mut all: Vec<(u64, bool, usize)> = Vec::new();
        for (operation, (span, _)) in history.iter().enumerate() {
            all.push((span.begin, true, operation));
            // At the same moment, calls come first: that permits more, so blames nobody wrongly.
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

    /// Takes a call and its answer out.
    fn take(&mut self, call: usize) {
        self.unlink(call);
        self.unlink(self.0[call].answer);
    }

    /// Puts them back: the reverse order.
    fn untake(&mut self, call: usize) {
        self.relink(self.0[call].answer);
        self.relink(call);
    }
}

/// The search: what is taken, in which order, and what was tried.
struct Search<'a, M: Model> {
    model: &'a M,
    history: &'a [(Span, M::Operation)],
    events: Events,
    /// Operations with an answer that are not taken.
    answers: usize,
    /// A bit for each operation that is taken.
    taken: Vec<u64>,
    tried: HashSet<(Vec<u64>, M::State)>,
    stack: Vec<(usize, M::State)>,
    state: M::State,
}

/// Whether the operations can have happened one after the other. Gives up after so many `steps`.
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
        // What nobody knows the outcome of need not have happened.
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

    /// Takes a call if that fits the model and was not tried; where to go on.
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

    /// An answer whose call did not fit anywhere before it: takes the last one back; where to go on, if
    /// there was one.
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
