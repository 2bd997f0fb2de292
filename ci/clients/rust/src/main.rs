//! The `redis` crate against a running server: `rust-client PORT DATABASE`. Checks strictly, prints one line.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, future::join_all};
use redis::aio::{ConnectionManager, MultiplexedConnection};
use redis::streams::{StreamAutoClaimOptions, StreamMaxlen, StreamReadOptions, StreamReadReply};
use redis::{AsyncCommands, Commands, Direction, RedisResult, Script, Value};

/// A server's address, and what every check begins with.
struct Server {
    port: String,
    database: String,
}

impl Server {
    fn client(&self, protocol: u8) -> redis::Client {
        redis::Client::open(format!(
            "redis://127.0.0.1:{}/{}?protocol=resp{protocol}",
            self.port, self.database
        ))
        .unwrap()
    }
}

/// How long to wait for an answer: what else runs on the machine shall not decide.
const PATIENCE: Duration = Duration::from_secs(20);

fn patient() -> redis::AsyncConnectionConfig {
    redis::AsyncConnectionConfig::new()
        .set_response_timeout(Some(PATIENCE))
        .set_connection_timeout(Some(PATIENCE))
}

/// Waits for what other connections bring about.
async fn eventually<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let until = Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(Instant::now() < until, "did not come about within ten seconds");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Blocking connections: types, iterators, pipelines, transactions, scripts.
fn sync(client: &redis::Client) -> RedisResult<()> {
    let mut con = client.get_connection()?;
    let _: () = redis::cmd("FLUSHDB").query(&mut con)?;
    let _: () = con.set("k", 42)?;
    assert_eq!(con.get::<_, i64>("k")?, 42);
    assert_eq!(con.get::<_, Option<String>>("nosuch")?, None);
    assert_eq!(con.incr::<_, _, f64>("k", 0.5)?, 42.5);
    let _: () = con.hset_multiple("h", &[("a", 1), ("b", 2)])?;
    assert_eq!(
        con.hgetall::<_, HashMap<String, i64>>("h")?,
        HashMap::from([("a".into(), 1), ("b".into(), 2)])
    );
    let _: () = con.sadd("s", (0..1000).collect::<Vec<i32>>())?;
    assert_eq!(con.sscan::<_, i32>("s")?.collect::<RedisResult<HashSet<_>>>()?.len(), 1000);
    let _: () = con.zadd_multiple("z", &[(1.5, "one"), (2.5, "two")])?;
    assert_eq!(
        con.zrange_withscores::<_, Vec<(String, f64)>>("z", 0, -1)?,
        [("one".into(), 1.5), ("two".into(), 2.5)]
    );
    assert_eq!(
        con.scan_match::<_, String>("?")?.collect::<RedisResult<HashSet<_>>>()?,
        ["k", "h", "s", "z"].map(String::from).into()
    );
    let bytes: Vec<u8> = (0..=255).collect();
    let _: () = con.set("bytes", &bytes)?;
    assert_eq!(con.get::<_, Vec<u8>>("bytes")?, bytes);
    let error = con.lpush::<_, _, i64>("k", 1).unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().contains("wrong kind of value")),
        (Some("WRONGTYPE"), true),
        "{error}"
    );

    let (first, second): (i64, String) =
        redis::pipe().atomic().set("p", 1).ignore().incr("p", 4).get("p").query(&mut con)?;
    assert_eq!((first, second.as_str()), (5, "5"));
    let mut many = redis::pipe();
    (0..5000).for_each(|i| {
        many.cmd("ECHO").arg(i);
    });
    assert_eq!(many.query::<Vec<i32>>(&mut con)?, (0..5000).collect::<Vec<_>>());
    let mut tries = 0;
    let mut other = client.get_connection()?;
    let (sum,): (i64,) = redis::transaction(&mut con, &["p"], |con, pipe| {
        tries += 1;
        let now: i64 = con.get("p")?;
        if tries == 1 {
            let _: () = other.set("p", 10)?;
        }
        pipe.set("p", now + 1).ignore().get("p").query(con)
    })?;
    assert_eq!((sum, tries), (11, 2), "what was watched had changed once");

    let script = Script::new(&format!(
        "redis.call('SET', KEYS[1], ARGV[1]) return {{KEYS[1], ARGV[1], {}}}",
        std::process::id()
    ));
    assert_eq!(
        script.key("by script").arg(7).invoke::<(String, i64, u32)>(&mut con)?,
        ("by script".into(), 7, std::process::id())
    );
    Ok(())
}

/// Subscribing and receiving on a blocking connection.
fn sync_pubsub(client: &redis::Client, channel: &str) -> RedisResult<()> {
    let (mut con, mut publisher) = (client.get_connection()?, client.get_connection()?);
    let mut pubsub = con.as_pubsub();
    pubsub.subscribe(channel)?;
    pubsub.psubscribe(format!("{channel}*"))?;
    assert_eq!(publisher.publish::<_, _, i64>(channel, "hello")?, 2);
    let messages = [pubsub.get_message()?, pubsub.get_message()?]
        .map(|m| (m.from_pattern(), m.get_payload::<String>().unwrap()));
    assert_eq!(
        HashSet::from(messages),
        HashSet::from([(false, "hello".into()), (true, "hello".into())])
    );
    Ok(())
}

/// Many tasks over one connection: each gets its own answers.
async fn multiplexed(con: &MultiplexedConnection) -> RedisResult<()> {
    let tasks = (0..200).map(|i| {
        let mut con = con.clone();
        async move {
            let key = format!("task:{i}");
            let _: () = con.set(&key, i).await?;
            let (old, new): (i64, i64) =
                redis::pipe().atomic().get(&key).incr(&key, 1000).query_async(&mut con).await?;
            RedisResult::Ok(old == i && new == i + 1000)
        }
    });
    assert!(
        join_all(tasks)
            .await
            .into_iter()
            .collect::<RedisResult<Vec<_>>>()?
            .into_iter()
            .all(|right| right)
    );
    let mut con = con.clone();
    let seen: HashSet<String> =
        con.scan_match::<_, String>("task:*").await?.map(Result::unwrap).collect().await;
    assert_eq!(seen.len(), 200);
    let script = Script::new(&format!(
        "return redis.call('INCRBY', KEYS[1], ARGV[1]) -- {:?}",
        Instant::now()
    ));
    let added = join_all((0..20).map(|_| {
        let (mut con, script) = (con.clone(), &script);
        async move { script.key("sum").arg(5).invoke_async::<i64>(&mut con).await }
    }))
    .await;
    assert_eq!(added.into_iter().map(Result::unwrap).max(), Some(100));
    let _: i64 = con.rpush("from", &[1, 2, 3]).await?;
    assert_eq!(con.lmove::<_, _, i64>("from", "to", Direction::Left, Direction::Right).await?, 1);
    Ok(())
}

/// Blocking commands, each on a connection of its own.
async fn blocking(client: &redis::Client, con: &MultiplexedConnection) -> RedisResult<()> {
    let consumers: Vec<_> = (0..4)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut con =
                    client.get_multiplexed_async_connection_with_config(&patient()).await.unwrap();
                let mut got = Vec::new();
                loop {
                    let (_, value): (String, i64) = con.blpop("queue", 10.0).await.unwrap();
                    if value < 0 {
                        return got;
                    }
                    got.push(value);
                }
            })
        })
        .collect();
    let mut con = con.clone();
    for value in (0..100).chain([-1; 4]) {
        let _: i64 = con.rpush("queue", value).await?;
    }
    let mut all: Vec<i64> =
        join_all(consumers).await.into_iter().flat_map(Result::unwrap).collect();
    all.sort();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
    assert_eq!(con.blpop::<_, Option<(String, i64)>>("queue", 0.02).await?, None);
    Ok(())
}

/// Streams and a group, as typed replies.
async fn streams(con: &MultiplexedConnection) -> RedisResult<()> {
    let mut con = con.clone();
    let _: () = con.xgroup_create_mkstream("stream", "g", "$").await?;
    let mut ids: Vec<String> = Vec::new();
    for i in 0..10 {
        ids.push(con.xadd_maxlen("stream", StreamMaxlen::Equals(100), "*", &[("n", i)]).await?);
    }
    let options = StreamReadOptions::default().group("g", "one").count(6).block(1000);
    let read: StreamReadReply = con.xread_options(&["stream"], &[">"], &options).await?;
    assert_eq!(
        read.keys[0].ids.iter().map(|i| &i.id).collect::<Vec<_>>(),
        ids[..6].iter().collect::<Vec<_>>()
    );
    assert_eq!(read.keys[0].ids[3].get::<i64>("n"), Some(3));
    assert_eq!(con.xack::<_, _, _, i64>("stream", "g", &ids[..2]).await?, 2);
    let pending: redis::streams::StreamPendingReply = con.xpending("stream", "g").await?;
    assert_eq!(pending.count(), 4);
    let _: i64 = con.xdel("stream", &ids[2..3]).await?;
    let claimed: redis::streams::StreamAutoClaimReply = con
        .xautoclaim_options(
            "stream",
            "g",
            "two",
            0,
            "0-0",
            StreamAutoClaimOptions::default().count(10),
        )
        .await?;
    assert_eq!(
        (claimed.claimed.len(), &claimed.deleted_ids[..], claimed.next_stream_id.as_str()),
        (3, &ids[2..3], "0-0")
    );
    let groups: redis::streams::StreamInfoGroupsReply = con.xinfo_groups("stream").await?;
    assert_eq!((groups.groups[0].pending, groups.groups[0].consumers), (3, 2));
    let about: redis::streams::StreamInfoStreamReply = con.xinfo_stream("stream").await?;
    assert_eq!((about.length, about.first_entry.id == ids[0], about.groups), (9, true, 1));
    Ok(())
}

/// Subscriptions of the async client, RESP2's way.
async fn async_pubsub(
    client: &redis::Client,
    con: &MultiplexedConnection,
    channel: &str,
) -> RedisResult<()> {
    let (mut sink, mut stream) = client.get_async_pubsub().await?.split();
    sink.subscribe(channel).await?;
    let mut con = con.clone();
    let _: Vec<i64> = (0..100)
        .fold(&mut redis::pipe(), |pipe, i| pipe.publish(channel, i))
        .query_async(&mut con)
        .await?;
    for i in 0..100 {
        assert_eq!(stream.next().await.unwrap().get_payload::<i64>()?, i);
    }
    sink.unsubscribe(channel).await?;
    eventually(|| {
        let mut con = con.clone();
        async move { con.publish::<_, _, i64>(channel, 0).await.unwrap() == 0 }
    })
    .await;
    Ok(())
}

/// Pushes of RESP3 beside the answers, and a connection manager that comes back and subscribes again.
async fn manager(
    client: &redis::Client,
    con: &MultiplexedConnection,
    channel: &str,
) -> RedisResult<()> {
    let (sender, mut pushes) = tokio::sync::mpsc::unbounded_channel();
    let config = redis::aio::ConnectionManagerConfig::new()
        .set_push_sender(sender)
        .set_automatic_resubscription()
        .set_response_timeout(Some(PATIENCE))
        .set_connection_timeout(Some(PATIENCE))
        .set_min_delay(Duration::from_millis(10));
    let mut managed = ConnectionManager::new_with_config(client.clone(), config).await?;
    managed.subscribe(channel).await?;
    let id: i64 = redis::cmd("CLIENT").arg("ID").query_async(&mut managed).await?;
    let mut con = con.clone();
    assert_eq!(
        redis::cmd("CLIENT").arg(&["KILL", "ID"]).arg(id).query_async::<i64>(&mut con).await?,
        1
    );
    eventually(|| {
        let mut managed = managed.clone();
        async move { managed.set::<_, _, ()>("managed", 1).await.is_ok() }
    })
    .await;
    eventually(|| {
        let mut con = con.clone();
        async move { con.publish::<_, _, i64>(channel, "again").await.unwrap() == 1 }
    })
    .await;
    loop {
        let push = tokio::time::timeout(Duration::from_secs(10), pushes.recv())
            .await
            .expect("a message")
            .unwrap();
        if push.kind == redis::PushKind::Message {
            assert_eq!(push.data[1], Value::BulkString(b"again".to_vec()));
            return Ok(());
        }
    }
}

/// The client's own cache: the server tells it what to forget.
async fn caching(client: &redis::Client, con: &MultiplexedConnection) -> RedisResult<()> {
    let config = patient().set_cache_config(redis::caching::CacheConfig::default());
    let mut cached = client.get_multiplexed_async_connection_with_config(&config).await?;
    let mut con = con.clone();
    let _: () = con.set("cached", 1).await?;
    for _ in 0..100 {
        assert_eq!(cached.get::<_, i64>("cached").await?, 1);
    }
    let told = cached.get_cache_statistics().expect("a cache");
    // Whoever flushes a database has every cache forget everything.
    assert!(told.hit >= 80 && told.hit + told.miss == 100, "{} of 100", told.hit);
    let _: () = con.set("cached", 2).await?;
    eventually(|| {
        let mut cached = cached.clone();
        async move { cached.get::<_, i64>("cached").await.unwrap() == 2 }
    })
    .await;
    assert!(cached.get_cache_statistics().expect("a cache").invalidate >= 1);
    let _: () = con.flushdb().await?;
    eventually(|| {
        let mut cached = cached.clone();
        async move { cached.get::<_, Option<i64>>("cached").await.unwrap().is_none() }
    })
    .await;
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> RedisResult<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let server = Server { port: arguments[0].clone(), database: arguments[1].clone() };
    let started = Instant::now();
    for protocol in [2, 3] {
        let client = server.client(protocol);
        let channel = format!("rust{}", server.database);
        let (blocking_client, of_its) = (client.clone(), channel.clone());
        tokio::task::spawn_blocking(move || {
            sync(&blocking_client).and_then(|()| sync_pubsub(&blocking_client, &of_its))
        })
        .await
        .unwrap()?;
        let con = client.get_multiplexed_async_connection_with_config(&patient()).await?;
        multiplexed(&con).await?;
        blocking(&client, &con).await?;
        streams(&con).await?;
        async_pubsub(&client, &con, &channel).await?;
        if protocol == 3 {
            manager(&client, &con, &channel).await?;
            caching(&client, &con).await?;
        }
    }
    println!(
        "redis (Rust) 1.8.1: sync, pub/sub, multiplexed, blocking, streams, manager, cache in RESP2 and RESP3, {:.1} s",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}
