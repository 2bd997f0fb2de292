//! LCS: the longest common subsequence of two strings.

use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::text::args::integer;
use storage::Error;

/// Cells of the table, four bytes each. Redis asks its allocator for any size, and answers with
/// the same error when that fails; here the bound also keeps the time under a lock to about a second.
const CELLS_MAX: usize = 1 << 27;

#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    min_match_len: u64,
    with_match_len: bool,
}

fn parse(cx: &Cx<'_>) -> Result<Options, Failure> {
    let mut options = Options::default();
    let mut args = cx.args_from(3);
    while !args.is_empty() {
        if args.keyword("LEN") {
            options.len = true;
        } else if args.keyword("IDX") {
            options.idx = true;
        } else if args.keyword("WITHMATCHLEN") {
            options.with_match_len = true;
        } else if let Some(value) = args.option("MINMATCHLEN") {
            options.min_match_len = integer(value)?.max(0) as u64;
        } else {
            return Err(SYNTAX);
        }
    }
    match options.len && options.idx {
        true => Err(failure("ERR If you want both the length and indexes, please just use IDX.")),
        false => Ok(options),
    }
}

/// The string at argument `index`, empty when there is none.
fn operand(cx: &mut Cx<'_>, index: usize) -> Result<Vec<u8>, Failure> {
    let key = cx.key(index);
    let value = match cx.tx.string(&key) {
        Ok(value) => value.map(|value| value.as_bytes().to_vec()),
        Err(Error::WrongType) => {
            cx.looked_up(&key, true);
            return Err(failure("ERR The specified keys must contain string values"));
        }
        Err(other) => return Err(other.into()),
    };
    cx.looked_up(&key, value.is_some());
    Ok(value.unwrap_or_default())
}

/// The lengths of the longest common subsequences of all pairs of prefixes.
struct Table {
    cells: Vec<u32>,
    width: usize,
}

impl Table {
    fn new(a: &[u8], b: &[u8]) -> Result<Self, Failure> {
        let width = b.len() + 1;
        let size = (a.len() + 1).checked_mul(width).filter(|&cells| cells <= CELLS_MAX);
        let size = size.ok_or(failure(
            "ERR Insufficient memory, failed allocating transient memory for LCS",
        ))?;
        let mut cells = vec![0; size];
        for (i, x) in a.iter().enumerate() {
            let (above, row) = cells[i * width..(i + 2) * width].split_at_mut(width);
            for (j, y) in b.iter().enumerate() {
                row[j + 1] = if x == y { above[j] + 1 } else { above[j + 1].max(row[j]) };
            }
        }
        Ok(Table { cells, width })
    }

    /// The length for the first `i` and `j` bytes.
    fn len(&self, i: usize, j: usize) -> u32 {
        self.cells[i * self.width + j]
    }

    fn total(&self) -> u32 {
        self.cells.last().copied().unwrap_or(0)
    }
}

/// A run of equal bytes: where it begins in both strings, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    a: usize,
    b: usize,
    len: usize,
}

/// The runs that make up the subsequence, last first, as Redis reports them.
fn runs(table: &Table, a: &[u8], b: &[u8]) -> Vec<Run> {
    let (mut i, mut j) = (a.len(), b.len());
    let mut runs: Vec<Run> = Vec::new();
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            (i, j) = (i - 1, j - 1);
            match runs.last_mut() {
                Some(run) if run.a == i + 1 && run.b == j + 1 => {
                    *run = Run { a: i, b: j, len: run.len + 1 };
                }
                _ => runs.push(Run { a: i, b: j, len: 1 }),
            }
        } else if table.len(i - 1, j) > table.len(i, j - 1) {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    runs
}

pub(super) fn lcs(cx: &mut Cx<'_>) -> Outcome {
    let (a, b) = (operand(cx, 1), operand(cx, 2));
    let (a, b) = (a?, b?);
    let options = parse(cx)?;
    let table = Table::new(&a, &b)?;
    if options.len {
        cx.reply.integer(table.total().into());
        return Ok(());
    }
    let runs = runs(&table, &a, &b);
    if options.idx {
        reply_runs(cx, &options, &runs, table.total());
    } else {
        let parts: Vec<&[u8]> = runs.iter().rev().map(|r| &a[r.a..r.a + r.len]).collect();
        cx.reply.bulk(&parts.concat());
    }
    Ok(())
}

fn reply_runs(cx: &mut Cx<'_>, options: &Options, runs: &[Run], total: u32) {
    let shown = || runs.iter().filter(|run| run.len as u64 >= options.min_match_len);
    cx.reply.map(2);
    cx.reply.bulk(b"matches");
    cx.reply.array(shown().count());
    for run in shown() {
        cx.reply.array(2 + usize::from(options.with_match_len));
        for start in [run.a, run.b] {
            cx.reply.array(2);
            cx.reply.integer(start as i64);
            cx.reply.integer((start + run.len - 1) as i64);
        }
        if options.with_match_len {
            cx.reply.integer(run.len as i64);
        }
    }
    cx.reply.bulk(b"len");
    cx.reply.integer(total.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `LCS a b IDX` of Redis 7.0.15 with a = "ohmytext", b = "mynewtext".
    #[test]
    fn runs_come_last_first() {
        let (a, b) = (b"ohmytext", b"mynewtext");
        let table = Table::new(a, b).expect("small");
        let expected = [Run { a: 4, b: 5, len: 4 }, Run { a: 2, b: 0, len: 2 }];
        assert_eq!(runs(&table, a, b), expected);
        assert_eq!(table.total(), 6);
    }

    #[test]
    fn what_would_take_too_much_is_refused() {
        let long = vec![b'x'; 12_000];
        assert!(Table::new(&long, &long).is_err());
        assert!(Table::new(&long, b"x").is_ok());
    }
}
