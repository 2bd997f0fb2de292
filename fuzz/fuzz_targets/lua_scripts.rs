//! Scripts: whatever they are made of, they end with a reply or an error, in bounded time and memory, and leave
//! nothing behind.
//!
//! Input: decisions of a grammar of Lua that knows every function of the sandbox's libraries, the values at
//! the edges of their arguments, and patterns, formats and texts that mean something to them. The script is run twice
//! in one VM, which must still be as it was. What is not a script after all is compiled as text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resp::{Output, Proto, Reply, Request};
use script::{Embedder, Vm, digest};
use std::time::{Duration, Instant};

/// The memory limit of a script, in bytes.
const MEMORY: usize = 16 << 20;
/// The number of times that a script is asked whether it may continue before it is told to end.
const PATIENCE: u32 = 20;
/// A bound on the time of a script, longer than the slowest machine takes.
const TIME_MAX: Duration = Duration::from_secs(30);
const SEED: [u64; 2] = [3, 5];

const FUNCTIONS: &[&str] = &[
    "string.byte", "string.char", "string.find", "string.format", "string.gmatch", "string.gsub", "string.len",
    "string.lower", "string.match", "string.rep", "string.reverse", "string.sub", "string.upper", "table.concat",
    "table.foreach", "table.foreachi", "table.getn", "table.insert", "table.maxn", "table.remove", "table.sort",
    "math.abs", "math.floor", "math.fmod", "math.frexp", "math.ldexp", "math.max", "math.min", "math.modf", "math.pow",
    "math.random", "math.randomseed", "math.sqrt", "bit.arshift", "bit.band", "bit.bnot", "bit.bor", "bit.bswap",
    "bit.bxor", "bit.lshift", "bit.rol", "bit.ror", "bit.rshift", "bit.tobit", "bit.tohex", "struct.pack",
    "struct.size", "struct.unpack", "cjson.decode", "cjson.encode", "cjson.encode_sparse_array",
    "cjson.encode_max_depth", "cjson.decode_max_depth", "cjson.encode_number_precision", "cjson.encode_keep_buffer",
    "cjson.encode_invalid_numbers", "cjson.decode_invalid_numbers", "cjson.new", "cmsgpack.pack", "cmsgpack.unpack",
    "cmsgpack.unpack_one", "cmsgpack.unpack_limit", "coroutine.create", "coroutine.resume", "coroutine.running",
    "coroutine.status", "coroutine.wrap", "coroutine.yield", "os.clock", "redis.call", "redis.pcall",
    "redis.error_reply", "redis.status_reply", "redis.sha1hex", "redis.log", "redis.setresp", "redis.set_repl",
    "redis.acl_check_cmd", "redis.breakpoint", "redis.debug", "redis.replicate_commands", "server.call", "assert",
    "collectgarbage", "error", "gcinfo", "getmetatable", "ipairs", "load", "loadstring", "next", "pairs", "pcall",
    "rawequal", "rawget", "rawset", "select", "setmetatable", "tonumber", "tostring", "type", "unpack", "xpcall",
];

const VALUES: &[&str] = &[
    "nil", "true", "false", "0", "-0", "1", "2", "3", "-1", "-2", "7", "0.5", "255", "256", "4096", "7999", "8000", "65536",
    "1e6", "2147483647", "2147483648", "-2147483648", "4294967295", "4294967296", "2^53", "9223372036854775807", "-2^63",
    "1e17", "1e308", "-1e308", "1/0", "-1/0", "0/0", "''", "'a'", "'abc'", "'\\0'", "'#'", "'%a+'", "'(.-)%1'", "'%b()'",
    "'%f[%w]%w+'", "'^(a*)(b?)$'", "'[^%]-]'", "'%'", "'[a'", "('a?'):rep(40)..('a'):rep(40)", "('a'):rep(40)",
    "'%5.2f|%-9s|%x|%c|%q|%i'", "'%99.99f'", "'%d'", "'i4'", "'>I2i3!8d'", "'c0'", "'bBhHlLTfdsx'", "'c2147483647'",
    "'[1,2,{\"a\":null}]'", "'{\"k\":[1e5,\"\\\\u00e9\"]}'", "('['):rep(1100)", "'\\221\\255\\255\\255\\255'",
    "'\\146\\1\\129\\161a\\192'", "('\\145'):rep(1100)", "'count'", "'stop'", "'step'", "'collect'", "'setpause'", "'kv'",
    "'__index'", "'__newindex'", "'__metatable'", "'__gc'", "'__tostring'", "'__call'", "'__lt'", "'__concat'", "'return 1'",
    "'x=['..('='):rep(99)", "'\\27Lua'", "{}", "{1,2,3}", "{3,1,2,'x'}", "{a=1}", "{err='E'}", "{ok='O'}", "{double=1.5}",
    "{map={a=1}}", "{set={a=1}}", "{big_number='1'}", "{verbatim_string={format='txt',string='s'}}", "{[1e9]=1}", "redis",
    "string", "_G", "KEYS", "ARGV", "getmetatable('')", "cjson.null", "...",
];

const OPERATORS: &[&str] =
    &["+", "-", "*", "/", "%", "^", "..", "==", "~=", "<", "<=", ">", ">=", " and ", " or "];

/// The deepest nesting of what is generated.
const DEPTH_MAX: usize = 6;
/// The longest script.
const LEN_MAX: usize = 1 << 14;

/// The input, read as decisions; at its end everything is the simplest.
struct Writer<'a> {
    dice: &'a [u8],
    out: String,
}

impl Writer<'_> {
    fn below(&mut self, limit: usize) -> usize {
        let Some((first, rest)) = self.dice.split_first() else { return 0 };
        self.dice = rest;
        usize::from(*first) % limit
    }

    fn one(&mut self, of: &[&'static str]) -> &'static str {
        let at = self.below(256) + if of.len() > 256 { self.below(256) } else { 0 };
        of[at % of.len()]
    }

    fn put(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn name(&mut self) {
        let name = ["v1", "v2", "v3", "v4"][self.below(4)];
        self.put(name);
    }

    fn list(&mut self, depth: usize, most: usize) {
        for index in 0..self.below(most + 1) {
            if index > 0 {
                self.put(",");
            }
            self.expression(depth + 1);
        }
    }

    fn call(&mut self, depth: usize) {
        let function = self.one(FUNCTIONS);
        self.put(function);
        self.put("(");
        self.list(depth, 4);
        self.put(")");
    }

    fn expression(&mut self, depth: usize) {
        let kind = if depth > DEPTH_MAX || self.out.len() > LEN_MAX { 0 } else { self.below(16) };
        match kind {
            0..=4 => {
                let value = self.one(VALUES);
                self.put(value);
            }
            5..=6 => self.name(),
            7..=10 => self.call(depth),
            11 => {
                self.put("(");
                self.expression(depth + 1);
                let operator = self.one(OPERATORS);
                self.put(operator);
                self.expression(depth + 1);
                self.put(")");
            }
            12 => {
                self.put("{");
                self.list(depth, 4);
                self.put("}");
            }
            13 => {
                self.put("(function(...) ");
                self.block(depth + 1);
                self.put(" end)");
            }
            14 => {
                self.name();
                self.put("[");
                self.expression(depth + 1);
                self.put("]");
            }
            _ => {
                let sign = ["#", "-", "not "][self.below(3)];
                self.put(sign);
                self.put("(");
                self.expression(depth + 1);
                self.put(")");
            }
        }
    }

    fn block(&mut self, depth: usize) {
        for _ in 0..self.below(4) {
            self.statement(depth);
            self.put(" ");
        }
        if self.below(2) == 1 {
            self.put("return ");
            self.list(depth, 3);
        }
    }

    fn statement(&mut self, depth: usize) {
        let kind = if depth > DEPTH_MAX || self.out.len() > LEN_MAX { 0 } else { self.below(10) };
        match kind {
            0..=2 => {
                self.name();
                self.put("=");
                self.expression(depth + 1);
            }
            3 => {
                self.name();
                self.put("[");
                self.expression(depth + 1);
                self.put("]=");
                self.expression(depth + 1);
            }
            4 => self.braced("if ", " then ", depth),
            5 => self.braced("while ", " do ", depth),
            6 => {
                self.put("for i=1,");
                self.expression(depth + 1);
                self.put(" do ");
                self.block(depth + 1);
                self.put(" end");
            }
            7 => {
                self.put("for k,v in pairs({");
                self.list(depth, 3);
                self.put("}) do ");
                self.block(depth + 1);
                self.put(" end");
            }
            8 => {
                self.put("pcall(function(...) ");
                self.block(depth + 1);
                self.put(" end)");
            }
            _ => {
                self.put("v1=");
                self.call(depth);
            }
        }
        self.put(";");
    }

    fn braced(&mut self, begin: &str, middle: &str, depth: usize) {
        self.put(begin);
        self.expression(depth + 1);
        self.put(middle);
        self.block(depth + 1);
        self.put(" end");
    }
}

/// Answers commands with replies of every type, in turn.
struct Replies {
    commands: u32,
    asked: u32,
    ends_at: u32,
}

impl Embedder for Replies {
    fn command(&mut self, request: Request<'_>, proto: Proto, out: &mut Output) -> bool {
        self.commands += 1;
        let mut reply = Reply::new(out, proto);
        match self.commands % 9 {
            0 => reply.ok(),
            1 => reply.error("ERR no"),
            2 => reply.integer(i64::MIN),
            3 => reply.null(),
            4 => {
                reply.array(request.len());
                request.iter().for_each(|word| reply.bulk(word));
            }
            5 => {
                reply.map(2);
                reply.bulk(b"k");
                reply.double(f64::NAN);
                reply.null();
                reply.boolean(true);
            }
            6 => {
                reply.set(1);
                reply.double(f64::NAN);
            }
            7 => reply.verbatim("txt", b"text"),
            _ => (0..200).for_each(|_| reply.array(1)),
        }
        if self.commands % 9 == 8 {
            reply.null_array();
        }
        self.commands != self.ends_at
    }

    fn may_run(&mut self, request: Request<'_>) -> Option<bool> {
        (request.len() != 1).then_some(true)
    }

    fn log(&mut self, _: u8, _: &[u8]) {}

    fn set_replication(&mut self, _: u8) {}

    fn interrupt(&mut self) -> Option<String> {
        self.asked += 1;
        (self.asked > PATIENCE).then(|| "ERR over".to_owned())
    }

    fn stopwatch_ns(&self) -> u64 {
        u64::from(self.asked)
    }
}

/// Runs the script; false when the VM is not to be used any more.
fn run(vm: &mut Vm, code: &[u8], ends_at: u32) -> bool {
    let sha = digest(code);
    if !vm.has_script(&sha) && vm.compile(sha, code).is_err() {
        return true;
    }
    let mut host = Replies { commands: 0, asked: 0, ends_at };
    let words: [&[u8]; 2] = [b"k", b"\xFF\0"];
    let began = Instant::now();
    let _ = vm.eval(&sha, words.into_iter(), words.into_iter(), 7, &mut host);
    let mut out = Output::new();
    let _ = vm.reply(&mut Reply::new(&mut out, Proto::Resp3), &mut host);
    assert!(began.elapsed() < TIME_MAX, "{}", String::from_utf8_lossy(code));
    !vm.is_spent()
}

/// Checks that the environment of scripts is unchanged.
const UNTOUCHED: &[u8] = b"assert(rawget(_G,'x')==nil and ('a'):rep(2)=='aa' and getmetatable('').__index.rep \
    and redis.call and type(cjson.encode)=='function' and #KEYS==2 and pairs and next({1})==1)";

fuzz_target!(|data: &[u8]| {
    let (text, dice) = match data.split_first() {
        Some((0, text)) => (Some(text), text),
        _ => (None, data),
    };
    let mut writer = Writer { dice, out: "local v1,v2,v3,v4={},'text',3,function(...) return ... end ".into() };
    let ends_at = writer.below(256) as u32;
    writer.block(0);
    let code = text.unwrap_or(writer.out.as_bytes());
    let mut vm = Vm::new(MEMORY, SEED).expect("memory");
    if !run(&mut vm, code, ends_at) || !run(&mut vm, code, ends_at) {
        return;
    }
    let mut host = Replies { commands: 0, asked: 0, ends_at: 0 };
    let sha = digest(UNTOUCHED);
    vm.compile(sha, UNTOUCHED).expect("it is a script");
    let words: [&[u8]; 2] = [b"k", b"v"];
    let after = vm.eval(&sha, words.into_iter(), words.into_iter(), 7, &mut host);
    assert!(after.is_ok(), "{after:?} after {}", String::from_utf8_lossy(code));
});
