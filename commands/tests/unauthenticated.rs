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

/// The requests of a pipeline, each of one word or more.
fn pipeline(requests: &[&[&str]]) -> Vec<u8> {
    let word = |word: &&str| format!("${}\r\n{word}\r\n", word.len());
    let request = |words: &&[&str]| {
        format!("*{}\r\n{}", words.len(), words.iter().map(word).collect::<String>())
    };
    requests.iter().map(request).collect::<String>().into_bytes()
}

/// If they were parsed together, the limits of who has not authenticated would hold for what follows `AUTH`, too, and
/// what is behind a request that is too large would be executed before that is noticed.
#[test]
fn requests_before_the_password_are_parsed_one_at_a_time() {
    let many: Vec<&str> =
        ["MSET"].into_iter().chain(["k", "v"].into_iter().cycle().take(20)).collect();
    let mut signed_in = server("CONFIG SET requirepass secret");
    signed_in.send_bytes("a", &pipeline(&[&["PING"], &["AUTH", "secret"], &many, &["GET", "k"]]));
    let answers: Vec<String> = signed_in.replies("a").iter().map(text).collect();
    assert_eq!(answers[1..], ["OK", "OK", "\"v\""].map(String::from));
    assert!(answers[0].contains("NOAUTH"), "{answers:?}");
    assert_eq!(signed_in.status("a").flow, Flow::Open);
    let mut stranger = server("CONFIG SET requirepass secret");
    stranger.send_bytes("a", &pipeline(&[&["AUTH", "x"], &many, &["AUTH", "secret"]]));
    let answers: Vec<String> = stranger.replies("a").iter().map(text).collect();
    assert_eq!(answers.len(), 2, "nothing behind it is executed: {answers:?}");
    assert!(answers[0].contains("WRONGPASS"), "{answers:?}");
    assert!(answers[1].contains("unauthenticated multibulk length"), "{answers:?}");
    assert_eq!(stranger.status("a").flow, Flow::CloseAfterFlush);
}

/// A pipeline of guesses is worth no more than guesses one by one.
#[test]
fn a_pipeline_of_guesses_is_limited_like_any_other_requests() {
    let limits = "rate-limit-address 10 rate-limit-burst 1000";
    let server = server(&format!("CONFIG SET requirepass secret {limits}"));
    let (address, now) = (SocketAddr::from(([127, 0, 0, 1], 6379)), server.now());
    let service = EngineService(server.engine().clone());
    let peer = Peer::Tcp { remote: address, local: address };
    let connected = service.connect(peer, Waker::noop().clone(), now);
    let mut connection = connected.map_err(|refusal| refusal.0).unwrap();
    let guesses: Vec<String> = (0..200).map(|n| format!("guess-{n}")).collect();
    let requests: Vec<[&str; 2]> = guesses.iter().map(|guess| ["AUTH", guess.as_str()]).collect();
    let requests: Vec<&[&str]> = requests.iter().map(|request| &request[..]).collect();
    connection.receive(&pipeline(&requests), now);
    let mut answers = Vec::new();
    while let front @ [_, ..] = connection.output().front() {
        answers.extend_from_slice(front);
        let length = front.len();
        connection.output().consume(length);
    }
    let answers = String::from_utf8(answers).unwrap();
    let of = |code: &str| answers.lines().filter(|answer| answer.starts_with(code)).count();
    assert_eq!(answers.lines().count(), 200);
    // A second's worth at once, and the one that begins the next.
    assert!((1..=11).contains(&of("-WRONGPASS")), "{} were tried", of("-WRONGPASS"));
    assert_eq!(of("-WRONGPASS") + of("-RATELIMITED"), 200);
}
