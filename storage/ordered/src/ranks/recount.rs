//! Counting again, at the start after a crash: the counts of the last session may have been in memory only.

use super::keys;
use super::node::{Bounds, ROOT, encode_counts};
use crate::backend::OrderedBackend;
use crate::codec::{self, Body, Head};
use crate::kv::{Batch, Read};
use storage::{Error, Result};

/// Levels of a tree at most: more than any number of members needs.
const LEVELS_MAX: u8 = 16;

/// Keys of sorted sets whose counts may not be those of their members, with their metadata records.
#[derive(Default)]
pub(crate) struct Stale(Vec<(Vec<u8>, Vec<u8>)>);

impl Stale {
    /// Adds a key if its counts are of a session that has ended in a crash.
    pub(crate) fn note(&mut self, key: &[u8], record: &[u8], head: &Head, session: u32) {
        if let Body::Map(map) = &head.body
            && map.ranks.levels > 0
            && ![0, session].contains(&map.ranks.session)
        {
            self.0.push((key.to_vec(), record.to_vec()));
        }
    }
}

impl OrderedBackend {
    /// Counts the members of the noted sets again. A set's counts are written together with the note that they are.
    pub(crate) fn recount(&self, stale: Stale) -> Result<()> {
        for (key, record) in stale.0 {
            match self.recount_one(key, &record) {
                // As with other damage, whoever uses the set is told.
                Err(Error::Corrupt(what)) => tracing::warn!(%what, "a sorted set was not counted"),
                done => done?,
            }
        }
        Ok(())
    }

    fn recount_one(&self, key: Vec<u8>, record: &[u8]) -> Result<()> {
        let (mut head, tail_at, _) = codec::decode_meta(record)?;
        let Body::Map(map) = &mut head.body else { return Ok(()) };
        if map.ranks.levels > LEVELS_MAX {
            return Err(Error::corrupt("a tree of counts has too many levels"));
        }
        let mut count = Recount { kv: &*self.kv, version: map.version, batch: Batch::default() };
        let (lo, hi) = keys::all_by_score(map.version);
        count.node(ROOT, map.ranks.levels, &lo, &hi)?;
        map.ranks.session = 0;
        let mut batch = count.batch;
        batch.put(keys::META, key, codec::encode(&head, &[&record[tail_at..]]));
        self.kv.write(batch)
    }
}

struct Recount<'k> {
    kv: &'k dyn Read,
    version: u64,
    batch: Batch,
}

impl Recount<'_> {
    /// Counts the members below a node, which are between two by-score keys; how many.
    fn node(&mut self, number: u32, level: u8, lo: &[u8], hi: &[u8]) -> Result<u64> {
        let bounds = Bounds::read(self.kv, (self.version, number))?;
        let mut counts = vec![0; bounds.len()];
        if level == 1 {
            self.buckets(&bounds, (lo, hi), &mut counts)?;
        } else {
            let begin = |index| keys::at_place(self.version, bounds.bound(index));
            let begins: Vec<_> = (1..bounds.len()).map(begin).collect();
            let edges: Vec<&[u8]> =
                [lo].into_iter().chain(begins.iter().map(Vec::as_slice)).chain([hi]).collect();
            for (index, count) in counts.iter_mut().enumerate() {
                let child = bounds.child(index);
                *count = self.node(child, level - 1, edges[index], edges[index + 1])?;
            }
        }
        let counts_key = keys::rank_counts(self.version, number);
        self.batch.put(keys::ELEMENTS, counts_key, encode_counts(&counts));
        Ok(counts.iter().sum())
    }

    /// Counts the members in each bucket of a lowest node.
    fn buckets(&self, bounds: &Bounds, (lo, hi): (&[u8], &[u8]), counts: &mut [u64]) -> Result<()> {
        let mut index = 0;
        self.kv.scan(keys::ELEMENTS, lo, hi, false, &mut |key, _| {
            let place = keys::place(key).unwrap_or_default();
            while index + 1 < counts.len() && bounds.bound(index + 1) <= place {
                index += 1;
            }
            counts[index] += 1;
            true
        })
    }
}
