//! Reduces a program that shows a difference: first commands are left out, then arguments, then
//! arguments are simplified.

use super::generate::{Command, may_be_simplified};

/// Replacements for an argument, simplest first.
const SIMPLE: &[&[u8]] = &[b"", b"0", b"1", b"a"];

/// The smallest program found within `attempts` trials for which `fails` still holds; `program`
/// itself does.
pub fn shrink(
    program: Vec<Command>,
    attempts: usize,
    fails: impl FnMut(&[Command]) -> bool,
) -> Vec<Command> {
    let mut search = Search { best: program, attempts, fails };
    loop {
        let before = search.best.clone();
        search.leave_out_commands();
        search.leave_out_arguments();
        search.simplify_arguments();
        if search.best == before || search.attempts == 0 {
            return search.best;
        }
    }
}

struct Search<F> {
    best: Vec<Command>,
    attempts: usize,
    fails: F,
}

impl<F: FnMut(&[Command]) -> bool> Search<F> {
    /// Takes `candidate` if it still fails.
    fn attempt(&mut self, candidate: Vec<Command>) -> bool {
        if self.attempts == 0 {
            return false;
        }
        self.attempts -= 1;
        let fails = (self.fails)(&candidate);
        if fails {
            self.best = candidate;
        }
        fails
    }

    /// Leaves out runs of commands, from half of all down to single ones, from the end.
    fn leave_out_commands(&mut self) {
        let mut size = self.best.len() / 2;
        while size > 0 {
            let mut end = self.best.len();
            while end > 0 {
                let start = end.saturating_sub(size);
                let mut candidate = self.best.clone();
                candidate.drain(start..end);
                self.attempt(candidate);
                end = start;
            }
            size /= 2;
        }
    }

    fn leave_out_arguments(&mut self) {
        for at in 0..self.best.len() {
            if !may_be_simplified(&self.best[at].args) {
                continue;
            }
            let mut size = self.best[at].args.len() / 2;
            while size > 0 {
                let mut end = self.best[at].args.len();
                while end > 1 {
                    let start = end.saturating_sub(size).max(1);
                    let mut candidate = self.best.clone();
                    candidate[at].args.drain(start..end);
                    self.attempt(candidate);
                    end = start;
                }
                size /= 2;
            }
        }
    }

    fn simplify_arguments(&mut self) {
        for at in 0..self.best.len() {
            if !may_be_simplified(&self.best[at].args) {
                continue;
            }
            for arg in 1..self.best[at].args.len() {
                self.simplify(at, arg);
            }
        }
    }

    fn simplify(&mut self, at: usize, arg: usize) {
        let current = self.best[at].args[arg].clone();
        let half = &current[..current.len() / 2];
        let simpler = |value: &&[u8]| rank(value) < rank(&current);
        let candidates: Vec<Vec<u8>> =
            SIMPLE.iter().copied().chain([half]).filter(simpler).map(<[u8]>::to_vec).collect();
        for value in candidates {
            let mut candidate = self.best.clone();
            candidate[at].args[arg] = value;
            if self.attempt(candidate) {
                return;
            }
        }
    }
}

/// Simpler values are smaller.
fn rank(value: &[u8]) -> usize {
    SIMPLE.iter().position(|simple| *simple == value).unwrap_or(SIMPLE.len() + value.len())
}
