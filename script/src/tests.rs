//! VMs with a host that answers `OK` to everything.

use crate::{Embedder, Failed, Vm, digest};
use resp::{Output, Proto, Reply, Request};

#[path = "hardening.rs"]
mod hardening;

#[derive(Default)]
struct Recorder {
    commands: Vec<Vec<Vec<u8>>>,
    interrupts: usize,
    /// After so many interrupts the script is told to end.
    patience: Option<usize>,
    /// Commands are refused so that the script must end.
    ends: bool,
    panics: bool,
    /// Commands are answered with so many texts, instead of `OK`.
    texts: usize,
}

impl Embedder for Recorder {
    fn command(&mut self, request: Request<'_>, proto: Proto, reply: &mut Output) -> bool {
        assert!(!self.panics, "the host panics");
        self.commands.push(request.iter().map(<[u8]>::to_vec).collect());
        let mut reply = Reply::new(reply, proto);
        match self.texts {
            0 => reply.ok(),
            texts => {
                reply.array(texts);
                (0..texts).for_each(|_| reply.bulk(b"text"));
            }
        }
        !self.ends
    }

    fn may_run(&mut self, _: Request<'_>) -> Option<bool> {
        Some(true)
    }

    fn log(&mut self, _: u8, _: &[u8]) {}

    fn set_replication(&mut self, _: u8) {}

    fn interrupt(&mut self) -> Option<String> {
        self.interrupts += 1;
        let over = self.patience.is_some_and(|patience| self.interrupts > patience);
        over.then(|| "ERR killed".to_owned())
    }

    fn stopwatch_ns(&self) -> u64 {
        0
    }
}

const LIMIT: usize = 16 << 20;
const SEED: [u64; 2] = [0x1234_5678_9ABC_DEF0, 0x0FED_CBA9_8765_4321];

fn run(vm: &mut Vm, code: &str, host: &mut Recorder) -> Result<String, Failed> {
    let sha = digest(code.as_bytes());
    if !vm.has_script(&sha) {
        vm.compile(sha, code.as_bytes())
            .map_err(|message| Failed::new(&String::from_utf8_lossy(&message)))?;
    }
    vm.eval(&sha, [].into_iter(), [].into_iter(), 0, host)?;
    let mut out = Output::new();
    vm.reply(&mut Reply::new(&mut out, Proto::Resp2), host)?;
    Ok(String::from_utf8_lossy(&out.to_vec()).into_owned())
}

fn message(result: Result<String, Failed>) -> String {
    String::from_utf8_lossy(&result.expect_err("an error").message).into_owned()
}

#[test]
fn a_reply_that_takes_as_long_as_a_script_can_be_ended_as_one() {
    let mut vm = Vm::new(LIMIT, SEED).expect("memory");
    let shared = "local a = {} for i = 1, 60 do a = {a, a} end return a";
    let mut host = Recorder { patience: Some(2), ..Recorder::default() };
    assert_eq!(message(run(&mut vm, shared, &mut host)), "ERR killed");
    let mut host = Recorder::default();
    let found = message(run(&mut vm, shared, &mut host));
    assert_eq!(found, "ERR the reply is larger than a script may hold");
    assert!(host.interrupts > 2, "{}", host.interrupts);
    assert_eq!(
        run(&mut vm, "return {1, 2}", &mut host).ok().as_deref(),
        Some("*2\r\n:1\r\n:2\r\n")
    );
}

#[test]
fn nothing_of_a_script_is_left_for_the_next() {
    let mut vm = Vm::new(LIMIT, SEED).expect("memory");
    let mut host = Recorder::default();
    let attempts = [
        "x = 1",
        "rawset(_G, 'x', 1)",
        "getmetatable(_G).__index = {x = 1}",
        "setmetatable(_G, {__index = {x = 1}})",
        "string.x = 1",
        "rawset(string, 'x', 1)",
        "table.insert(string, 1)",
        "getmetatable('').__index = function() return 1 end",
        "redis.call = nil",
        "for k, v in pairs(_G) do if k == 'redis' then v.x = 1 end end",
        "table.foreach(_G, function(k, v) v.x = 1 end) _G.redis.x = 1",
    ];
    for attempt in attempts {
        let failed = message(run(&mut vm, attempt, &mut host));
        assert!(failed.contains("readonly"), "{attempt}: {failed}");
    }
    let seen = run(&mut vm, "return {rawget(_G, 'x') == nil, ('a').x == nil}", &mut host);
    assert_eq!(seen.as_deref(), Ok("*2\r\n:1\r\n:1\r\n"));
}

/// Read-only tables are the real ones, as in Redis: they can be walked through.
#[test]
fn what_cannot_be_changed_can_be_listed() {
    let mut vm = Vm::new(LIMIT, SEED).expect("memory");
    let mut host = Recorder::default();
    for (code, expected) in [
        ("local n=0 for k in pairs(redis) do n=n+1 end return n > 15", ":1\r\n"),
        ("local n=0 for k,v in next,redis do n=n+1 end return n > 15", ":1\r\n"),
        (
            "local t={} for k in pairs(bit) do t[#t+1]=k end table.sort(t) return t[1]",
            "$7\r\narshift\r\n",
        ),
        ("return next(redis) ~= nil and next(_G) ~= nil and rawget(_G,'redis') == redis", ":1\r\n"),
        ("return _G._G == _G and getmetatable('').__index == string", ":1\r\n"),
        ("local n=0 table.foreach(cjson, function() n=n+1 end) return n > 3", ":1\r\n"),
    ] {
        assert_eq!(run(&mut vm, code, &mut host).as_deref(), Ok(expected), "{code}");
    }
    for code in
        ["table.sort(KEYS) rawset(KEYS,1,'x') return table.remove(string)", "table.remove(redis)"]
    {
        assert!(run(&mut vm, code, &mut host).is_ok(), "nothing is changed by {code}");
    }
}

#[test]
fn memory_ends() {
    for code in [
        "return #string.rep('x', 1e9)",
        "local t = {} for i = 1, 1e9 do t[i] = {} end",
        "local s = 'x' while true do s = s .. s end",
    ] {
        let mut vm = Vm::new(LIMIT, SEED).expect("memory");
        let failed = message(run(&mut vm, code, &mut Recorder::default()));
        assert!(failed.contains("not enough memory"), "{failed}");
        assert!(vm.memory() <= LIMIT);
    }
    let mut vm = Vm::new(LIMIT, SEED).expect("memory");
    let caught = "return {pcall(string.rep, 'x', 1e9)}";
    let caught = run(&mut vm, caught, &mut Recorder::default()).expect("a reply");
    assert!(caught.contains("*1\r\n") || caught.contains("not enough memory"), "{caught}");
}

#[test]
fn a_killed_script_cannot_catch_it() {
    for code in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local f = coroutine.wrap(function() while true do end end) while true do pcall(f) end",
    ] {
        let mut vm = Vm::new(LIMIT, SEED).expect("memory");
        let mut host = Recorder { patience: Some(2), ..Recorder::default() };
        assert!(message(run(&mut vm, code, &mut host)).starts_with("ERR killed"), "{code}");
        host.patience = None;
        assert_eq!(run(&mut vm, "return 1", &mut host).as_deref(), Ok(":1\r\n"));
    }
}

#[test]
fn a_host_ends_a_script_at_once() {
    let mut vm = Vm::new(LIMIT, SEED).expect("memory");
    let mut host = Recorder { ends: true, ..Recorder::default() };
    let code = "pcall(redis.call, 'a') pcall(redis.call, 'b') while true do end";
    message(run(&mut vm, code, &mut host));
    assert_eq!(host.commands.len(), 1);
}

#[test]
fn a_panic_of_the_host_comes_out_where_the_script_was_called() {
    let mut vm = Vm::new(LIMIT, SEED).expect("memory");
    let mut host = Recorder { panics: true, ..Recorder::default() };
    let call = std::panic::AssertUnwindSafe(|| {
        let _ = run(&mut vm, "pcall(redis.call, 'a') return 1", &mut host);
    });
    assert!(std::panic::catch_unwind(call).is_err());
    assert!(vm.is_spent());
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    let mut host = Recorder::default();
    let code = "return {math.random(1000), math.random(1000)}";
    let mut first = Vm::new(LIMIT, SEED).expect("memory");
    let one = run(&mut first, code, &mut host);
    let again = run(&mut first, code, &mut host);
    let other = run(&mut Vm::new(LIMIT, SEED).expect("memory"), code, &mut host);
    assert!(one.is_ok() && one == again && one == other);
}

#[test]
fn arguments_reach_the_host_as_they_are() {
    let mut vm = Vm::new(LIMIT, SEED).expect("memory");
    let mut host = Recorder::default();
    let code = "redis.call('set', 'k\\0', 1.5, 3, 'x')";
    run(&mut vm, code, &mut host).expect("a reply");
    let expected: [&[u8]; 5] = [b"set", b"k\0", b"1.5", b"3", b"x"];
    assert_eq!(host.commands, [expected.map(<[u8]>::to_vec).to_vec()]);
}

#[test]
fn compiled_chunks_are_no_scripts() {
    let mut vm = Vm::new(LIMIT, SEED).expect("memory");
    let mut host = Recorder::default();
    assert!(message(run(&mut vm, "\u{1b}Lua", &mut host)).contains("char(27)"));
}
