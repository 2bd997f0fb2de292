//! Checks strict serializability of transactions that append to lists and read lists.
//!
//! A read shows the order in which a list was appended to, so the dependencies between transactions
//! follow from what was read: *ww* along a list, *wr* from the last writer to the reader, *rw* from
//! the reader to the next writer, and *real time* from a transaction that ended to one that began
//! later. A cycle of dependencies is impossible, and so are reads that disagree about an order,
//! show a number that nobody wrote, or show part of a transaction.

use super::{Span, Verdict};
use crate::command::Micro;
use std::collections::BTreeMap;

/// A transaction: its time, its steps, and what they read if it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The time between question and answer.
    pub span: Span,
    /// The steps, in order.
    pub steps: Vec<Micro>,
    /// For each step, the list that it read; `None` if there was no answer.
    pub read: Option<Vec<Option<Vec<u64>>>>,
}

/// The graph of dependencies. It also has vertices for points in time, because an edge for every
/// pair of transactions would be too many.
struct Graph(Vec<Vec<usize>>);

/// Checks whether the transactions can have happened one after the other, in an order that respects
/// time. Each number is appended once only, and to one list.
pub fn check(history: &[Transaction]) -> Verdict {
    match graph(history) {
        Err(what) => Verdict::Impossible(what),
        Ok(graph) => match graph.cycle() {
            Some(at) => {
                let which = at.iter().find_map(|at| history.get(*at));
                Verdict::Impossible(format!("a cycle of {} with {which:?}", at.len()))
            }
            None => Verdict::Possible,
        },
    }
}

/// The lists that a transaction read, without the numbers that it appended itself.
fn reads(transaction: &Transaction) -> Result<Vec<(u8, Vec<u64>)>, String> {
    let mut own: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
    let mut found = Vec::new();
    for (at, step) in transaction.steps.iter().enumerate() {
        match step {
            Micro::Append(key, number) => own.entry(*key).or_default().push(*number),
            Micro::Read(key) => {
                let read = transaction.read.as_ref().and_then(|read| read.get(at)?.clone());
                let Some(mut list) = read else { continue };
                let mine = own.get(key).cloned().unwrap_or_default();
                if !list.ends_with(&mine) {
                    return Err(format!("{transaction:?} does not see what it wrote"));
                }
                list.truncate(list.len() - mine.len());
                found.push((*key, list));
            }
        }
    }
    Ok(found)
}

/// The longest version of each list that was read. Every other read must be a prefix of it.
fn orders(history: &[Transaction]) -> Result<BTreeMap<u8, Vec<u64>>, String> {
    let mut orders: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
    for transaction in history {
        let Some(read) = &transaction.read else { continue };
        for (step, list) in transaction.steps.iter().zip(read) {
            let (Micro::Read(key), Some(list)) = (step, list) else { continue };
            let order = orders.entry(*key).or_default();
            if !order.starts_with(list) {
                if !list.starts_with(order) {
                    return Err(format!("list {key} was {order:?} and {list:?}"));
                }
                order.clone_from(list);
            }
        }
    }
    Ok(orders)
}

/// The transaction that appended each number, by list and number.
type Writers = BTreeMap<(u8, u64), usize>;

fn writers(history: &[Transaction]) -> Writers {
    let mut writers = Writers::new();
    for (at, transaction) in history.iter().enumerate() {
        for step in &transaction.steps {
            if let Micro::Append(key, number) = step {
                writers.insert((*key, *number), at);
            }
        }
    }
    writers
}

/// By list, the transactions that were executed and whose number in it nobody has read. The number
/// comes behind those that were read, in an unknown order.
fn unread(
    orders: &mut BTreeMap<u8, Vec<u64>>,
    writers: &Writers,
    happened: &[bool],
) -> BTreeMap<u8, Vec<usize>> {
    let mut unread: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
    for ((key, number), writer) in writers {
        let order = orders.entry(*key).or_default();
        if happened[*writer] && !order.contains(number) {
            unread.entry(*key).or_default().push(*writer);
        }
    }
    unread
}

fn graph(history: &[Transaction]) -> Result<Graph, String> {
    let (mut orders, writers) = (orders(history)?, writers(history));
    let mut happened: Vec<bool> = history.iter().map(|it| it.read.is_some()).collect();
    for (key, order) in &orders {
        for (at, number) in order.iter().enumerate() {
            let writer = writers.get(&(*key, *number));
            let Some(writer) = writer else {
                return Err(format!("list {key} has {number}, which nobody wrote"));
            };
            if order[..at].contains(number) {
                return Err(format!("list {key} has {number} twice"));
            }
            happened[*writer] = true;
        }
    }
    let unread = unread(&mut orders, &writers, &happened);
    let mut graph = Graph(vec![Vec::new(); history.len()]);
    for (key, order) in &orders {
        let by: Vec<usize> = order.iter().map(|number| writers[&(*key, *number)]).collect();
        by.windows(2).for_each(|pair| graph.edge(pair[0], pair[1]));
        let late = unread.get(key).map(Vec::as_slice).unwrap_or_default();
        late.iter().for_each(|writer| by.iter().for_each(|before| graph.edge(*before, *writer)));
        for (at, transaction) in history.iter().enumerate() {
            for (_, list) in reads(transaction)?.iter().filter(|(read, _)| read == key) {
                if let Some(last) = list.len().checked_sub(1) {
                    graph.edge(by[last], at);
                }
                match by.get(list.len()) {
                    Some(next) => graph.edge(at, *next),
                    None => late.iter().for_each(|next| graph.edge(at, *next)),
                }
            }
        }
    }
    graph.real_time(history, &happened);
    Ok(graph)
}

impl Graph {
    fn edge(&mut self, from: usize, to: usize) {
        if from != to {
            self.0[from].push(to);
        }
    }

    /// Adds a vertex for every end. Edges lead from the transaction to it, from it to the next end,
    /// and from it to the transactions that began between the two.
    fn real_time(&mut self, history: &[Transaction], happened: &[bool]) {
        let mut ends: Vec<(u64, usize)> =
            history.iter().enumerate().filter_map(|(at, it)| Some((it.span.end?, at))).collect();
        ends.retain(|(_, at)| happened[*at]);
        ends.sort_unstable();
        let first = self.0.len();
        for (count, (_, at)) in ends.iter().enumerate() {
            self.0.push(Vec::new());
            self.0[*at].push(first + count);
            if count > 0 {
                self.0[first + count - 1].push(first + count);
            }
        }
        for (at, transaction) in history.iter().enumerate() {
            let before = ends.partition_point(|(end, _)| *end < transaction.span.begin);
            if let Some(last) = before.checked_sub(1) {
                self.0[first + last].push(at);
            }
        }
    }

    /// The vertices of a cycle, if there is one, found by a depth-first search.
    fn cycle(&self) -> Option<Vec<usize>> {
        // 0: not visited, 1: on the path, 2: finished.
        let mut colour = vec![0u8; self.0.len()];
        for start in 0..self.0.len() {
            if colour[start] != 0 {
                continue;
            }
            let mut path = vec![(start, 0)];
            colour[start] = 1;
            while let Some((at, next)) = path.last_mut() {
                let Some(to) = self.0[*at].get(*next).copied() else {
                    colour[*at] = 2;
                    path.pop();
                    continue;
                };
                *next += 1;
                match colour[to] {
                    0 => {
                        colour[to] = 1;
                        path.push((to, 0));
                    }
                    1 => {
                        let from = path.iter().position(|(node, _)| *node == to).unwrap_or(0);
                        return Some(path[from..].iter().map(|(node, _)| *node).collect());
                    }
                    _ => {}
                }
            }
        }
        None
    }
}
