//! RESP over WebSocket: on every runtime, from pages that may connect and those that may not.

use crate::serving::RUNTIMES;
use crate::support::{Varve, folder, free_port, possible};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tungstenite::http::{Request, header};
use tungstenite::{HandshakeError, Message, WebSocket};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

type Client = WebSocket<TcpStream>;

/// Connects as a page of `origin` does, or as a program.
fn connect(port: u16, origin: Option<&str>) -> Result<Client, tungstenite::Error> {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = Request::get(format!("ws://127.0.0.1:{port}/"))
        .header(header::HOST, "127.0.0.1")
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==");
    if let Some(origin) = origin {
        request = request.header(header::ORIGIN, origin);
    }
    match tungstenite::client(request.body(()).unwrap(), stream) {
        Ok((client, _)) => Ok(client),
        Err(HandshakeError::Failure(error)) => Err(error),
        Err(HandshakeError::Interrupted(_)) => panic!("no answer"),
    }
}

/// Reads messages until their bytes end in `end`.
fn read_until(client: &mut Client, end: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        match client.read().expect("an answer") {
            Message::Binary(piece) => bytes.extend_from_slice(&piece),
            Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
    bytes
}

fn send(client: &mut Client, text: &str) {
    client.send(Message::text(text)).unwrap();
}

#[test]
fn a_page_is_a_client_on_every_runtime() {
    for runtime in possible(RUNTIMES) {
        let ((_folder, data), port) = (folder(), free_port());
        let port_text = port.to_string();
        let args = [runtime, &["--appendonly", "no", "--websocket-port", &port_text][..]].concat();
        let varve = Varve::start(&data, &args);
        let mut client = connect(port, None).unwrap();
        send(&mut client, "SET k 1\r\n");
        assert_eq!(read_until(&mut client, b"\n"), b"+OK\r\n");
        // A command in two messages, two in one, and one as bytes.
        send(&mut client, "INCR");
        client.send(Message::Ping(b"there?".to_vec().into())).unwrap();
        send(&mut client, " k\r\nINCR k\r\n");
        client.send(Message::binary(&b"*2\r\n$4\r\nECHO\r\n$2\r\n\x00\xff\r\n"[..])).unwrap();
        assert_eq!(read_until(&mut client, b"\xff\r\n"), b":2\r\n:3\r\n$2\r\n\x00\xff\r\n");
        // More than a portion of the filter, either way.
        let value = "x".repeat(1 << 20);
        send(&mut client, &format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$1048576\r\n{value}\r\n"));
        send(&mut client, "GET big\r\n");
        let answer = read_until(&mut client, b"x\r\n");
        assert_eq!(answer.len(), "+OK\r\n$1048576\r\n\r\n".len() + value.len());
        // What is not asked for comes, too.
        send(&mut client, "SUBSCRIBE news\r\n");
        read_until(&mut client, b":1\r\n");
        let () = redis::Commands::publish(&mut varve.connect(), "news", "hello").unwrap();
        assert!(read_until(&mut client, b"hello\r\n").starts_with(b"*3\r\n$7\r\nmessage\r\n"));
        client.close(None).unwrap();
        let end = std::iter::repeat_with(|| client.read()).find_map(Result::err).unwrap();
        assert!(matches!(end, tungstenite::Error::ConnectionClosed), "{end}");
    }
}

#[test]
fn pages_of_other_sites_are_refused() {
    let ((_folder, data), port) = (folder(), free_port());
    let varve = Varve::start(
        &data,
        &["--websocket-port", &port.to_string(), "--websocket-origins", "https://a.example"],
    );
    let status = |origin| match connect(port, Some(origin)) {
        Ok(_) => 101,
        Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
    };
    assert_eq!((status("https://evil.example"), status("https://a.example")), (403, 101));
    let mut admin = varve.connect();
    let set = ["CONFIG", "SET", "websocket-origins", "https://evil.example null"];
    let () = redis::cmd(set[0]).arg(&set[1..]).query(&mut admin).unwrap();
    assert_eq!((status("https://evil.example"), status("https://a.example")), (101, 403));
    assert_eq!(status("null"), 101);
}

#[test]
fn who_speaks_something_else_is_told() {
    let ((_folder, data), port) = (folder(), free_port());
    let _varve = Varve::start(&data, &["--websocket-port", &port.to_string()]);
    for (said, status) in [("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "426"), ("PING\r\n\r\n", "400")] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(said.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}
