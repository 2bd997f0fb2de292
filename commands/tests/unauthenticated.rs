//! Connections that have to authenticate and do not: how many, and for how long.

use engine::EngineService;
use engine::testing::{Harness, text};
use runtime::{Flow, Peer, Service};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use storage_memory::{Config, MemoryBackend};

fn server(line: &str) -> Harness {
    let backend = MemoryBackend::new(Config { shards: 4, ..Config::default() });
    let mut server = Harness::new(commands::all(), Arc::new(backend));
    assert_eq!(server.text(line), "OK");
    server
}

fn ask(server: &mut Harness, client: &str, line: &str) -> String {
    server.send(client, line);
    text(server.replies(client).last().expect("an answer"))
}

#[test]
fn who_does_not_authenticate_in_time_is_closed_whatever_it_sends() {
    let mut server = server("CONFIG SET requirepass secret unauthenticated-timeout 60");
    assert!(ask(&mut server, "slow", "PING").contains("NOAUTH"));
    assert_eq!(ask(&mut server, "quick", "AUTH secret"), "OK");
    server.advance(59_999);
    assert!(ask(&mut server, "slow", "PING").contains("NOAUTH"));
    assert_eq!(server.status("slow").flow, Flow::Open);
    // RESET is a command that they may send.
    assert_eq!(ask(&mut server, "slow", "RESET"), "RESET");
    server.advance(1);
    assert_eq!(server.status("slow").flow, Flow::CloseAfterFlush);
    server.advance(600_000);
    assert_eq!(ask(&mut server, "quick", "PING"), "PONG");
    // Who was signed in once, and is not any more, does not count.
    assert_eq!(ask(&mut server, "quick", "RESET"), "RESET");
    server.advance(600_000);
    assert_eq!(server.status("quick").flow, Flow::Open);
}

#[test]
fn there_are_only_so_many_at_once() {
    let mut server = server("CONFIG SET requirepass secret unauthenticated-max 2");
    let service = EngineService(server.engine().clone());
    let now = server.now();
    let connect_from =
        |peer| service.connect(peer, Waker::noop().clone(), now).map_err(|refusal| refusal.0);
    let address = SocketAddr::from(([127, 0, 0, 1], 6379));
    let connect = || connect_from(Peer::Tcp { remote: address, local: address });
    let (first, second) = (connect().unwrap(), connect().unwrap());
    let refusal = b"-ERR max number of unauthenticated clients reached\r\n".to_vec();
    assert_eq!(connect().err(), Some(refusal.clone()));
    assert!(server.text("INFO clients").contains("unauthenticated_clients:2"));
    assert!(connect_from(Peer::Unix("/somewhere".into())).is_ok());
    drop(first);
    let third = connect().unwrap();
    assert_eq!(connect().err(), Some(refusal));
    drop((second, third));
    // Whoever has the password does not count.
    for client in ["a", "b", "c"] {
        assert_eq!(ask(&mut server, client, "AUTH secret"), "OK");
    }
    assert!(connect().is_ok());
    assert_eq!(server.text("CONFIG SET requirepass ''"), "OK");
    let open: Vec<_> = (0..10).map(|_| connect().is_ok()).collect();
    assert_eq!(open, [true; 10]);
}
