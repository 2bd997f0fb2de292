//! Tests the checkers with histories that are possible, and with the same histories after one reply
//! was altered.

use consensus::testing::Numbers;
use sim::check::append::{self, Transaction};
use sim::check::number::{Number, Operation};
use sim::check::{Span, Verdict, linear};
use sim::{Command, Micro, Reply};
use std::collections::BTreeMap;

const STEPS: u64 = 1_000_000;

/// Operations of several clients on one number: each takes effect at one moment between its beginning
/// and its end. Every value is written once. Some ends are never seen.
fn numbers(seed: u64, count: u64) -> Vec<(Span, Operation)> {
    let mut chance = Numbers::new(seed);
    let (mut state, mut history) = (None, Vec::new());
    for at in 0..count {
        // Moments of effect are 100 apart, spans up to 300 to both sides: several overlap.
        let effect = 1_000 + at * 100;
        let command = match chance.below(5) {
            0 | 1 => Command::Get(0),
            2 => Command::Set(0, at),
            3 => Command::SetNx(0, at),
            _ => Command::Del(0),
        };
        let reply = match command {
            Command::Get(_) => Reply::Number(state),
            Command::SetNx(..) if state.is_some() => Reply::No,
            Command::Del(_) if state.is_none() => Reply::No,
            _ => Reply::Ok,
        };
        match command {
            Command::Set(..) => state = Some(at),
            Command::SetNx(..) if state.is_none() => state = Some(at),
            Command::Del(_) => state = None,
            _ => {}
        }
        let lost = chance.one_in(12) && !matches!(command, Command::Get(_));
        let end = (!lost).then(|| effect + 1 + chance.below(300));
        let span = Span { begin: effect - chance.below(300), end };
        history.push((span, (command, (!lost).then_some(reply))));
    }
    history
}

#[test]
fn what_one_copy_would_do_is_linearizable() {
    for seed in 0..102 {
        let history = numbers(seed, 100);
        assert_eq!(linear::check(&Number, &history, STEPS), Verdict::Possible, "seed {seed}");
    }
}

#[test]
fn a_history_with_one_reply_altered_is_not() {
    let mut tried = 0;
    for seed in 0..102 {
        let mut history = numbers(seed, 60);
        let is_read = |(_, (_, reply)): &(Span, Operation)| matches!(reply, Some(Reply::Number(_)));
        for at in 0..history.len() {
            if !is_read(&history[at]) {
                continue;
            }
            // Nobody writes this one.
            let altered = Some(Reply::Number(Some(1_000_000)));
            let before = std::mem::replace(&mut history[at].1.1, altered);
            let verdict = linear::check(&Number, &history, STEPS);
            assert!(matches!(verdict, Verdict::Impossible(_)), "seed {seed}, {at}: {verdict:?}");
            history[at].1.1 = before;
            tried += 1;
        }
    }
    assert!(tried > 1_000, "{tried}");
}

fn get(begin: u64, end: u64, value: Option<u64>) -> (Span, Operation) {
    (Span { begin, end: Some(end) }, (Command::Get(0), Some(Reply::Number(value))))
}

fn set(begin: u64, end: Option<u64>, value: u64) -> (Span, Operation) {
    (Span { begin, end }, (Command::Set(0, value), end.map(|_| Reply::Ok)))
}

#[test]
fn small_histories_have_known_verdicts() {
    let possible =
        |history: &[(Span, Operation)]| linear::check(&Number, history, STEPS) == Verdict::Possible;
    let writes = [set(0, Some(10), 1), set(20, Some(40), 2)];
    let with = |more: &[(Span, Operation)]| possible(&[&writes[..], more].concat());
    assert!(with(&[get(25, 26, Some(1)), get(30, 31, Some(2))]));
    assert!(!with(&[get(25, 26, Some(2)), get(30, 31, Some(1))]), "back in time");
    assert!(!with(&[get(50, 60, Some(1))]), "stale");
    assert!(!with(&[get(11, 12, None)]), "lost");
    // An operation without an end may take effect at any time after its beginning, or never.
    assert!(possible(&[set(0, None, 1), get(5, 6, None), get(100, 101, Some(1))]));
    assert!(possible(&[set(0, None, 1), get(5, 6, None)]));
    assert!(!possible(&[set(0, None, 1), get(5, 6, Some(1)), get(7, 8, None)]));
    assert!(possible(&[]));
    let hard: Vec<(Span, Operation)> = (0..40).map(|at| set(0, None, at)).collect();
    let read = get(1, 2, Some(1_000));
    assert_eq!(linear::check(&Number, &[hard, vec![read]].concat(), 10), Verdict::GaveUp);
}

#[test]
fn what_expires_may_vanish_once() {
    let span = |begin, end| Span { begin, end: Some(end) };
    let write = (span(0, 1), (Command::SetPx(0, 7, 100), Some(Reply::Ok)));
    let check = |reads: &[(Span, Operation)]| {
        linear::check(&Number, &[std::slice::from_ref(&write), reads].concat(), STEPS)
            == Verdict::Possible
    };
    assert!(check(&[get(2, 3, Some(7)), get(4, 5, None)]));
    assert!(!check(&[get(2, 3, None), get(4, 5, Some(7))]));
}

/// Transactions on three lists, one after the other, of which some overlap in time.
fn lists(seed: u64, count: u64) -> Vec<Transaction> {
    let mut chance = Numbers::new(seed);
    let mut state: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
    let mut history = Vec::new();
    for at in 0..count {
        let mut steps = Vec::new();
        let mut read = Vec::new();
        for step in 0..1 + chance.below(3) {
            let key = chance.below(3) as u8;
            let list = state.entry(key).or_default();
            if chance.one_in(2) {
                list.push(at * 10 + step);
                steps.push(Micro::Append(key, at * 10 + step));
                read.push(None);
            } else {
                steps.push(Micro::Read(key));
                read.push(Some(list.clone()));
            }
        }
        let effect = 1_000 + at * 100;
        let lost = chance.one_in(15);
        let end = (!lost).then(|| effect + 1 + chance.below(300));
        let span = Span { begin: effect - chance.below(300), end };
        history.push(Transaction { span, steps, read: (!lost).then_some(read) });
    }
    history
}

#[test]
fn what_happens_one_after_the_other_is_serializable() {
    for seed in 0..102 {
        assert_eq!(append::check(&lists(seed, 100)), Verdict::Possible, "seed {seed}");
    }
}

#[test]
fn a_transaction_with_one_read_altered_is_not() {
    let mut tried = 0;
    for seed in 0..102 {
        let mut history = lists(seed, 60);
        for at in 0..history.len() {
            let Some(mut read) = history[at].read.clone() else { continue };
            let Some(list) = read.iter_mut().flatten().find(|list| list.len() > 1) else {
                continue;
            };
            // The list had another order, or the number was never written.
            if tried % 2 == 0 {
                list.swap(0, 1)
            } else {
                list[0] = 1_000_000
            };
            let before = history[at].read.replace(read);
            let verdict = append::check(&history);
            assert!(matches!(verdict, Verdict::Impossible(_)), "seed {seed}, {at}: {verdict:?}");
            history[at].read = before;
            tried += 1;
        }
    }
    assert!(tried > 1_000, "{tried}");
}

fn transaction(begin: u64, end: u64, steps: &[(Micro, Option<&[u64]>)]) -> Transaction {
    let read = steps.iter().map(|(_, read)| read.map(<[u64]>::to_vec)).collect();
    Transaction {
        span: Span { begin, end: Some(end) },
        steps: steps.iter().map(|(step, _)| *step).collect(),
        read: Some(read),
    }
}

#[test]
fn cycles_of_each_kind_are_found() {
    let impossible =
        |history: &[Transaction]| matches!(append::check(history), Verdict::Impossible(_));
    let (a, b) = (Micro::Append(0, 1), Micro::Append(1, 2));
    let (read_a, read_b) = (Micro::Read(0), Micro::Read(1));
    // Half of a transaction.
    let both = transaction(0, 9, &[(a, None), (b, None)]);
    let half = transaction(1, 8, &[(read_a, Some(&[1])), (read_b, Some(&[]))]);
    assert!(impossible(&[both.clone(), half]));
    let whole = transaction(1, 8, &[(read_a, Some(&[1])), (read_b, Some(&[2]))]);
    assert!(!impossible(&[both.clone(), whole]));
    // Write skew: each does not see the other.
    let one = transaction(0, 9, &[(read_b, Some(&[])), (a, None)]);
    let other = transaction(1, 8, &[(read_a, Some(&[])), (b, None)]);
    assert!(impossible(&[one, other]));
    // A stale read: the write ended before and is not seen. If nobody ever sees it, it is lost.
    let stale = transaction(10, 11, &[(read_a, Some(&[]))]);
    assert!(impossible(&[both.clone(), stale]));
    let dirty = transaction(10, 11, &[(read_a, Some(&[5]))]);
    assert!(impossible(&[both, dirty]), "nobody wrote it");
    let own = transaction(0, 1, &[(a, None), (read_a, Some(&[]))]);
    assert!(impossible(&[own]), "it does not see itself");
}
