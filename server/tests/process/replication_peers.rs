//! Masters and replicas that misbehave: nothing of theirs ends a server, or makes it grow.

use crate::replication::{PATIENCE, ask, info, master, replica_of, stat, wait_until_up};
use crate::support::folder;
use redis::Commands;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use storage::testing::until;

/// An empty RDB file without a checksum.
const EMPTY: &[u8] = b"REDIS0011\xff\0\0\0\0\0\0\0\0";

const ID: &str = "0123456789abcdef0123456789abcdef01234567";

/// A master that answers the introduction as it should, and `PSYNC` with whatever it is given for this
/// connection. Says when the replica has gone.
struct Impostor {
    port: u16,
    answers: Sender<Vec<u8>>,
    left: Receiver<()>,
}

impl Impostor {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ((answers, to_say), (gone, left)) = (channel::<Vec<u8>>(), channel());
        std::thread::spawn(move || {
            // A connection in which nobody asks is not counted.
            while let Ok(answer) = to_say.recv() {
                let asked = || introduced(listener.accept().unwrap().0);
                let mut stream = std::iter::repeat_with(asked).flatten().next().unwrap();
                // It may hang up in the middle of it.
                let _ = stream.write_all(&answer);
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
                let _ = gone.send(());
            }
        });
        Impostor { port, answers, left }
    }

    fn say(&self, parts: &[&[u8]]) {
        self.answers.send(parts.concat()).unwrap();
    }

    fn wait_until_left(&self) {
        self.left.recv_timeout(PATIENCE).expect("the replica hangs up");
    }
}

/// Answers everything until the replica asks to follow.
fn introduced(stream: TcpStream) -> Option<TcpStream> {
    let (mut out, mut lines) = (stream.try_clone().ok()?, BufReader::new(stream).lines());
    loop {
        // The number of words, then each with its length before it.
        let count: usize = lines.next()?.ok()?.strip_prefix('*')?.parse().ok()?;
        let mut words = Vec::new();
        for _ in 0..count {
            lines.next()?.ok()?;
            words.push(lines.next()?.ok()?);
        }
        if words[0] == "PSYNC" {
            return Some(out);
        }
        out.write_all(b"+OK\r\n").ok()?;
    }
}

fn full() -> Vec<u8> {
    [format!("+FULLRESYNC {ID} 0\r\n${}\r\n", EMPTY.len()).as_bytes(), EMPTY].concat()
}

#[test]
fn a_master_that_talks_nonsense_is_left_and_asked_again() {
    let (_dir, here) = folder();
    let impostor = Impostor::start();
    let server = replica_of(&here, impostor.port, &[]);
    let mut connection = server.connect();
    let refused = format!("+FULLRESYNC {ID} 0\r\n$5\r\nhello");
    let cut = format!("+FULLRESYNC {ID} 0\r\n$EOF:{ID}\r\nREDIS0011nonsense{ID}");
    let (full, endless) = (full(), [b'x'; 100_000]);
    let cases: [&[&[u8]]; 8] = [
        &[b"-ERR not now\r\n"],
        &[b"+FULLRESYNC what 1\r\n"],
        &[b"+CONTINUE\r\n"],
        &[&endless],
        &[refused.as_bytes()],
        &[cut.as_bytes()],
        &[&full, b"*x\r\n"],
        &[&full, b"*2\r\n$6\r\nSELECT\r\n$5\r\n20000\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n"],
    ];
    for case in cases {
        impostor.say(case);
        impostor.wait_until_left();
    }
    impostor.say(&[&full, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"]);
    until("it follows all the same", || connection.get("k") == Ok(Some("v".to_owned())));
}

#[test]
fn a_stream_runs_nothing_but_what_a_master_writes() {
    let (_dir, here) = folder();
    let impostor = Impostor::start();
    let server = replica_of(&here, impostor.port, &[]);
    let mut connection = server.connect();
    let requests = [
        "SUBSCRIBE c",
        "MONITOR",
        "REPLICAOF NO ONE",
        "SHUTDOWN NOSAVE",
        "WAIT 1 0",
        "BLPOP nothing 0",
        "NOSUCH",
        "SET",
        "CLIENT PAUSE 100000",
        "SET k v",
    ];
    let stream = requests.map(|request| format!("{request}\r\n")).concat();
    impostor.say(&[&full(), stream.as_bytes()]);
    until("the last one is run", || connection.get("k") == Ok(Some("v".to_owned())));
    assert_eq!(info(&mut connection, "role"), "slave");
    assert_eq!(info(&mut connection, "master_link_status"), "up");
    assert_eq!(info(&mut connection, "slave_repl_offset"), stream.len().to_string());
}

/// A connection that has asked to follow, and has been answered.
fn follower(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"REPLCONF capa eof capa psync2\r\nPSYNC ? -1\r\n").unwrap();
    let mut head = [0; 17];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"+OK\r\n+FULLRESYNC ");
    stream
}

#[test]
fn a_replica_that_reads_nothing_is_given_up() {
    for limit in [["1mb", "0", "0"], ["0", "1mb", "1"]] {
        let (_dir, here) = folder();
        let options = ["--repl-backlog-size", "100kb", "--client-output-buffer-limit", "replica"];
        let server = master(&here, &[&options[..], &limit].concat());
        let mut connection = server.connect();
        let _deaf = follower(server.port);
        until("it is connected", || info(&mut connection, "connected_slaves") == "1");
        let value = vec![b'x'; 1 << 20];
        until("it is given up", || {
            let () = connection.set("large", &value).unwrap();
            info(&mut connection, "connected_slaves") == "0"
        });
        assert_eq!(stat(&mut connection, "client_output_buffer_limit_disconnections"), "1");
        let () = connection.set("small", "x").unwrap();
        let memory: String = redis::cmd("INFO").arg("memory").query(&mut connection).unwrap();
        let held = memory.lines().find_map(|line| line.strip_prefix("mem_replication_backlog:"));
        let held: u64 = held.unwrap().trim().parse().unwrap();
        assert!(held < 1 << 20, "{held} bytes are still held for it");
    }
}

#[test]
fn a_replica_that_asks_for_anything_is_closed() {
    let (_dir, here) = folder();
    let server = master(&here, &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.write_all(b"REPLCONF no-such-thing 1\r\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert_eq!(line, "-ERR Unrecognized REPLCONF option: no-such-thing\r\n");
    for request in ["PING", "GET k", "REPLCONF no-such-thing 1", "REPLCONF capa eof", "MULTI"] {
        let mut stream = follower(server.port);
        stream.write_all(format!("REPLCONF ACK 0\r\n{request}\r\n").as_bytes()).unwrap();
        let ended = std::io::copy(&mut stream, &mut std::io::sink());
        let reset = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(ended.as_ref().map_or_else(reset, |_| true), "{request}: {ended:?}");
    }
    let mut connection = server.connect();
    until("nobody is left", || info(&mut connection, "connected_slaves") == "0");
}

#[test]
fn a_password_that_is_wrong_is_refused_and_one_that_is_right_is_taken() {
    let ((_one, here), (_other, there)) = (folder(), folder());
    let above = master(&here, &[]);
    let mut source = above.connect();
    let user = ["ACL", "SETUSER", "copier", "on", ">secret", "+psync", "+replconf", "+ping"];
    let _: () = ask(&mut source, &user).unwrap();
    // Who is connected already stays so.
    let _: () = ask(&mut source, &["CONFIG", "SET", "requirepass", "other"]).unwrap();
    let below = replica_of(&there, above.port, &["--masterauth", "wrong"]);
    let mut copy = below.connect();
    until("it was refused", || {
        let log: Vec<redis::Value> = ask(&mut source, &["ACL", "LOG"]).unwrap();
        format!("{log:?}").contains("auth")
    });
    assert_eq!(info(&mut copy, "master_link_status"), "down");
    for (user, password, shown) in [("", "other", "default"), ("copier", "secret", "copier")] {
        let names = ["CONFIG", "SET", "masteruser", user, "masterauth", password];
        let _: () = ask(&mut copy, &names).unwrap();
        let _: i64 = ask(&mut copy, &["CLIENT", "KILL", "TYPE", "master"]).unwrap();
        until("the master knows who it is", || {
            let clients: String = ask(&mut source, &["CLIENT", "LIST", "TYPE", "replica"]).unwrap();
            clients.contains(&format!("user={shown} "))
        });
        wait_until_up(&mut copy);
    }
}

#[test]
fn silence_ends_a_link_at_both_ends() {
    let (_dir, here) = folder();
    let impostor = Impostor::start();
    let server = replica_of(&here, impostor.port, &["--repl-timeout", "1"]);
    let mut connection = server.connect();
    impostor.say(&[&full()]);
    // It says nothing from here on.
    impostor.wait_until_left();
    impostor.say(&[b"-ERR gone\r\n"]);
    impostor.wait_until_left();
    assert_eq!(info(&mut connection, "master_link_status"), "down");

    let (_dir, here) = folder();
    let server = master(&here, &["--repl-timeout", "2", "--repl-ping-replica-period", "1"]);
    let mut stream = follower(server.port);
    let mut connection = server.connect();
    until("it is sent the stream", || {
        stream.write_all(b"REPLCONF ACK 0\r\n").unwrap();
        info(&mut connection, "slave0").contains("online")
    });
    let mut sent = Vec::new();
    let ended = stream.read_to_end(&mut sent);
    assert!(ended.is_ok() || ended.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
    let ping = b"*1\r\n$4\r\nPING\r\n";
    assert!(sent.windows(ping.len()).any(|bytes| bytes == ping), "the master shows that it lives");
    assert_eq!(info(&mut connection, "connected_slaves"), "0");

    // Nor is one waited for that has all data and never says so.
    let _mute = follower(server.port);
    until("it is there", || info(&mut connection, "connected_slaves") == "1");
    until("it is given up", || info(&mut connection, "connected_slaves") == "0");
}
