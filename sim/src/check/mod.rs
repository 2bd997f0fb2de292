//! Checkers, which decide whether the history that clients saw is possible.

pub mod append;
pub mod linear;
pub mod number;

/// The beginning and the end of an operation, counted in events. There is no end if its outcome was
/// never learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The time of the question.
    pub begin: u64,
    /// The time of the answer.
    pub end: Option<u64>,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The history is possible.
    Possible,
    /// The history is impossible, for this reason.
    Impossible(String),
    /// The check took too many steps.
    GaveUp,
}
