//! Bugs that other systems had, planted on purpose so that the simulator can prove that it finds
//! them. Without the feature `planted` none of them is compiled in.

/// A planted bug. The numbers are those of the findings in Jepsen's report about RedisRaft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A leader serves commands before the first entry of its term is committed (#18, #19).
    EarlyReads,
    /// Replies to reads wait neither for a lease nor for a read round.
    NoLeaseCheck,
    /// Effects that were executed in an older term are proposed after an election, and applied.
    OlderTerm,
    /// Effects that were executed and then cut stay in the state (#17, #44).
    NoUndo,
    /// Followers acknowledge entries and do not apply them (#14).
    FollowerDoesNotApply,
    /// A change of the membership takes effect as soon as it is in the log, and others may follow
    /// at once (#28, #48).
    EarlyChange,
    /// A node that loses the leadership reports pending effects as cut although they may be
    /// committed (#23).
    CutWhatCommits,
    /// A restarted node votes at once, without waiting for an election timeout.
    VotesAtOnce,
    /// Handing over the leadership does not end the lease.
    LeaseSurvivesTransfer,
    /// A follower knows how far it has to be to answer a read, and answers before it is there.
    ReadsUnapplied,
}

/// The set of planted bugs: none or one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    #[cfg(feature = "planted")]
    planted: Option<Fault>,
}

impl Faults {
    /// Plants `planted`.
    #[cfg(feature = "planted")]
    pub fn of(planted: Option<Fault>) -> Faults {
        Faults { planted }
    }

    /// Whether `fault` is planted. Always false without the feature `planted`.
    #[cfg(feature = "planted")]
    pub(crate) fn has(self, fault: Fault) -> bool {
        self.planted == Some(fault)
    }

    /// Whether `fault` is planted. Always false without the feature `planted`.
    #[cfg(not(feature = "planted"))]
    pub(crate) fn has(self, _: Fault) -> bool {
        false
    }
}
