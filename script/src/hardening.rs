//! Tests that the patched Lua refuses unsafe operations, and that no script can end the process or
//! run for ever: a case for each entry of `lua/README.md`, and for our own libraries.

use super::{LIMIT, Recorder, SEED, message, run};
use crate::Vm;
use std::time::{Duration, Instant};

/// Returns the code's answer, or its error.
fn answer(code: &str) -> String {
    let mut vm = Vm::new(LIMIT, SEED).expect("memory");
    let mut host = Recorder::default();
    match run(&mut vm, code, &mut host) {
        Ok(reply) => reply,
        Err(failed) => String::from_utf8_lossy(&failed.message).into_owned(),
    }
}

fn all(cases: &[(&str, &str)]) {
    for (code, expected) in cases {
        let got = answer(code);
        assert!(got.contains(expected), "{code}\n{got}");
    }
}

#[test]
fn ranges_do_not_overflow() {
    all(&[
        ("return tostring(unpack({},0,2147483647))", "too many results to unpack"),
        ("return unpack({},-2147483648,2147483647)", "too many results to unpack"),
        ("return unpack({},1,1e9)", "too many results to unpack"),
        ("return select('#',unpack({},2147483647,2147483647))", ":1\r\n"),
        ("return select('#',unpack({},-2147483648,-2147483648))", ":1\r\n"),
        ("return unpack({1},1,0)", "$-1\r\n"),
        ("return string.byte(('x'):rep(9000),1,-1)", "string slice too long"),
        ("return #string.byte('x',-1e300,1e300) == 1", "attempt to get length"),
        ("return string.sub('abc',-2147483648,2147483647)", "abc"),
        ("return table.concat({1,2},',',2147483647,2147483647)", "invalid value (nil)"),
        ("return #table.concat({},',',2147483647,-2147483648)", ":0\r\n"),
        ("return bit.tohex(1,-2147483648)", "00000001"),
        ("return bit.tohex(255,2147483647)", "000000ff"),
        ("return struct.pack('i99',1)", "larger than limit"),
        ("return struct.unpack('I4294967296','x')", "integral size overflow"),
        ("return struct.unpack('c2147483647','x')", "data string too short"),
        ("return struct.unpack('i4','abcd',2147483647)", "data string too short"),
        ("return struct.unpack('i4','abcd',0)", "offset must be 1 or greater"),
        ("return cmsgpack.unpack('\\221\\255\\255\\255\\255')", "Missing bytes"),
        ("return cmsgpack.unpack('\\219\\255\\255\\255\\255')", "Missing bytes"),
        ("return cmsgpack.unpack_limit('\\1',-1)", "Invalid request"),
        ("return cmsgpack.unpack_one('\\1',2147483647)", "greater than input length"),
    ]);
}

#[test]
fn nesting_has_an_end() {
    all(&[
        ("return loadstring('return '..('('):rep(300)..'1'..(')'):rep(300))==nil", ":1\r\n"),
        ("local _,e=loadstring('x='..('{'):rep(300)) return e", "too many syntax levels"),
        ("local _,e=loadstring(('a,'):rep(300)..'a=1') return e", "variables in assignment"),
        ("return string.find(('a'):rep(3000),('a?'):rep(3000))", "pattern too complex"),
        ("return string.find(('a'):rep(3000),('(a)'):rep(3000))", "too many captures"),
        ("return #string.match(('a'):rep(300),('a?'):rep(300))", ":300\r\n"),
        ("local function f() return pcall(f) end local r={f()} return r[#r]", "stack overflow"),
        ("local function f(s) return (s:gsub('.',f)) end return f('a')", "stack overflow"),
        ("local function f() return coroutine.wrap(f)() end return f()", "stack overflow"),
        ("local function f() return 1+f() end return f()", "stack overflow"),
        ("local t={} for i=1,5000 do t={t} end return t", "reached lua stack limit"),
        ("local t={} for i=1,5000 do t={t} end return cjson.encode(t)", "excessive nesting"),
        ("return cjson.decode(('['):rep(5000))", "too many nested"),
        ("local t={} for i=1,5000 do t={t} end return #cmsgpack.pack(t)", ":17\r\n"),
        ("return cmsgpack.unpack(('\\145'):rep(5000))", "too many nested"),
        ("local t=setmetatable({},{}) getmetatable(t).__index=t return t.x", "loop in gettable"),
        ("local t={} t[1]=t return #cmsgpack.pack(t)", ":17\r\n"),
    ]);
}

#[test]
fn what_is_many_times_the_same_is_counted_as_often() {
    const DOUBLED: &str = "local t={1} for i=1,100 do t={t,t} end ";
    for (end, expected) in [
        ("return t", "larger than a script may hold"),
        ("return cjson.encode(t)", "not enough memory"),
        (
            "local s=('x'):rep(1e6) local a={} for i=1,7000 do a[i]=s end redis.call('a',unpack(a))",
            "not enough memory",
        ),
        (
            "local s=('x'):rep(1e6) local a={} for i=1,9 do a={a,s,s,s,s,a} end return #cmsgpack.pack(a)",
            "not enough memory",
        ),
        ("return cjson.decode('['..('[],'):rep(1e6)..'1]')", "not enough memory"),
        (
            "return cmsgpack.unpack('\\221\\0\\16\\0\\0'..('\\144'):rep(0x100000))",
            "not enough memory",
        ),
        (
            "cjson.encode_sparse_array(true,0) return cjson.encode({[2147483647]=1})",
            "not enough memory",
        ),
        ("local n=0 return load(function() n=n+1 return ('x'):rep(1e6) end)", "not enough memory"),
        ("return ('x'):rep(1e9)", "not enough memory"),
        (
            "return struct.pack(('c1000000'):rep(100),unpack((function(s) local t={} for i=1,100 do t[i]=s end return t end)(('x'):rep(1e6))))",
            "not enough memory",
        ),
    ] {
        let got = answer(&format!("{DOUBLED}{end}"));
        assert!(got.contains(expected), "{end}\n{}", &got[..got.len().min(200)]);
    }
}

#[test]
fn text_is_all_that_is_compiled() {
    all(&[
        ("return string.dump == nil", ":1\r\n"),
        ("local _,e=loadstring('\\27Lua') return e", "unexpected symbol near 'char(27)'"),
        (
            "local n=0 local _,e=load(function() n=n+1 return n==1 and '\\27Lua' or nil end) return e",
            "char(27)",
        ),
        ("local _,e=loadstring('['..('='):rep(1e5)) return e", "invalid long string delimiter"),
        ("local _,e=loadstring('[==[]=') return e", "unfinished long string"),
        ("local _,e=loadstring('x=[===[a]==]') return e", "unfinished long string"),
        ("return loadstring('return [==[a]=]b]==]')()", "a]=]b"),
    ]);
}

/// CVE-2025-49844: the name of a chunk is freed unless it is kept while the chunk is compiled.
#[test]
fn a_chunk_keeps_its_name_while_it_is_compiled() {
    let code = "collectgarbage('setpause',1) collectgarbage('setstepmul',100000) \
        local body={} for i=1,3000 do body[i]='local function f'..(i%50)..'() return \"'..i..'\" end do end ' \
        if i%50==0 then body[i]='do local x={} end ' end end \
        local text='do '..table.concat(body,' end do ')..' end error([[here]])' \
        local f=assert(loadstring(text,'name'..('n'):rep(40))) \
        local ok,e=pcall(f) return e";
    let got = answer(code);
    assert!(got.contains("namennnnnnnn"), "{got}");
}

/// CVE-2024-46981: a VM goes while its collector is in the middle of a cycle.
#[test]
fn a_vm_ends_wherever_its_collector_is() {
    for steps in 0..40 {
        let mut vm = Vm::new(LIMIT, SEED).expect("memory");
        let code = format!(
            "local t={{}} for i=1,2000 do t[i]={{i}} end for i=1,{steps} do collectgarbage('step',1) end \
             collectgarbage('stop') return 1"
        );
        assert_eq!(run(&mut vm, &code, &mut Recorder::default()).as_deref(), Ok(":1\r\n"));
    }
}

#[test]
fn the_collector_works_for_the_next_script_whatever_was_set() {
    for set in ["'stop'", "'setpause',1000000000", "'setstepmul',-5", "'setpause',-1"] {
        let mut vm = Vm::new(LIMIT, SEED).expect("memory");
        let mut host = Recorder::default();
        run(
            &mut vm,
            &format!("collectgarbage({set}) collectgarbage('collect') collectgarbage({set})"),
            &mut host,
        )
        .expect("no error");
        let code = "for i=1,1e6 do local t={i} end return 1";
        assert_eq!(run(&mut vm, code, &mut host).as_deref(), Ok(":1\r\n"), "{set}");
    }
}

#[test]
fn sorting_with_any_order_ends() {
    for order in [
        "return true",
        "return false",
        "return nil",
        "n=n+1 return n%3==0",
        "return b<a and a<b or n",
    ] {
        let code = format!(
            "local n=0 local t={{}} for i=1,200 do t[i]=(i*7919)%31 end \
             local ok,e=pcall(table.sort,t,function(a,b) {order} end) return {{#t, tostring(e)}}"
        );
        let got = answer(&code);
        let fine = got.contains("nil") || got.contains("invalid order function");
        assert!(got.starts_with("*2\r\n:200\r\n") && fine, "{order}: {got}");
    }
}

/// Loops of libraries, none of which ends by itself within years (or would take all memory).
const ENDLESS: [&str; 11] = [
    "table.insert({},-2147483648,1)",
    "string.find(('a'):rep(60),('a?'):rep(60)..('a'):rep(60))",
    "string.match(('a'):rep(60),('a*'):rep(30)..'b')",
    "string.gsub(('a'):rep(60),('a-'):rep(30)..'b','')",
    "for _ in string.gmatch(('a'):rep(60),('a+'):rep(30)..'b') do end",
    "local s=('a'):rep(2e6) while true do string.find(s,'b'..s,1,true) s.find(s,'%bab') end",
    "local t={} for i=1,1e5 do t[i]=i end while true do table.insert(t,1,1) table.remove(t,1) end",
    "local s=('x'):rep(3e6) while true do local x=s..'y' end",
    "local t={} for i=1,1e5 do t[i]=('x'):rep(20)..i end while true do table.sort(t) t[1],t[9]=t[9],t[1] end",
    "local function f() coroutine.wrap(function() for i=1,9e4 do end f() end)() end while true do pcall(f) end",
    "local t={1} for i=1,60 do t={t,t} end while true do pcall(cmsgpack.pack,t) end",
];

#[test]
fn what_takes_for_ever_can_be_ended_within_its_loops() {
    for code in ENDLESS {
        let mut vm = Vm::new(64 << 20, SEED).expect("memory");
        let mut host = Recorder { patience: Some(20), ..Recorder::default() };
        let began = Instant::now();
        let failed = message(run(&mut vm, code, &mut host));
        assert!(failed.starts_with("ERR killed"), "{code}: {failed}");
        assert!(began.elapsed() < Duration::from_secs(20), "{code}: {:?}", began.elapsed());
    }
}

#[test]
fn work_that_is_not_instructions_is_counted_for_who_does_it() {
    // These take only a few instructions, so only the additional charge can make them ask the host.
    for code in [
        "local s=('x'):rep(1e6) for i=1,20 do redis.sha1hex(s) end",
        "local t={} for i=1,2e4 do t[i]=i end for i=1,20 do cjson.encode(t) end",
        "local s='['..('1,'):rep(2e4)..'1]' for i=1,20 do cjson.decode(s) end",
        "local t={} for i=1,2e4 do t[i]=i end for i=1,20 do cmsgpack.unpack(cmsgpack.pack(t)) end",
        "local s=('x'):rep(1e6) for i=1,20 do redis.call('a',s) end",
        "local t={} for i=1,1e4 do t[i]={} end for i=1,20 do collectgarbage() end",
        "for i=1,20 do coroutine.wrap(function() for i=1,3e4 do end end)() end",
    ] {
        let mut vm = Vm::new(64 << 20, SEED).expect("memory");
        let mut host = Recorder::default();
        run(&mut vm, code, &mut host).expect(code);
        assert!(host.interrupts >= 2, "{code}: asked {} times", host.interrupts);
    }
}

#[test]
fn a_long_reply_is_counted_and_can_be_ended_within() {
    let code = "return #redis.call('a')";
    let mut vm = Vm::new(64 << 20, SEED).expect("memory");
    let mut host = Recorder { texts: 500_000, ..Recorder::default() };
    assert_eq!(run(&mut vm, code, &mut host).as_deref(), Ok(":500000\r\n"));
    assert!(host.interrupts >= 4, "asked {} times", host.interrupts);
    host.patience = Some(host.interrupts);
    assert!(message(run(&mut vm, code, &mut host)).starts_with("ERR killed"));
    let mut small = Vm::new(4 << 20, SEED).expect("memory");
    host.patience = None;
    assert!(message(run(&mut small, code, &mut host)).contains("not enough memory"));
}

#[test]
fn strings_that_differ_anywhere_are_told_apart_at_once() {
    // As long as documents, all alike but for one digit far from what stock Lua looks at.
    let code = "local n=0 local t={} for i=1,20000 do \
        local s=('x'):rep(997)..string.format('%05d',i)..('y'):rep(898) t[s]=i n=n+1 end return n";
    let began = Instant::now();
    let mut vm = Vm::new(256 << 20, SEED).expect("memory");
    assert_eq!(run(&mut vm, code, &mut Recorder::default()).as_deref(), Ok(":20000\r\n"));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

/// Measures how long it takes to make a table of these numbers, given by their low and high 32
/// bits.
fn time_of_numbers(low: &str, high: &str) -> Duration {
    let code = format!(
        "local t={{}} local n=0 for i=1,60000 do \
         t[(struct.unpack('<d',struct.pack('<I4I4',{low},{high})))]=i n=n+1 end \
         local seen=0 for k,v in pairs(t) do seen=seen+1 assert(t[k]==v) end return {{n,seen}}"
    );
    let began = Instant::now();
    assert_eq!(answer(&code), "*2\r\n:60000\r\n:60000\r\n");
    began.elapsed()
}

#[test]
fn numbers_that_were_made_to_collide_do_not() {
    // The hash of stock Lua is the sum of the halves.
    let colliding = time_of_numbers("i", "0x4fffffff-i");
    let usual = time_of_numbers("i*7919", "0x4f000000+i%977");
    assert!(colliding < usual * 5 + Duration::from_millis(500), "{colliding:?}, {usual:?}");
}

/// The hash that decides where a short string is in a table.
fn plain_hash(text: &[u8]) -> u32 {
    text.iter().rev().fold(text.len() as u32, |h, &b| {
        h ^ (h << 5).wrapping_add(h >> 2).wrapping_add(u32::from(b))
    })
}

#[test]
fn strings_that_were_made_to_collide_are_all_found() {
    let texts = (0_u32..).map(|n| format!("k{n}"));
    let colliding: Vec<String> =
        texts.filter(|text| plain_hash(text.as_bytes()) % 4096 == 7).take(300).collect();
    let words = colliding.join(" ");
    let code = format!(
        "local t={{}} local n=0 for w in ('{words}'):gmatch('%S+') do n=n+1 t[w]=n end \
         local m=0 for w in ('{words}'):gmatch('%S+') do m=m+1 assert(t[w]==m) end \
         for k in pairs(t) do t[k]=nil end return {{n,m,next(t)==nil}}"
    );
    assert_eq!(answer(&code), "*3\r\n:300\r\n:300\r\n:1\r\n");
}

#[test]
fn metatables_of_basic_types_cannot_be_changed() {
    all(&[
        ("getmetatable('').__index=nil", "readonly"),
        ("getmetatable('').__add=function() end", "readonly"),
        ("rawset(getmetatable(''),'__index',1)", "readonly"),
        ("setmetatable(getmetatable(''),{})", "readonly"),
        ("setmetatable('',{})", "table expected"),
        (
            "return getmetatable(1) == nil and getmetatable(nil) == nil and getmetatable(true) == nil",
            ":1\r\n",
        ),
        ("return getmetatable(print_or_nil)", "nonexistent global variable"),
        ("server.call = 1", "readonly"),
        ("rawset(server,'x',1)", "readonly"),
        ("return server.call == redis.call and server.SERVER_NAME", "varve"),
    ]);
}
