//! Checkers: whether what clients saw can have happened.

pub mod append;
pub mod linear;
pub mod number;

/// When something began and ended, in the order of events. Who never learned the outcome has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// When it was asked.
    pub begin: u64,
    /// When it was answered.
    pub end: Option<u64>,
}

/// What a checker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It can have happened.
    Possible,
    /// It cannot, and why.
    Impossible(String),
    /// It took too long to say.
    GaveUp,
}
