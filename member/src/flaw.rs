//! Bugs that others' systems had, planted here on purpose so that the simulator can prove that it
//! would find them. Without the feature `planted` none of this is compiled in.

/// A bug. The numbers are those of Jepsen's report about RedisRaft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Term and vote are not written.
    VoteNotKept,
    /// Entries are acknowledged before they are synced.
    AcknowledgedUnsynced,
    /// The reply of what wrote nothing, a failed condition for one, is not withheld.
    ConditionNotWithheld,
    /// At start, log and snapshot are one entry apart (#43).
    OneApart,
    /// A snapshot is not synced before the log is cut, and taken as it is (#654).
    TornSnapshot,
    /// A transaction becomes several entries.
    ExecSplit,
    /// After a crash, an effect is applied twice (#52).
    AppliedTwice,
}

/// At most one planted bug.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flaws {
    #[cfg(feature = "planted")]
    planted: Option<Flaw>,
}

impl Flaws {
    /// With this bug.
    #[cfg(feature = "planted")]
    pub fn of(planted: Option<Flaw>) -> Flaws {
        Flaws { planted }
    }

    /// Whether it is planted: never, in a build that others use.
    #[cfg(feature = "planted")]
    pub(crate) fn has(self, flaw: Flaw) -> bool {
        self.planted == Some(flaw)
    }

    /// Whether it is planted: never, in a build that others use.
    #[cfg(not(feature = "planted"))]
    pub(crate) fn has(self, _: Flaw) -> bool {
        false
    }
}
