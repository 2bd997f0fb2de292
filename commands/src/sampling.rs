//! Random elements of a collection, as `SRANDMEMBER`, `HRANDFIELD` and `ZRANDMEMBER` pick them:
//! how many are asked for, and which.

use engine::failure::{Failure, OUT_OF_RANGE, failure};
use engine::text::args::integer;
use hashbrown::HashMap;
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng};
use storage::Result;
use storage::types::{Hash, Set, SortedSet};

/// Most repeated picks one command makes. Redis has no bound, and tries to answer.
const REPEATS_MAX: u64 = 1 << 24;

/// Picks are made one by one while they are fewer than this share of the collection.
const SPARSE: u64 = 3;

/// The number of elements to pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// This many different ones, or all.
    Distinct(u64),
    /// This many, each chosen anew.
    Repeating(u64),
}

impl Count {
    /// Parses the argument `count`; negative for picks with repetition.
    ///
    /// # Errors
    /// Fails as in Redis, if it is not an integer or cannot be negated; and for more than 2^24
    /// picks with repetition.
    pub fn parse(arg: &[u8]) -> Result<Self, Failure> {
        match integer(arg)? {
            i64::MIN => Err(failure(
                "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
            )),
            count @ 0.. => Ok(Count::Distinct(count as u64)),
            count if count.unsigned_abs() > REPEATS_MAX => Err(OUT_OF_RANGE),
            count => Ok(Count::Repeating(count.unsigned_abs())),
        }
    }

    /// [`Count::parse`] when every pick answers with two values.
    ///
    /// # Errors
    /// Fails like [`Count::parse`], and beyond half the range.
    pub fn parse_pairs(arg: &[u8]) -> Result<Self, Failure> {
        match Self::parse(arg)? {
            Count::Distinct(count) if count > i64::MAX as u64 / 2 => Err(OUT_OF_RANGE),
            count => Ok(count),
        }
    }
}

/// Random numbers from one seed.
struct Rng(SplitMix64);

impl Rng {
    /// A number below `bound`, which is not zero.
    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }
}

/// A collection to pick from: names, and what belongs to each.
pub trait Pool {
    /// The value that belongs to a name: a field's value, a member's score.
    type Extra;
    /// Number of elements.
    ///
    /// # Errors
    /// Fails if the storage does.
    fn size(&mut self) -> Result<u64>;
    /// An element chosen by a random number.
    fn pick(&mut self, random: u64) -> Result<Option<(Vec<u8>, Self::Extra)>>;
    /// Every element.
    fn all(&mut self) -> Result<Vec<(Vec<u8>, Self::Extra)>>;
}

impl Pool for dyn Hash + '_ {
    type Extra = Vec<u8>;

    fn size(&mut self) -> Result<u64> {
        self.len()
    }

    fn pick(&mut self, random: u64) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let picked = self.random(random)?;
        Ok(picked.map(|(field, value)| (field.to_vec(), value.to_vec())))
    }

    fn all(&mut self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut all = Vec::new();
        self.for_each(&mut |field, value| {
            all.push((field.to_vec(), value.to_vec()));
            true
        })?;
        Ok(all)
    }
}

impl Pool for dyn Set + '_ {
    type Extra = ();

    fn size(&mut self) -> Result<u64> {
        self.len()
    }

    fn pick(&mut self, random: u64) -> Result<Option<(Vec<u8>, ())>> {
        Ok(self.random(random)?.map(|member| (member.to_vec(), ())))
    }

    fn all(&mut self) -> Result<Vec<(Vec<u8>, ())>> {
        let mut all = Vec::new();
        self.for_each(&mut |member| {
            all.push((member.to_vec(), ()));
            true
        })?;
        Ok(all)
    }
}

impl Pool for dyn SortedSet + '_ {
    type Extra = f64;

    fn size(&mut self) -> Result<u64> {
        self.len()
    }

    fn pick(&mut self, random: u64) -> Result<Option<(Vec<u8>, f64)>> {
        Ok(self.random(random)?.map(|(member, score)| (member.to_vec(), score)))
    }

    fn all(&mut self) -> Result<Vec<(Vec<u8>, f64)>> {
        let mut all = Vec::new();
        let everything = storage::types::ZRange::Rank { start: 0, end: u64::MAX };
        self.range(&everything, false, 0, u64::MAX, &mut |member, score| {
            all.push((member.to_vec(), score));
            true
        })?;
        Ok(all)
    }
}

/// Picks `count` elements of `pool` by the random numbers of `seed`.
///
/// # Errors
/// Fails if the storage does.
pub fn pick<P: Pool + ?Sized>(
    pool: &mut P,
    count: Count,
    seed: u64,
) -> Result<Vec<(Vec<u8>, P::Extra)>> {
    let mut rng = Rng(SplitMix64::seed_from_u64(seed));
    match count {
        Count::Repeating(count) => pick_repeating(pool, count, &mut rng),
        Count::Distinct(count) => {
            let size = pool.size()?;
            if count >= size {
                return pool.all();
            }
            if count * SPARSE > size {
                return pick_from_all(pool, count, &mut rng);
            }
            pick_sparse(pool, count, &mut rng)
        }
    }
}

fn pick_repeating<P: Pool + ?Sized>(
    pool: &mut P,
    count: u64,
    rng: &mut Rng,
) -> Result<Vec<(Vec<u8>, P::Extra)>> {
    let mut picked = Vec::new();
    for _ in 0..count {
        let Some(element) = pool.pick(rng.0.next_u64())? else { break };
        picked.push(element);
    }
    Ok(picked)
}

/// Shuffles as many to the front as are wanted.
fn pick_from_all<P: Pool + ?Sized>(
    pool: &mut P,
    count: u64,
    rng: &mut Rng,
) -> Result<Vec<(Vec<u8>, P::Extra)>> {
    let mut all = pool.all()?;
    let count = (count as usize).min(all.len());
    for i in 0..count {
        let other = i + rng.below((all.len() - i) as u64) as usize;
        all.swap(i, other);
    }
    all.truncate(count);
    Ok(all)
}

/// Picks until enough different ones are found: few tries, as most elements are not picked yet.
/// Should the storage keep choosing the same ones, all are looked at instead.
fn pick_sparse<P: Pool + ?Sized>(
    pool: &mut P,
    count: u64,
    rng: &mut Rng,
) -> Result<Vec<(Vec<u8>, P::Extra)>> {
    let mut picked = HashMap::new();
    let tries_max = 32 + count.saturating_mul(16);
    for _ in 0..tries_max {
        if picked.len() as u64 == count {
            return Ok(picked.into_iter().collect());
        }
        let Some((name, extra)) = pool.pick(rng.0.next_u64())? else { break };
        picked.insert(name, extra);
    }
    pick_from_all(pool, count, rng)
}
