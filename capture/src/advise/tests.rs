//! Verdicts over made-up measurements.

use super::*;
use crate::format::{Header, Writer};
use crate::lab::proc::Usage;
use crate::replay::Speed;
use crate::trial::Trial;
use std::time::Duration;

fn plan(keys: Option<u64>) -> Plan {
    let header = Header { keys, used_memory: keys.map(|keys| keys * 200), ..Header::default() };
    let file = Writer::new(Vec::new(), &header).unwrap().finish().unwrap();
    Plan::read(&file[..], None).unwrap()
}

fn demands() -> Demands {
    Demands { p99_budget: None, memory_limit: None, durability: Durability::Everysec }
}

/// A report of `replies` answers that all took so long: the replay of nothing, filled in.
fn report(replies: u64, p99_us: u64) -> replay::Report {
    let options = replay::Options {
        speed: Speed::Max,
        cores: Vec::new(),
        patience: Duration::from_millis(100),
    };
    let mut report =
        replay::run(&plan(None), ([127, 0, 0, 1], 1).into(), &options, &mut |_| {}).unwrap();
    report.replies = replies;
    report.latencies.record_n(p99_us, replies).unwrap();
    report
}

fn contender(name: &str, cpu_us: &[f64], p99_us: u64, peak_mb: u64) -> Contender {
    let (runtime, storage) = name.split_once(' ').unwrap();
    let mut contender = Contender::new(Setup::new(runtime, storage, 1, Durability::Everysec, 50));
    contender.trials = cpu_us
        .iter()
        .map(|cpu| Trial {
            report: report(1000, p99_us),
            start_ms: None,
            usage: Some(Usage { cpu_ns: (cpu * 1e6) as u64, ..Usage::default() }),
            empty_bytes: Some(5 << 20),
            end_bytes: Some(peak_mb << 20),
            peak_bytes: Some(peak_mb << 20),
            keys: 10,
            refused: 0,
        })
        .collect();
    contender
}

fn names(verdict: &Verdict) -> Vec<&str> {
    verdict.ranking.iter().map(|index| verdict.contenders[*index].0.name.as_str()).collect()
}

#[test]
fn the_least_cpu_within_the_demands_is_taken() {
    let mut slow = contender("tokio sled", &[3.0], 100, 20);
    slow.trials[0].report.unanswered = 7;
    let mut failing = contender("threads memory", &[1.0], 100, 20);
    failing.trials[0].report.errors = 100;
    failing.trials[0].report.first_error = Some("ERR no".into());
    let mut absent = contender("tokio fjall", &[], 0, 0);
    absent.failure = Some("built without storage-fjall".into());
    let list = vec![
        contender("epoll-pool memory", &[9.0], 900, 20),
        contender("epoll-inline memory", &[5.0], 900, 20),
        contender("tokio memory", &[4.0], 2500, 20),
        contender("epoll-inline fjall", &[3.0], 100, 4000),
        slow,
        failing,
        absent,
    ];
    let demands = Demands {
        p99_budget: Some(Duration::from_millis(2)),
        memory_limit: Some(1 << 30),
        ..demands()
    };
    let verdict = judge(list, &plan(None), &demands);
    assert_eq!(names(&verdict), ["epoll-inline memory", "epoll-pool memory"]);
    let text = text(&verdict, &plan(None), &demands);
    for part in [
        "ruled out: tokio memory: p99 2.50 ms, over the budget of 2 ms",
        "ruled out: epoll-inline fjall: 4000 MB of memory, over the limit of 1024 MB",
        "ruled out: tokio sled: it did not keep up: 7 requests unanswered",
        "ruled out: threads memory: 10 % errors: ERR no",
        "ruled out: tokio fjall: built without storage-fjall",
        "take: epoll-inline memory",
        "the next, epoll-pool memory, takes 1.80 times its CPU",
    ] {
        assert!(text.contains(part), "{part}\nin\n{text}");
    }
}

#[test]
fn what_differs_by_noise_is_decided_by_latency() {
    let list = vec![
        contender("epoll-inline memory", &[5.0, 5.2, 5.1], 900, 20),
        contender("tokio memory", &[5.1, 5.6, 5.9], 300, 20),
        contender("epoll-pool memory", &[7.0, 7.1, 7.2], 100, 20),
    ];
    let verdict = judge(list, &plan(None), &demands());
    assert_eq!(names(&verdict), ["tokio memory", "epoll-inline memory", "epoll-pool memory"]);
    assert_eq!(verdict.alike, 2);
    let text = text(&verdict, &plan(None), &demands());
    assert!(text.contains("no difference in CPU beyond noise: epoll-inline memory"), "{text}");
}

#[test]
fn nobody_is_ruled_out_for_what_this_machine_delayed() {
    let demands = Demands { p99_budget: Some(Duration::from_millis(2)), ..demands() };
    let mut late = contender("tokio memory", &[5.0], 3000, 20);
    late.trials[0].report.lateness.record_n(1500, 100).unwrap();
    let list = vec![late, contender("epoll-inline memory", &[4.0], 3000, 20)];
    let verdict = judge(list, &plan(None), &demands);
    assert_eq!(names(&verdict), ["tokio memory"]);
    assert!(text(&verdict, &plan(None), &demands).contains("too busy for exact latencies"));
}

#[test]
fn memory_is_estimated_for_the_keys_that_a_capture_does_not_touch() {
    let list = || {
        vec![
            contender("epoll-inline memory", &[5.0], 900, 20),
            contender("epoll-inline fjall", &[9.0], 900, 20),
        ]
    };
    // Ten million keys of 200 bytes do not fit.
    let demands = Demands { memory_limit: Some(1 << 30), ..demands() };
    let verdict = judge(list(), &plan(Some(10_000_000)), &demands);
    assert_eq!(names(&verdict), ["epoll-inline fjall"]);
    assert!(verdict.ruled_out[0].1.contains("(estimated)"));
    assert_eq!(names(&judge(list(), &plan(Some(10_000)), &demands))[0], "epoll-inline memory");
    let impossible = Demands { memory_limit: Some(1 << 20), ..demands };
    let verdict = judge(list(), &plan(None), &impossible);
    assert!(verdict.chosen().is_none());
    assert!(text(&verdict, &plan(None), &impossible).contains("nothing satisfies"));
}

#[test]
fn a_configuration_names_every_layer() {
    let setup = Setup::new("epoll-pool", "memory", 2, Durability::Always, 50);
    let chosen = Contender::new(setup.clone());
    let demands = Demands { memory_limit: Some(1_000_000_000), ..demands() };
    let text = config(&chosen, &setup, &plan(None), &demands, Path::new("w.varve"));
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let expected = [
        "runtime epoll",
        "epoll-execution pool",
        "threads 2",
        "storage memory",
        "appendonly yes",
        "appendfsync always",
        "save \"\"",
        "maxmemory 850000000",
    ];
    assert_eq!(lines, expected);
    assert_eq!(Setup::new("threads", "memory", 2, Durability::None, 50).threads, 52);
}
