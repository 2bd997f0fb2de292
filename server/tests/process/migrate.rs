//! MIGRATE: keys go from one server to another, and are on one of them at every moment.

use crate::support::{Varve, folder};
use redis::{Commands, Connection, RedisResult};

fn migrate(from: &mut Connection, to: &Varve, key: &str, rest: &[&str]) -> RedisResult<String> {
    let mut command = redis::cmd("MIGRATE");
    command.arg("127.0.0.1").arg(to.port).arg(key).arg(0).arg(2000).arg(rest);
    command.query(from)
}

#[test]
fn keys_go_with_their_types_and_expiries() {
    let ((_one, here), (_other, there)) = (folder(), folder());
    let (from, to) = (
        Varve::start(&here, &["--appendonly", "yes"]),
        Varve::start(&there, &["--storage", "fjall"]),
    );
    let mut target = to.connect();
    let _: () =
        redis::cmd("CONFIG").arg(&["SET", "requirepass", "secret"]).query(&mut target).unwrap();
    let mut source = from.connect();
    let () = source.set_ex("text", "hello", 1000).unwrap();
    let _: () = source.rpush("list", &["a", "b"]).unwrap();
    let _: () = source.zadd("scores", "one", 1.5).unwrap();
    let refused = migrate(&mut source, &to, "text", &[]).unwrap_err().to_string();
    assert!(refused.contains("Target instance replied with error: NOAUTH"), "{refused}");
    assert!(source.exists::<_, bool>("text").unwrap(), "a refused key stays");

    let auth = ["AUTH", "secret", "KEYS", "text", "list", "nosuch", "scores"];
    assert_eq!(migrate(&mut source, &to, "", &auth).unwrap(), "OK");
    assert_eq!(source.exists::<_, i64>(&["text", "list", "scores"]).unwrap(), 0);
    assert_eq!(target.lrange::<_, Vec<String>>("list", 0, -1).unwrap(), ["a", "b"]);
    assert_eq!(target.zscore::<_, _, f64>("scores", "one").unwrap(), 1.5);
    let left: i64 = target.ttl("text").unwrap();
    assert!((900..=1000).contains(&left), "{left}");
    assert_eq!(migrate(&mut source, &to, "nosuch", &[]).unwrap(), "NOKEY");

    // What was handed over does not come back with the log.
    from.kill();
    let from = Varve::start(&here, &["--appendonly", "yes"]);
    assert_eq!(from.connect().exists::<_, i64>(&["text", "list", "scores"]).unwrap(), 0);
}

#[test]
fn copies_stay_and_only_replace_overwrites() {
    let ((_one, here), (_other, there)) = (folder(), folder());
    let (from, to) = (Varve::start(&here, &[]), Varve::start(&there, &[]));
    let mut source = from.connect();
    let _: () = redis::pipe().set("a", "new").set("b", "2").query(&mut source).unwrap();
    let () = to.connect().set("a", "old").unwrap();
    let busy = migrate(&mut source, &to, "", &["KEYS", "a", "b"]).unwrap_err().to_string();
    assert!(busy.contains("BUSYKEY"), "{busy}");
    assert!(source.exists::<_, bool>("a").unwrap() && !source.exists::<_, bool>("b").unwrap());
    assert_eq!(migrate(&mut source, &to, "a", &["COPY", "REPLACE"]).unwrap(), "OK");
    assert_eq!(source.get::<_, String>("a").unwrap(), "new");
    assert_eq!(to.connect().mget::<_, Vec<String>>(&["a", "b"]).unwrap(), ["new", "2"]);
}
