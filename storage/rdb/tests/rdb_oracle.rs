//! Against a real `redis-server` (7.0 or later): it loads what we write and says it is the same.
//! Skipped, saying so, where there is none.

mod rdb_support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rdb_support::encodings::examples;
use rdb_support::{contents, entries, fixture, items, sorted};
use resp::Value;
use storage::testing::{until, until_some};
use storage_rdb::{Item, Object, Options, Writer, decode_payload, encode_payload, seal_payload};

/// A server in a directory of its own, reached through a socket there; killed when dropped.
struct Redis {
    child: Child,
    stream: UnixStream,
    buffer: Vec<u8>,
    _dir: tempfile::TempDir,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Redis {
    /// Starts a server on `dump`; `None`, with a printed reason, where none is installed.
    fn start(dump: &[u8]) -> Option<Redis> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("dump.rdb"), dump).unwrap();
        let socket = dir.path().join("redis.sock");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--dbfilename", "dump.rdb"])
            .args(["--enable-debug-command", "yes", "--sanitize-dump-payload", "yes"])
            .args([Path::new("--dir"), dir.path(), Path::new("--unixsocket"), &socket])
            .stdout(Stdio::null())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                eprintln!("SKIPPED: redis-server cannot be started here: {error}");
                return None;
            }
        };
        let Some(stream) = connect(&socket, &mut child) else {
            let _ = child.kill();
            panic!("redis-server did not accept the dump");
        };
        let mut redis = Redis { child, stream, buffer: Vec::new(), _dir: dir };
        redis.wait_until_loaded();
        Some(redis)
    }

    fn wait_until_loaded(&mut self) {
        until(
            "it has loaded",
            || !matches!(self.call(&[b"PING"]), Value::Error(text) if text.starts_with(b"LOADING")),
        );
    }

    fn call(&mut self, args: &[&[u8]]) -> Value {
        let mut request = Vec::new();
        resp::encode_command(args, &mut request);
        self.stream.write_all(&request).unwrap();
        loop {
            if let Some((value, length)) = resp::decode(&self.buffer).unwrap() {
                self.buffer.drain(..length);
                return value;
            }
            let mut chunk = [0; 16 << 10];
            let count = self.stream.read(&mut chunk).unwrap();
            assert!(count > 0, "redis-server closed the connection");
            self.buffer.extend_from_slice(&chunk[..count]);
        }
    }

    /// The value of a key in the selected database, as the server itself dumps it.
    fn object(&mut self, key: &[u8]) -> Object {
        match self.call(&[b"DUMP", key]) {
            Value::Bulk(payload) => decode_payload(&payload).unwrap(),
            other => panic!("DUMP {}: {other:?}", String::from_utf8_lossy(key)),
        }
    }

    fn digest(&mut self) -> String {
        match self.call(&[b"DEBUG", b"DIGEST"]) {
            Value::Simple(text) | Value::Bulk(text) => String::from_utf8(text).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

fn connect(socket: &PathBuf, child: &mut Child) -> Option<UnixStream> {
    until_some("it listens, or has ended", || match UnixStream::connect(socket) {
        Ok(stream) => Some(Some(stream)),
        Err(_) if matches!(child.try_wait(), Ok(None)) => None,
        Err(_) => Some(None),
    })
}

/// Writes what was read, item by item.
fn rewrite(items: &[Item], options: Options) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), options);
    for item in items {
        match item {
            Item::Aux { key, value } => writer.aux(key, value).unwrap(),
            Item::SelectDb(db) => writer.select_db(*db).unwrap(),
            Item::Resize { keys, expires } => writer.resize_db(*keys, *expires).unwrap(),
            Item::Function(code) => writer.function(code).unwrap(),
            Item::ModuleAux { .. } => {}
            Item::KeyValue(e) => {
                writer.entry(&e.key, e.expiry_ms, |v| v.object(&e.object)).unwrap()
            }
        }
    }
    writer.finish().unwrap()
}

/// The digests are those that the servers gave before they saved the fixtures (see the README
/// there): they cover keys, expiries and values, not how they are encoded.
#[test]
fn redis_loads_what_we_write_and_it_is_what_redis_wrote() {
    let large = "2bb1ab3f72caadbb95d5002a270e236195dfdaed";
    let small = "a2c4ef4a7bf10953930a0e182de5611e0eabb504";
    for (name, digest) in [
        ("redis-7.0.rdb", large),
        ("redis-6.2.rdb", large),
        ("redis-7.0-plain.rdb", small),
        ("redis-6.2-plain.rdb", small),
    ] {
        let original = items(&std::fs::read(fixture(name)).unwrap());
        for compress in [true, false] {
            let options = Options { compress, ..Options::default() };
            let Some(mut redis) = Redis::start(&rewrite(&original, options)) else { return };
            assert_eq!(redis.digest(), digest, "{name}");
            // The digest leaves out groups and IDs of streams: compare those ourselves.
            for ((db, key), (_, object)) in entries(original.clone()) {
                if db == 0 && matches!(object, Object::Stream(_)) {
                    assert_eq!(redis.object(&key), object, "{name}");
                }
            }
            if name == "redis-7.0.rdb" {
                assert_eq!(redis.call(&[b"FCALL", b"f", b"0"]), Value::Integer(1));
            }
        }
    }
}

#[test]
fn redis_restores_our_payloads() {
    let Some(mut redis) = Redis::start(&rewrite(&[], Options::default())) else { return };
    for ((_, key), (_, object)) in contents(true) {
        let payload = encode_payload(&object, Options::default()).unwrap();
        let reply = redis.call(&[b"RESTORE", &key, b"0", &payload]);
        assert_eq!(reply, Value::Simple(b"OK".to_vec()), "{}", String::from_utf8_lossy(&key));
        assert_eq!(sorted(redis.object(&key)), object, "{}", String::from_utf8_lossy(&key));
    }
}

/// The examples of old encodings were made by hand; Redis must understand them as we do.
#[test]
fn redis_restores_the_examples_it_knows() {
    let Some(mut redis) = Redis::start(&rewrite(&[], Options::default())) else { return };
    for example in examples().into_iter().filter(|example| example.since <= 10) {
        let mut payload = example.bytes;
        seal_payload(&mut payload);
        let reply = redis.call(&[b"RESTORE", example.name.as_bytes(), b"0", &payload]);
        assert_eq!(reply, Value::Simple(b"OK".to_vec()), "{}", example.name);
        let found = sorted(redis.object(example.name.as_bytes()));
        assert_eq!(found, sorted(example.object), "{}", example.name);
    }
}
