//! Bugs that others' systems had, planted here on purpose so that the simulator can prove that it
//! would find them. Without the feature `planted` none of this is compiled in.

/// A bug. The numbers are those of Jepsen's report about RedisRaft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A leader serves before its term's first commit (#18, #19).
    EarlyReads,
    /// Replies do not wait for a lease or a round.
    NoLeaseCheck,
    /// What an older term executed is proposed after an election, and applied.
    OlderTerm,
    /// What was executed and cut stays in the state (#17, #44).
    NoUndo,
    /// Followers acknowledge and do not apply (#14).
    FollowerDoesNotApply,
    /// A change of members counts as soon as it is in the log, and further ones are let in (#28, #48).
    EarlyChange,
    /// Whoever loses the leadership says that nothing pending has happened (#23).
    CutWhatCommits,
    /// A restarted node votes at once.
    VotesAtOnce,
    /// A transfer leaves the lease as it is.
    LeaseSurvivesTransfer,
}

/// At most one planted bug.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    #[cfg(feature = "planted")]
    planted: Option<Fault>,
}

impl Faults {
    /// With this bug.
    #[cfg(feature = "planted")]
    pub fn of(planted: Option<Fault>) -> Faults {
        Faults { planted }
    }

    /// Whether it is planted: never, in a build that others use.
    #[cfg(feature = "planted")]
    pub(crate) fn has(self, fault: Fault) -> bool {
        self.planted == Some(fault)
    }

    /// Whether it is planted: never, in a build that others use.
    #[cfg(not(feature = "planted"))]
    pub(crate) fn has(self, _: Fault) -> bool {
        false
    }
}
