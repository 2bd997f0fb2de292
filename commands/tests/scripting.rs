//! Tests of the shards scripts lock, the records they log, and the facts they can learn.

use engine::testing::Harness;
use std::sync::Arc;
use storage_memory::{Config, MemoryBackend};

fn harness() -> Harness {
    Harness::recording(commands::all(), Arc::new(MemoryBackend::new(Config::default())))
}

#[test]
fn the_writes_of_a_script_are_logged_and_its_reads_are_not() {
    let mut server = harness();
    let script = "redis.call('set',KEYS[1],'1') redis.call('get',KEYS[1]) redis.call('incr',KEYS[2]) \
                  return redis.call('pexpire',KEYS[1],1000)";
    server.run_args(&["EVAL", script, "2", "a", "b"]);
    let expected = ["set a 1", "incr b", "PEXPIREAT a 1700000001000"];
    assert_eq!(server.logged(), expected);
}

#[test]
fn a_script_that_only_reads_logs_nothing() {
    let mut server = harness();
    server.run_args(&["EVAL", "return redis.call('get',KEYS[1])", "1", "a"]);
    server.run_args(&["EVAL", "redis.set_repl(0) redis.call('set',KEYS[1],1)", "1", "a"]);
    assert_eq!(server.logged(), Vec::<String>::new());
}

#[test]
fn a_script_that_strays_does_nothing_twice() {
    let mut server = harness();
    let script = "for i = 1, 20 do redis.call('incr', 'k' .. i) end return redis.call('incr', 'n')";
    for round in ["(integer) 1", "(integer) 2", "(integer) 3"] {
        let answer = server.run_args(&["EVAL", script, "0"]);
        assert_eq!(engine::testing::text(&answer).trim_end(), round);
    }
}

#[test]
fn a_trusted_script_strays_after_it_wrote() {
    let mut server = harness();
    let script = "redis.call('incr',KEYS[1]) for i = 1, tonumber(ARGV[1]) do redis.call('incr', 'k' .. i) end \
                  return redis.call('get', KEYS[1])";
    for strays in ["0", "0", "30", "30"] {
        server.run_args(&["EVAL", script, "1", "n", strays]);
    }
    assert_eq!(server.text("MGET n k1 k30").matches("\"2\"").count(), 2);
    assert!(server.text("GET n").contains('4'));
}

#[test]
fn the_log_of_functions_is_replayed() {
    let mut server = harness();
    let library = "#!lua name=lib\nredis.register_function('f', function(keys) return redis.call('incr', keys[1]) end)";
    server.run_args(&["FUNCTION", "LOAD", library]);
    server.run("FCALL f 1 n");
    let mut again = server.replay(Arc::new(MemoryBackend::new(Config::default())));
    assert_eq!(again.text("FCALL f 1 n").trim_end(), "(integer) 2");
}

#[test]
fn one_seed_gives_one_answer() {
    let script = "return {math.random(1000000), math.random(1000000)}";
    let answer = || harness().run_args(&["EVAL", script, "0"]);
    assert_eq!(answer(), answer());
}
