//! [`Acks`]: how far each replica says it is.

/// The last acknowledgement received from one replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// The position it has applied.
    pub position: u64,
    /// The position that is synced to its disk (`FACK`), 0 if it never reported one.
    pub durable: u64,
    /// The time of its last acknowledgement, in milliseconds of any clock.
    pub at_ms: u64,
}

/// The last acknowledgement of each connected replica.
#[derive(Clone, Debug, Default)]
pub struct Acks(pub Vec<Ack>);

impl Acks {
    /// The number of replicas that have applied everything up to a position.
    pub fn reached(&self, position: u64) -> usize {
        self.0.iter().filter(|ack| ack.position >= position).count()
    }

    /// The number of replicas that have everything up to a position on disk.
    pub fn durable(&self, position: u64) -> usize {
        self.0.iter().filter(|ack| ack.durable >= position).count()
    }

    /// The number of replicas heard from in the last `lag_s` seconds (`min-replicas-max-lag`).
    pub fn good(&self, now_ms: u64, lag_s: u64) -> usize {
        let fresh = |ack: &&Ack| now_ms.saturating_sub(ack.at_ms) / 1000 <= lag_s;
        self.0.iter().filter(fresh).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_counted() {
        let ack = |position, durable, at_ms| Ack { position, durable, at_ms };
        let acks = Acks(vec![ack(10, 5, 1000), ack(20, 0, 9000)]);
        assert_eq!([acks.reached(10), acks.reached(11), acks.reached(21)], [2, 1, 0]);
        assert_eq!([acks.durable(5), acks.durable(6)], [1, 0]);
        assert_eq!([acks.good(12_000, 10), acks.good(12_000, 3), acks.good(90_000, 10)], [1, 1, 0]);
    }
}
