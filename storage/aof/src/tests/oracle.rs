//! Against a real Redis: its directories load here, ours load there, and `redis-check-aof` agrees.
//! Skipped, saying so, where there is none.

use super::toy::Toy;
use super::{names, part};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use storage::testing::{free_port, until, until_some};

fn installed(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("skipped: {tool} is not installed");
    }
    found
}

/// A redis-server on a free port, killed when dropped.
struct Redis(Child, TcpStream);

impl Redis {
    fn start(dir: &Path, extra: &[&str]) -> Self {
        let port = free_port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--save", "", "--daemonize", "no"])
            .args(["--dir", &dir.to_string_lossy()])
            .args(extra)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Redis(child, connect(port))
    }

    /// Sends inline commands; the last reply must be `expected`.
    fn run(&mut self, commands: &str, expected: &str) {
        self.1.write_all(commands.as_bytes()).unwrap();
        let mut got = String::new();
        let mut buffer = [0; 4096];
        while !got.ends_with(expected) {
            let count = self.1.read(&mut buffer).unwrap_or(0);
            assert!(count > 0, "{expected:?} did not come, but {got:?}");
            got.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }
}

fn connect(port: u16) -> TcpStream {
    until_some("redis-server answers, and has loaded", || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(b"PING\r\n").ok()?;
        let mut reply = [0; 64];
        let length = stream.read(&mut reply).ok()?;
        reply[..length].starts_with(b"+PONG").then_some(stream)
    })
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_directory_of_redis_loads_here() {
    if !installed("redis-server") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let aof = ["--appendonly", "yes", "--appendfsync", "always", "--aof-timestamp-enabled", "yes"];
    let mut redis = Redis::start(dir.path(), &aof);
    redis.run("SET a 1\r\nSELECT 5\r\nSET b text\r\nBGREWRITEAOF\r\n", "started\r\n");
    let rewritten = part(dir.path(), "2.incr.aof");
    until("the log is rewritten", || {
        let manifest = fs::read_to_string(part(dir.path(), "manifest")).unwrap_or_default();
        rewritten.exists() && manifest.contains("2.base.rdb") && !manifest.contains("type h")
    });
    redis.run("MULTI\r\nINCR n\r\nINCR n\r\nEXEC\r\nINCR n\r\nPING\r\n", "+PONG\r\n");
    drop(redis);
    let (toy, aof, loaded) = Toy::open(dir.path()).unwrap();
    assert_eq!((loaded.entries, loaded.commands, loaded.truncated), (2, 3, None));
    assert_eq!(toy.get(0, "a").as_deref(), Some("1"));
    assert_eq!(toy.get(5, "b").as_deref(), Some("text"));
    assert_eq!(toy.get(5, "n").as_deref(), Some("3"));
    // And goes on here, and back there.
    toy.run(&aof, 5, &[b"INCR", b"n"]);
    toy.rewrite(&aof).unwrap();
    toy.run(&aof, 5, &[b"INCR", b"n"]);
    for _ in 0..500 {
        // Marks among the records are passed over there.
        toy.run(&aof, 5, &[b"SET", b"marked", b"1\r\n#varve:0\r\n"]);
    }
    drop(aof);
    let mut redis = Redis::start(dir.path(), &["--appendonly", "yes"]);
    redis.run("SELECT 5\r\nGET n\r\n", "$1\r\n5\r\n");
}

#[test]
fn a_single_file_of_old_versions_is_upgraded() {
    for preamble in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let resp = "*2\r\n$6\r\nSELECT\r\n$1\r\n4\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n";
        let mut bytes = Vec::new();
        if preamble {
            let mut writer =
                storage::rdb::Writer::new(&mut bytes, storage::rdb::Options::default());
            writer.select_db(4).unwrap();
            let string = |value: storage::rdb::ValueWriter<'_>| {
                value.string(b"41");
                Ok(())
            };
            writer.entry(b"n", None, string).unwrap();
            writer.finish().unwrap();
        }
        bytes.extend_from_slice(resp.as_bytes());
        bytes.extend_from_slice(b"*2\r\n$4\r\nIN"); // torn
        fs::write(dir.path().join("appendonly.aof"), &bytes).unwrap();
        let (toy, aof, loaded) = Toy::open(dir.path()).unwrap();
        let expected = if preamble { "42" } else { "1" };
        assert_eq!(toy.get(4, "n").as_deref(), Some(expected));
        assert_eq!(loaded.truncated.map(|cut| cut.bytes), Some(10));
        toy.run(&aof, 4, &[b"INCR", b"n"]);
        drop(aof);
        assert_eq!(
            names(dir.path()),
            ["appendonly.aof", "appendonly.aof.1.incr.aof", "appendonly.aof.manifest"]
        );
        assert!(!dir.path().join("appendonly.aof").exists());
        let expected = if preamble { "43" } else { "2" };
        assert_eq!(Toy::open(dir.path()).unwrap().0.get(4, "n").as_deref(), Some(expected));
    }
}

#[test]
fn redis_check_aof_finds_our_log_valid() {
    if !installed("redis-check-aof") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (toy, aof, _) = Toy::open(dir.path()).unwrap();
    toy.run(&aof, 0, &[b"SET", b"a", b"1"]);
    toy.rewrite(&aof).unwrap();
    for _ in 0..500 {
        toy.run(&aof, 0, &[b"SET", b"a", b"1\r\n#varve:0\r\n"]);
    }
    let effect = || vec![b"INCR".to_vec(), b"a".to_vec()];
    aof_atomic(&aof, &[(0, effect()), (3, effect())]);
    drop(aof);
    let output =
        Command::new("redis-check-aof").arg(part(dir.path(), "manifest")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("All AOF files and manifest are valid"), "{text}");
}

fn aof_atomic(aof: &crate::Aof, effects: &[(u32, Vec<Vec<u8>>)]) {
    storage::Journal::append_atomic(aof, 0, effects).unwrap();
}
