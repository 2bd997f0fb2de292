//! `trace`: what INFO tells of stages. Alone in its process, because the trace is the process's.

use engine::config::ConfigStore;
use engine::testing::Recorder;
use engine::{Engine, EngineService, Environment, NoHost, Parts};
use runtime::{Connection, Now, Peer, Service};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Waker;
use storage_memory::{Config, MemoryBackend};

const NOW: Now = Now { wall_ms: 1_700_000_000_000, mono_us: 1_000_000 };

/// Nanoseconds; every look at it takes a thousand.
static CLOCK: AtomicU64 = AtomicU64::new(0);

fn connect() -> Box<dyn Connection> {
    let stopwatch = || CLOCK.fetch_add(1000, Relaxed);
    let environment = Environment { stopwatch, seed: 1, started: NOW, host: Arc::new(NoHost) };
    let parts = Parts {
        backend: Arc::new(MemoryBackend::new(Config::default())),
        journal: Some(Arc::new(Recorder::default())),
        config: Arc::new(ConfigStore::new()),
        commands: commands::all(),
        environment,
    };
    let service = EngineService(Engine::new(parts).expect("distinct names"));
    let local = "127.0.0.1:6379".parse().expect("an address");
    let peer = Peer::Tcp { remote: local, local };
    let Ok(connection) = service.connect(peer, Waker::noop().clone(), NOW) else {
        panic!("the connection was refused");
    };
    connection
}

/// One turn: all requests at once.
fn turn(connection: &mut dyn Connection, requests: &[&str]) -> String {
    let mut bytes = Vec::new();
    for request in requests {
        let words: Vec<&str> = request.split(' ').collect();
        resp::encode_command(words, &mut bytes);
    }
    connection.receive(&bytes, NOW);
    connection.before_write(NOW);
    let output = connection.output();
    let mut text = Vec::new();
    while !output.is_empty() {
        let front = output.front().to_vec();
        output.consume(front.len());
        text.extend(front);
    }
    String::from_utf8(text).expect("text")
}

/// Figures of `INFO trace`, by line and field.
fn figures(connection: &mut dyn Connection) -> HashMap<String, f64> {
    let text = turn(connection, &["INFO trace"]);
    let mut figures = HashMap::new();
    for (name, fields) in text.lines().filter_map(|line| line.split_once(':')) {
        for field in fields.split(',') {
            let (field, value) = field.split_once('=').unwrap_or(("", field));
            figures.insert(format!("{name}.{field}"), value.parse().expect(name));
        }
    }
    figures
}

#[test]
fn stages_are_counted_per_turn_while_tracing_and_not_otherwise() {
    let mut connection = connect();
    let connection = &mut *connection;
    turn(connection, &["SET a 1", "GET a"]);
    let off = figures(connection);
    assert_eq!((off["trace_enabled."], off["trace_commands."]), (0.0, 0.0));
    assert_eq!(off["trace_execute.turns"], 0.0);

    turn(connection, &["CONFIG SET trace yes"]);
    turn(connection, &["SET a 1", "GET a", "GET b"]);
    let on = figures(connection);
    assert_eq!((on["trace_enabled."], on["trace_commands."]), (1.0, 3.0));
    for stage in ["parse", "plan", "execute", "journal"] {
        assert_eq!(on[&format!("trace_{stage}.turns")], 1.0, "{stage}");
    }
    // Between two looks at the clock each; appending and writing are one stage.
    assert_eq!((on["trace_parse.usec"], on["trace_plan.usec"]), (1.0, 1.0));
    assert_eq!(on["trace_journal.usec"], 2.0);
    assert!(on["trace_execute.usec"] >= 1.0, "{on:?}");
    assert!(on["trace_execute.p99"] >= on["trace_execute.usec"], "{on:?}");
    // Nobody else holds a lock, and no runtime reads or writes.
    for stage in ["queue", "read", "lock_wait", "fsync_wait", "write"] {
        assert_eq!(on[&format!("trace_{stage}.turns")], 0.0, "{stage}");
    }

    turn(connection, &["CONFIG SET trace no"]);
    turn(connection, &["GET a"]);
    let after = figures(connection);
    // The turn of INFO; that of CONFIG SET ended when it was off.
    assert_eq!(after["trace_commands."], 4.0);

    turn(connection, &["CONFIG RESETSTAT"]);
    assert_eq!(figures(connection)["trace_commands."], 0.0);
}
