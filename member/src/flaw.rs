//! Bugs that other systems had, planted on purpose so that the simulator can prove that it finds
//! them. Without the feature `planted` none of them is compiled in.

/// A planted bug. The numbers are those of the findings in Jepsen's report about RedisRaft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Term and vote are not written to the disk.
    VoteNotKept,
    /// Entries are acknowledged before they are synced.
    AcknowledgedUnsynced,
    /// The reply to a command that wrote nothing, for example one whose condition failed, is not
    /// withheld.
    ConditionNotWithheld,
    /// At start, log and snapshot are one entry apart (#43).
    OneApart,
    /// The log is compacted before the snapshot is synced, and a damaged snapshot is loaded without
    /// a check (#654).
    TornSnapshot,
    /// A transaction is split into several entries.
    ExecSplit,
    /// After a crash an effect is applied twice (#52).
    AppliedTwice,
    /// A group takes a unit of slots before the other one has given it away.
    AcquiredEarly,
    /// A group goes on changing a unit of slots that it has given away.
    ReleasedUnfenced,
}

/// The set of planted bugs: none or one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flaws {
    #[cfg(feature = "planted")]
    planted: Option<Flaw>,
}

impl Flaws {
    /// Plants `planted`.
    #[cfg(feature = "planted")]
    pub fn of(planted: Option<Flaw>) -> Flaws {
        Flaws { planted }
    }

    /// Whether `flaw` is planted. Always false without the feature `planted`.
    #[cfg(feature = "planted")]
    pub(crate) fn has(self, flaw: Flaw) -> bool {
        self.planted == Some(flaw)
    }

    /// Whether `flaw` is planted. Always false without the feature `planted`.
    #[cfg(not(feature = "planted"))]
    pub(crate) fn has(self, _: Flaw) -> bool {
        false
    }
}
