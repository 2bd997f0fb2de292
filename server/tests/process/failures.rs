//! Starts that fail: one clear line, exit code 1, nothing left behind.

use crate::support::{Ended, Varve, folder, free_port, run};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

/// The one line that a failed start says.
fn line(ended: &Ended) -> &str {
    assert_eq!(ended.status.code(), Some(1), "{}{}", ended.stdout, ended.stderr);
    let line = ended.stderr.strip_suffix('\n').unwrap_or(&ended.stderr);
    assert!(!line.contains('\n'), "more than one line: {line}");
    line.strip_prefix("varve: ").unwrap_or_else(|| panic!("who says this? {line}"))
}

#[test]
fn a_port_in_use_touches_no_data() {
    let (_folder, data) = folder();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = run(&["--port", &port, "--dir", data.to_str().unwrap()]);
    let expected = format!("can't listen on 127.0.0.1:{port}: another program already does");
    assert_eq!(line(&ended), expected);
    assert!(!data.exists());
}

#[test]
fn a_data_folder_in_use_names_its_user() {
    let (_folder, data) = folder();
    let first = Varve::start(&data, &[]);
    let port = free_port().to_string();
    let ended = run(&["--port", &port, "--dir", data.to_str().unwrap()]);
    let text = line(&ended);
    assert!(text.contains(&format!("is in use by process {}", first.pid())), "{text}");
}

#[test]
fn an_unusable_folder_is_named() {
    let (folder, _) = folder();
    let file = folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    let below = file.join("data");
    let port = free_port().to_string();
    let ended = run(&["--port", &port, "--dir", below.to_str().unwrap()]);
    let expected = format!("can't create the data folder {}: Not a directory", below.display());
    assert_eq!(line(&ended), expected);
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn unknown_options_and_values_are_refused() {
    let ended = run(&["--maxmemry", "1gb"]);
    assert!(line(&ended).contains("did you mean 'maxmemory'?"), "{}", line(&ended));
    let ended = run(&["--storage", "papyrus"]);
    assert!(line(&ended).contains("storage"), "{}", line(&ended));
    let ended = run(&["--port", "0"]);
    assert_eq!(line(&ended), "configured to not listen anywhere");
}

#[test]
fn a_typo_in_the_file_is_found_by_line() {
    let (folder, data) = folder();
    let file = folder.path().join("varve.conf");
    fs::write(&file, "# mine\nappendonly no\napendfsync always\n").unwrap();
    let ended = run(&[file.to_str().unwrap(), "--dir", data.to_str().unwrap()]);
    let text = line(&ended);
    assert!(text.contains("varve.conf:3:") && text.contains("appendfsync"), "{text}");
    assert!(!data.exists());
}

#[test]
fn what_protects_and_cannot_be_applied_stops_the_start() {
    let (folder, _) = folder();
    let file = folder.path().join("varve.conf");
    fs::write(&file, "rename-command FLUSHALLL \"\"").unwrap();
    let ended = run(&[file.to_str().unwrap()]);
    assert!(line(&ended).contains("rename-command FLUSHALLL"), "{}", line(&ended));
}

#[test]
fn a_damaged_log_names_file_and_offset() {
    let (_folder, data) = folder();
    let server = Varve::start(&data, &["--appendfsync", "always"]);
    for number in 0..100 {
        let set = redis::cmd("SET").arg(format!("key{number}")).arg(number).to_owned();
        set.exec(&mut server.connect()).unwrap();
    }
    server.kill();
    let log = data.join("appendonlydir/appendonly.aof.1.incr.aof");
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    let at = middle + bytes[middle..].iter().position(|byte| *byte == b'*').unwrap();
    bytes[at] = b'!';
    fs::write(&log, &bytes).unwrap();
    let port = free_port().to_string();
    let ended = run(&["--port", &port, "--dir", data.to_str().unwrap()]);
    let text = line(&ended);
    assert!(text.contains("appendonly.aof.1.incr.aof, offset "), "{text}");
}

#[test]
fn a_torn_tail_is_cut_and_said() {
    let (_folder, data) = folder();
    let server = Varve::start(&data, &[]);
    redis::cmd("SET").arg("whole").arg("1").exec(&mut server.connect()).unwrap();
    server.kill();
    let log = data.join("appendonlydir/appendonly.aof.1.incr.aof");
    let whole = fs::read(&log).unwrap();
    fs::write(&log, [&whole[..], b"*3\r\n$3\r\nSET\r\n$4\r\nto"].concat()).unwrap();
    let server = Varve::start(&data, &[]);
    let kept: String = redis::cmd("GET").arg("whole").query(&mut server.connect()).unwrap();
    assert_eq!(kept, "1");
    let ended = server.stop();
    assert!(ended.stdout.contains("cut a torn tail"), "{}", ended.stdout);
    assert!(ended.stdout.contains("bytes=19"), "{}", ended.stdout);
}

#[test]
fn help_and_version_are_no_failures() {
    assert_eq!(run(&["--version"]).stdout, concat!("varve ", env!("CARGO_PKG_VERSION"), "\n"));
    let help = run(&["--help"]);
    assert!(help.status.success() && help.stdout.contains("--appendfsync"));
}

/// The machine's own address that is not loopback, if it has one.
fn outer_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: connecting only picks the address that would be used.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[test]
fn protected_mode_keeps_strangers_out_until_there_is_a_password() {
    let Some(outer) = outer_address() else {
        eprintln!("skipped: this machine has no address but loopback");
        return;
    };
    let hello = |server: &Varve| {
        let mut stream = std::net::TcpStream::connect((outer, server.port)).unwrap();
        let mut reply = [0; 7];
        // A refused connection may be closed before the request arrives.
        let _ = stream.write_all(b"PING\r\n");
        stream.read_exact(&mut reply).map(|()| String::from_utf8_lossy(&reply).into_owned())
    };
    let (_folder, data) = folder();
    let server = Varve::start(&data, &["--bind", "*"]);
    assert_eq!(hello(&server).unwrap(), "-DENIED");
    server.kill();
    let server = Varve::start(&data, &["--bind", "*", "--protected-mode", "no"]);
    assert_eq!(hello(&server).unwrap(), "+PONG\r\n");
}
