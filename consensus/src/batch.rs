//! A batch: the effects that one entry of the log holds.

use bytes::Bytes;

/// Effects that were executed in one term, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The term in which they were executed. In an entry of another term the batch is ignored.
    pub term: u64,
    /// The number of the first effect. Numbers continue from batch to batch.
    pub first: u64,
    /// The number of effects.
    pub count: u64,
    /// The group's time, in milliseconds, when the last effect was executed. It never goes back.
    pub time: u64,
    /// The effects, one after the other, as the state machine wrote them.
    pub effects: Bytes,
}

/// The version of the layout, which is the first byte.
const VERSION: u8 = 1;

/// The number of bytes before the effects.
const HEAD: usize = 1 + 4 * 8;

impl Batch {
    /// The number of the last effect.
    pub fn last(&self) -> u64 {
        (self.first + self.count).saturating_sub(1)
    }

    /// Encodes the batch as the data of an entry.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(HEAD + self.effects.len());
        out.push(VERSION);
        for number in [self.term, self.first, self.count, self.time] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.effects);
        out.into()
    }

    /// Decodes what [`encode`](Self::encode) wrote, without copying the effects; `None` for
    /// anything else.
    pub fn decode(data: &Bytes) -> Option<Batch> {
        if data.first() != Some(&VERSION) || data.len() < HEAD {
            return None;
        }
        let number = |at: usize| data[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let (term, first) = (number(1)?, number(9)?);
        let (count, time) = (number(17)?, number(25)?);
        first.checked_add(count)?;
        Some(Batch { term, first, count, time, effects: data.slice(HEAD..) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_come_back_as_written() {
        let effects = Bytes::from_static(b"SET a 1");
        let batch = Batch { term: 3, first: 9, count: 2, time: 1_000, effects };
        let bytes = batch.encode();
        assert_eq!(Batch::decode(&bytes), Some(batch));
        assert_eq!(Batch::decode(&bytes.slice(..HEAD - 1)), None);
        assert_eq!(Batch::decode(&bytes.slice(1..)), None);
    }
}
