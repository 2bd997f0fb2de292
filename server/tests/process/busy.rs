//! Scripts that run for too long: others are told, and can end them, with one thread as with many.

use crate::support::{ONE_THREAD, Varve, folder, possible};
use redis::{Connection, RedisResult, Value, cmd};
use std::thread::JoinHandle;
use storage::testing::until;

/// Keeps to its key, so that it is locked by that alone once it is known.
const SCRIPT: &str = "redis.call('get', KEYS[1]) while ARGV[1] == 'on' do end return 'done'";
const WRITER: &str = "redis.call('set', KEYS[1], ARGV[1]) while ARGV[1] == 'on' do end";

fn start(runtime: &[&str]) -> (tempfile::TempDir, Varve) {
    let (folder, data) = folder();
    let varve = Varve::start(&data, &[runtime, &["--busy-reply-threshold", "100"]].concat());
    (folder, varve)
}

fn text(outcome: RedisResult<Value>) -> String {
    match outcome {
        Ok(Value::SimpleString(text)) => text,
        Ok(Value::Okay) => "OK".to_owned(),
        Ok(other) => format!("{other:?}"),
        Err(error) => {
            format!("{} {}", error.code().unwrap_or_default(), error.detail().unwrap_or_default())
        }
    }
}

fn ask(client: &mut Connection, request: &[&str]) -> String {
    let mut command = cmd(request[0]);
    command.arg(&request[1..]);
    text(command.query(client))
}

/// Starts a script that does not end, and waits until other clients get the error `BUSY`.
fn run_away(varve: &Varve, script: &'static str, key: &'static str) -> JoinHandle<String> {
    let mut client = varve.connect();
    ask(&mut client, &["EVAL", script, "1", key, "off"]);
    let thread = std::thread::spawn(move || ask(&mut client, &["EVAL", script, "1", key, "on"]));
    let mut client = varve.connect();
    until("others are told", || ask(&mut client, &["PING"]).starts_with("BUSY"));
    thread
}

#[test]
fn a_script_that_does_not_end_can_be_killed_by_who_is_there_and_who_comes() {
    for runtime in possible(ONE_THREAD) {
        let (_folder, varve) = start(runtime);
        // With blocking threads, a connected client occupies the only worker.
        let threads = runtime.contains(&"threads");
        let mut there = (!threads).then(|| varve.connect());
        for _ in 0..2 {
            let running = run_away(&varve, SCRIPT, "held");
            let mut client = there.take().unwrap_or_else(|| varve.connect());
            let answer = ask(&mut client, &["PING"]);
            assert_eq!(
                answer,
                "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
                "{runtime:?}"
            );
            assert!(ask(&mut client, &["GET", "held"]).starts_with("BUSY"), "{runtime:?}");
            assert!(ask(&mut client, &["SHUTDOWN"]).starts_with("BUSY"), "{runtime:?}");
            assert!(ask(&mut client, &["FUNCTION", "KILL"]).starts_with("BUSY"), "{runtime:?}");
            assert!(ask(&mut client, &["FUNCTION", "STATS"]).starts_with("BUSY"), "{runtime:?}");
            let keys = (0..64).map(|n| format!("other{n}"));
            let set = keys.filter(|key| ask(&mut client, &["SET", key, "value"]) == "OK").count();
            assert!(set > 10, "{runtime:?}: {set} of 64 other keys can be written");
            assert_eq!(ask(&mut client, &["SCRIPT", "KILL"]), "OK", "{runtime:?}");
            let ended = running.join().expect("it is answered");
            assert!(
                ended.contains("Script killed by user with SCRIPT KILL"),
                "{runtime:?}: {ended}"
            );
            assert_eq!(ask(&mut client, &["SET", "held", "free"]), "OK", "{runtime:?}");
            assert!(ask(&mut client, &["SCRIPT", "KILL"]).starts_with("NOTBUSY"), "{runtime:?}");
        }
    }
}

/// Within one call of a library, which takes for ever.
const MATCHER: &str = "redis.call('get', KEYS[1]) if ARGV[1] == 'on' then \
    string.find(('a'):rep(60), ('a?'):rep(60) .. ('a'):rep(60)) end return 'done'";

/// A script that ends at once, but whose reply would have 2⁶⁰ elements.
const DOUBLING: &str = "local a = {redis.call('get', KEYS[1])} \
    if ARGV[1] == 'on' then for i = 1, 60 do a = {a, a} end end return a";

#[test]
fn one_within_a_call_of_a_library_can_be_killed_and_one_whose_reply_is_written() {
    for (runtime, script) in possible(ONE_THREAD).flat_map(|r| [(r, MATCHER), (r, DOUBLING)]) {
        let (_folder, varve) = start(runtime);
        let running = run_away(&varve, script, "held");
        let mut client = varve.connect();
        assert!(ask(&mut client, &["GET", "held"]).starts_with("BUSY"), "{runtime:?}");
        assert_eq!(ask(&mut client, &["SCRIPT", "KILL"]), "OK", "{runtime:?}");
        let ended = running.join().expect("it is answered");
        assert!(ended.contains("Script killed by user"), "{runtime:?}: {ended}");
        assert_eq!(ask(&mut client, &["SET", "held", "free"]), "OK", "{runtime:?}");
    }
}

/// The same with more threads: then there are others while one is within a long command.
const THREADED: &[&[&str]] = &[
    &["--runtime", "epoll", "--threads", "3"],
    &["--runtime", "epoll", "--threads", "3", "--epoll-execution", "pool"],
    &["--runtime", "tokio", "--threads", "3"],
    &["--runtime", "uring", "--threads", "3"],
    &["--runtime", "threads", "--threads", "8"],
];

#[test]
fn who_waits_for_a_script_within_a_long_command_is_told() {
    for runtime in possible(THREADED) {
        let (_folder, varve) = start(runtime);
        let mut client = varve.connect();
        let (a, b) = ("ab".repeat(2500), "ba".repeat(2500));
        assert_eq!(ask(&mut client, &["MSET", "{k}a", &a, "{k}b", &b]), "OK");
        // On a busy machine the script may be over before anybody else had a turn.
        until("somebody is told", || told_within_a_long_command(&varve, runtime));
    }
}

/// Whether one of four clients that want a key is told of a script that has it, within its only command.
fn told_within_a_long_command(varve: &Varve, runtime: &[&str]) -> bool {
    let mut client = varve.connect();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let mut client = varve.connect();
                let over = &over;
                scope.spawn(move || {
                    let mut told = false;
                    while !told && !over.load(std::sync::atomic::Ordering::SeqCst) {
                        told = ask(&mut client, &["STRLEN", "{k}a"]).starts_with("BUSY");
                    }
                    told
                })
            })
            .collect();
        let code = "return redis.call('lcs', KEYS[1], KEYS[2], 'len')";
        let common = ask(&mut client, &["EVAL", code, "2", "{k}a", "{k}b"]);
        over.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(common, "int(4999)", "{runtime:?}");
        waiting.into_iter().filter_map(|client| client.join().ok()).filter(|told| *told).count() > 0
    })
}

#[test]
fn one_that_has_written_ends_with_the_server_and_leaves_nothing() {
    for runtime in possible(ONE_THREAD) {
        let (_folder, data) = folder();
        let options =
            [*runtime, &["--busy-reply-threshold", "100", "--appendonly", "yes"]].concat();
        let varve = Varve::start(&data, &options);
        let running = run_away(&varve, WRITER, "key");
        let mut client = varve.connect();
        assert!(ask(&mut client, &["SCRIPT", "KILL"]).starts_with("UNKILLABLE"), "{runtime:?}");
        ask(&mut client, &["SHUTDOWN", "NOSAVE"]);
        let ended = varve.ended();
        assert_eq!(ended.status.code(), Some(0), "{runtime:?}: {}", ended.stderr);
        running.join().expect("its client is told, or cut off");
        let varve = Varve::start(&data, &options);
        let value: String = cmd("GET").arg("key").query(&mut varve.connect()).unwrap();
        assert_eq!(value, "off", "{runtime:?}");
    }
}

#[test]
fn a_transaction_that_meets_a_slow_script_is_not_done_by_halves() {
    // Blocking threads would need a second one for the client that is there all the time.
    for runtime in possible(&ONE_THREAD[..4]) {
        let (_folder, varve) = start(runtime);
        let mut client = varve.connect();
        let end = |running: JoinHandle<String>| {
            assert_eq!(ask(&mut varve.connect(), &["SCRIPT", "KILL"]), "OK");
            running.join().expect("no panic");
        };
        assert_eq!(ask(&mut client, &["MULTI"]), "OK");
        assert_eq!(ask(&mut client, &["INCR", "free"]), "QUEUED");
        let running = run_away(&varve, SCRIPT, "held");
        // Alone it would be served: no script has its shard.
        let refused = ask(&mut client, &["INCR", "free"]);
        assert!(refused.starts_with("BUSY "), "{refused}");
        assert_eq!(ask(&mut client, &["UNWATCH"]), "QUEUED");
        end(running);
        assert_eq!(
            ask(&mut client, &["EXEC"]),
            "EXECABORT Transaction discarded because of previous errors."
        );

        assert_eq!(ask(&mut client, &["MULTI"]), "OK");
        assert_eq!(ask(&mut client, &["INCR", "free"]), "QUEUED");
        let running = run_away(&varve, SCRIPT, "held");
        let refused = ask(&mut client, &["EXEC"]);
        let because = "EXECABORT Transaction discarded because of: BUSY ";
        assert!(refused.starts_with(because), "{refused}");
        assert_eq!(ask(&mut client, &["MULTI"]), "OK");
        assert_eq!(ask(&mut client, &["DISCARD"]), "OK");
        end(running);
        assert_eq!(ask(&mut client, &["EXISTS", "free"]), "int(0)");
    }
}

/// Takes its time, as the processor counts it, and changes its first key at last.
const CHANGING: &str = "redis.call('get', KEYS[1]) local e = os.clock() + 2 \
    while ARGV[1] == 'on' and os.clock() < e do end redis.call('set', KEYS[1], 'changed')";

#[test]
fn a_key_that_a_slow_script_has_can_be_watched_and_its_change_is_told() {
    for runtime in possible(&ONE_THREAD[..4]) {
        let (_folder, varve) = start(runtime);
        let (mut changed, mut spared) = (varve.connect(), varve.connect());
        let running = run_away(&varve, CHANGING, "held");
        assert_eq!(ask(&mut changed, &["WATCH", "free", "held"]), "OK", "{runtime:?}");
        assert_eq!(ask(&mut spared, &["WATCH", "held{held}"]), "OK", "{runtime:?}");
        assert_eq!(ask(&mut spared, &["WATCH", "held", "free"]), "OK", "{runtime:?}");
        assert_eq!(ask(&mut spared, &["UNWATCH"]), "OK", "{runtime:?}");
        assert_eq!(ask(&mut spared, &["WATCH", "free"]), "OK", "{runtime:?}");
        let still = ask(&mut varve.connect(), &["PING"]);
        assert!(still.starts_with("BUSY"), "{runtime:?}: nobody waited for the script: {still}");
        running.join().expect("it ends");
        for (client, outcome) in [(&mut changed, "Nil"), (&mut spared, "PONG")] {
            assert_eq!(ask(client, &["MULTI"]), "OK");
            assert_eq!(ask(client, &["PING"]), "QUEUED");
            let answer = ask(client, &["EXEC"]);
            assert!(
                answer.to_lowercase().contains(&outcome.to_lowercase()),
                "{runtime:?}: {answer}"
            );
        }
    }
}
