//! Commands that the syntax alone does not generate well: random picks with a certain result,
//! scans, `SORT` with patterns, scripts around other commands, and the limits of encodings.

use super::pools::Pools;
use super::{Command, word};
use crate::conformance::compare::EVERYTHING;

/// A count that is larger than the number of elements any program makes.
const ALL: &str = "100000";

/// Scripts that run the command in `ARGV`.
const SCRIPTS: &[&str] = &[
    "return redis.call(unpack(ARGV))",
    "return redis.pcall(unpack(ARGV))",
    "redis.setresp(3) return redis.call(unpack(ARGV))",
    "redis.setresp(3) return {redis.pcall(unpack(ARGV))}",
    "local r = redis.call(unpack(ARGV)) return r",
    "local r = redis.pcall(unpack(ARGV)) if type(r) == 'table' and r.err then return redis.error_reply(r.err) end return r",
    "local r = redis.pcall(unpack(ARGV)) return type(r)",
];

/// Commands whose answers are left to chance unless they take everything.
const RANDOM: &[&str] = &["spop", "srandmember", "hrandfield", "zrandmember"];

/// Commands that may wait.
const WAITING: &[&str] = &[
    "blpop",
    "brpop",
    "blmove",
    "blmpop",
    "brpoplpush",
    "bzpopmin",
    "bzpopmax",
    "bzmpop",
    "xread",
    "xreadgroup",
];

/// Whether other arguments leave a command's answer certain, and the server awake.
pub fn may_be_simplified(args: &[Vec<u8>]) -> bool {
    let delicate = |name: &String| {
        RANDOM.contains(&name.as_str()) || WAITING.contains(&name.as_str()) || name == "xautoclaim"
    };
    // A user without rules may do nothing, and `COMMAND` alone describes every command that exists.
    let about_users = matches!(word(args, 0).as_str(), "acl" | "auth" | "command");
    !about_users && !(0..args.len()).map(|at| word(args, at)).any(|name| delicate(&name))
}

/// The command that one of [`SCRIPTS`] runs.
pub fn inner_command(args: &[Vec<u8>]) -> Option<&[Vec<u8>]> {
    if !matches!(word(args, 0).as_str(), "eval" | "eval_ro") {
        return None;
    }
    let keys: usize = word(args, 2).parse().ok()?;
    args.get(keys.checked_add(3)?..).filter(|inner| !inner.is_empty())
}

/// Commands that make a consumer since 7.2 even if it gets nothing.
const CLAIMING: [&str; 3] = ["xclaim", "xautoclaim", "xreadgroup"];

/// Commands that make the consumers which a command is about, for an oracle before 7.2.
pub fn consumers_of(args: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
    let maker = |key: &[u8], group: &[u8], consumer: &[u8]| {
        let maker = [b"XGROUP", &b"CREATECONSUMER"[..], key, group, consumer];
        maker.iter().map(|arg| arg.to_vec()).collect()
    };
    match (word(args, 0).as_str(), args) {
        ("xclaim" | "xautoclaim", [_, key, group, consumer, ..]) => {
            vec![maker(key, group, consumer)]
        }
        ("xreadgroup", _) => {
            let whose = (1..args.len()).find(|at| word(args, *at) == "group");
            let Some([group, consumer, rest @ ..]) = whose.map(|at| &args[at + 1..]) else {
                return Vec::new();
            };
            let streams = (0..rest.len()).find(|at| word(rest, *at) == "streams");
            let behind = streams.map_or(&[][..], |at| &rest[at + 1..]);
            behind[..behind.len() / 2].iter().map(|key| maker(key, group, consumer)).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether an oracle before 7.2 can be asked this: consumers exist before anything is claimed for
/// them, scripts call nothing that waits, and `ZRANK` takes no option.
pub fn suits_older(commands: &[Command]) -> bool {
    (0..commands.len()).all(|at| {
        let args = &commands[at].args;
        let makers = consumers_of(args);
        let before = &commands[at.saturating_sub(makers.len())..at];
        let known = makers.len() == before.len()
            && makers.iter().zip(before).all(|(maker, command)| command.args == *maker);
        known
            && is_older(args)
            && inner_command(args).is_none_or(|inner| {
                let name = word(inner, 0);
                let waits = WAITING.contains(&name.as_str()) && name != "xread";
                is_older(inner) && !waits && !CLAIMING.contains(&name.as_str())
            })
    })
}

fn is_older(args: &[Vec<u8>]) -> bool {
    !(matches!(word(args, 0).as_str(), "zrank" | "zrevrank") && args.len() > 3)
}

/// The user that programs about permissions make.
pub const USER: &str = "u";

/// Creates a user who may use some of the keys, and authenticates the second client as that user.
pub fn user(pools: &mut Pools<'_>) -> [Command; 2] {
    let letters = ["s", "l", "e", "h", "z", "x", "p", "g", "S", "[A-M]", "get", ""];
    let mut rules = words(&["ACL", "SETUSER", USER, "reset", "on", ">pw", "+@all", "&*"]);
    for _ in 0..3 + pools.below(8) {
        let access = pools.pick(&["~", "~", "%R~", "%R~", "%W~", "%RW~"]);
        let (letter, number) = (pools.pick(&letters), pools.pick(&["*", "*", "1", "2", "*1"]));
        rules.push(format!("{access}{letter}{number}").into_bytes());
    }
    let sign_in = Command { client: 1, ..Command::new(&["AUTH", USER, "pw"]) };
    [Command { client: 0, args: rules }, sign_in]
}

/// Commands that say how many keys they have.
const COUNTING: &[&str] = &[
    "zunion",
    "zinter",
    "zdiff",
    "zintercard",
    "zunionstore",
    "zinterstore",
    "zdiffstore",
    "sintercard",
    "lmpop",
    "blmpop",
    "zmpop",
    "bzmpop",
];

/// Whether Redis 7.0 finds the keys of a command where the command itself will use them. It takes
/// the first word that looks like the one it looks for.
pub fn finds_keys_as_we_do(args: &[Vec<u8>]) -> bool {
    let times = |words: &[&str]| {
        (1..args.len()).filter(|at| words.contains(&word(args, *at).as_str())).count()
    };
    match word(args, 0).as_str() {
        // Of lists that do not come out even it finds some, and 7.2 words the refusal otherwise.
        name @ ("xread" | "xreadgroup") => {
            let streams = (1..args.len()).find(|at| word(args, *at) == "streams");
            let least = if name == "xread" { 1 } else { 4 };
            let even = |at: usize| at >= least && !(args.len() - at).is_multiple_of(2);
            times(&["streams"]) == 1 && streams.is_some_and(even)
        }
        "georadius" | "georadiusbymember" => times(&["store", "storedist"]) <= 1,
        "sort" => times(&["store"]) <= 1,
        // Where the number of keys is none, it is read as C does, and some are found.
        name if COUNTING.contains(&name) => !args.iter().skip(1).take(2).any(|arg| {
            let digits = arg.trim_ascii_start();
            let digits = digits.strip_prefix(b"+").unwrap_or(digits);
            digits.first().is_some_and(u8::is_ascii_digit) && resp::parse_i64(arg).is_none()
        }),
        // Of the destination alone it says that this is no key.
        "pfmerge" => args.len() > 2,
        _ => true,
    }
}

/// Whether a scan's `COUNT` covers everything.
pub fn ends_with_all(args: &[Vec<u8>]) -> bool {
    args.windows(2).any(|pair| word(pair, 0) == "count" && pair[1] == ALL.as_bytes())
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// The command, if it is one of chance: it takes everything, or nothing.
pub fn random_pick(args: &[Vec<u8>], pools: &mut Pools<'_>) -> Option<Vec<Vec<u8>>> {
    let name = word(args, 0);
    if !RANDOM.contains(&name.as_str()) {
        return None;
    }
    let mut args: Vec<Vec<u8>> = args.iter().take(2).cloned().collect();
    let counts: &[&str] = match name.as_str() {
        "spop" => &[ALL, ALL, ALL, "0", "-1", "abc"],
        _ => &[ALL, ALL, ALL, "0", "-5", "abc", ""],
    };
    let count = pools.pick(counts);
    if !count.is_empty() {
        args.push(count.into());
        let with = if name == "zrandmember" { "WITHSCORES" } else { "WITHVALUES" };
        if name != "spop" && pools.chance(30) {
            args.push(with.into());
        }
    }
    debug_assert!(ALL.parse().is_ok_and(|all: i64| all > EVERYTHING));
    Some(args)
}

/// A scan, mostly of everything.
pub fn scan(pools: &mut Pools<'_>) -> Vec<Vec<u8>> {
    let (name, letter) =
        *pools.pick(&[&("SCAN", ""), &("HSCAN", "h"), &("SSCAN", "e"), &("ZSCAN", "z")]);
    let mut args = words(&[name]);
    if !letter.is_empty() {
        let other = pools.pick(&["", "", "", "", "", "", "l", "s"]);
        let letter = if other.is_empty() { letter } else { other };
        args.push(format!("{letter}{}", 1 + pools.below(3)).into_bytes());
    }
    args.push(pools.pick(&["0", "0", "0", "0", "0", "0", "abc", "-1", ""]).into());
    if pools.chance(40) {
        args.extend([
            b"MATCH".to_vec(),
            pools.pick(&["*", "a*", "m1*", "*1", "[a-c]", "?", "nothing"]).into(),
        ]);
    }
    if letter.is_empty() && pools.chance(30) {
        args.extend([
            b"TYPE".to_vec(),
            pools.pick(&["string", "hash", "zset", "LIST", "foo"]).into(),
        ]);
    }
    args.extend([
        b"COUNT".to_vec(),
        pools.pick(&[ALL, ALL, ALL, ALL, ALL, ALL, "0", "abc"]).into(),
    ]);
    args
}

/// Lexical ranges mean something only where all scores are equal: they are asked of keys of their
/// own, which [`lexical_members`] fills.
pub fn lexical(mut args: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let name = word(&args, 0);
    let lexical = name.contains("lex") || (0..args.len()).any(|at| word(&args, at) == "bylex");
    let source = if name == "zrangestore" { 2 } else { 1 };
    match args.get_mut(source) {
        Some(key) if lexical && key.first() == Some(&b'z') => key[0] = b'y',
        _ => {}
    }
    args
}

/// Redis's compact sorted sets have no negative zero, the others have one; ours never do.
pub fn without_negative_zero(args: &mut [Vec<u8>]) {
    if word(args, 0).starts_with('z') {
        args.iter_mut().filter(|arg| *arg == b"-0").for_each(|arg| *arg = b"0".to_vec());
    }
}

/// Members of one score.
pub fn lexical_members(pools: &mut Pools<'_>) -> Vec<Vec<u8>> {
    let mut args = words(&["ZADD", &format!("y{}", 1 + pools.below(3))]);
    for _ in 0..pools.times(true) {
        args.extend([b"0".to_vec(), pools.element()]);
    }
    args
}

/// Something about a whole database, or another one.
pub fn database(pools: &mut Pools<'_>) -> Vec<Vec<u8>> {
    let index = |pools: &mut Pools<'_>| pools.pick(&["0", "1", "0", "1", "16", "x", "2147483648"]);
    match pools.below(8) {
        0 => words(&["FLUSHDB"]),
        1 => words(&["SWAPDB", index(pools), index(pools)]),
        2 => words(&["DBSIZE"]),
        _ => words(&["SELECT", index(pools)]),
    }
}

/// Everything about a stream.
pub fn stream_info(pools: &mut Pools<'_>) -> Vec<Vec<u8>> {
    let key = format!("x{}", 1 + pools.below(3));
    words(&["XINFO", "STREAM", &key, "FULL", "COUNT", "0"])
}

/// A user to whom some commands are forbidden.
pub const LIMITED: &str = "limited";

/// Makes it.
pub fn limited_user() -> Vec<Vec<u8>> {
    let rules = ["reset", "on", "nopass", "~*", "&*", "+@all", "-@hash", "-append"];
    let mut args = words(&["ACL", "SETUSER", LIMITED]);
    args.extend(words(&rules));
    args
}

/// A command that is refused before it runs, because of its name, its number of arguments or its
/// flags; some of them only to a user who is [`LIMITED`].
pub fn refused(pools: &mut Pools<'_>) -> Vec<Vec<u8>> {
    let line = pools.pick(&[
        "NOSUCH",
        "NOSUCH a b",
        "GET",
        "SET s1",
        "XGROUP",
        "XGROUP NOSUCH x1 g1",
        "OBJECT ENCODING",
        "WATCH s1",
        "EXEC 1",
        "HSET h1 a 1",
        "APPEND s1 x",
        "HGETALL h1",
        "EVAL return",
    ]);
    words(&line.split(' ').collect::<Vec<_>>())
}

/// `SORT` of something, by weights that [`sort_weights`] sets.
pub fn sort(pools: &mut Pools<'_>) -> Vec<Vec<u8>> {
    let read_only = pools.chance(25);
    let mut args = words(&[if read_only { "SORT_RO" } else { "SORT" }]);
    let letter = pools.pick(&["l", "l", "l", "e", "e", "z", "z", "s"]);
    args.push(format!("{letter}{}", 1 + pools.below(3)).into_bytes());
    let by = pools.pick(&["", "", "w_*", "hw_*->f", "nosort", "w_x", "*"]);
    // The order of a set is its own.
    let by = if by == "nosort" && letter == "e" { "" } else { by };
    if !by.is_empty() {
        args.extend(words(&["BY", by]));
    }
    if pools.chance(30) {
        let bound = |pools: &mut Pools<'_>| pools.pick(&["0", "1", "2", "-1", "10", "x"]).into();
        args.push(b"LIMIT".to_vec());
        args.extend([bound(pools), bound(pools)]);
    }
    for _ in 0..pools.below(3) {
        args.extend([
            b"GET".to_vec(),
            pools.pick(&["#", "w_*", "hw_*->f", "hw_*->g", "*", "x"]).into(),
        ]);
    }
    let order = pools.pick(&["", "ASC", "DESC"]);
    args.extend((!order.is_empty()).then(|| order.into()));
    // Equal weights leave equal words in any order.
    let alpha = by.is_empty() && pools.chance(60);
    args.extend(alpha.then(|| b"ALPHA".to_vec()));
    if pools.chance(20) {
        args.extend([b"STORE".to_vec(), format!("l{}", 1 + pools.below(3)).into_bytes()]);
    }
    args
}

/// Gives an element a weight, as a string or in a hash.
pub fn sort_weight(pools: &mut Pools<'_>) -> Vec<Vec<u8>> {
    let element = pools.pick(&["a", "b", "c", "d", "1", "2", "3", "10", ""]);
    let weight = pools.pick(&["1", "2", "3", "-1", "1.5", "0", "x", "inf"]);
    match pools.below(3) {
        0 => words(&["HSET", &format!("hw_{element}"), pools.pick(&["f", "g"]), weight]),
        1 => words(&["DEL", &format!("w_{element}")]),
        _ => words(&["SET", &format!("w_{element}"), weight]),
    }
}

/// A script around a command.
pub fn script(inner: Vec<Vec<u8>>, keys: &[Vec<u8>], pools: &mut Pools<'_>) -> Vec<Vec<u8>> {
    let name = if pools.chance(10) { "EVAL_RO" } else { "EVAL" };
    let script = pools.pick(SCRIPTS);
    // The fields of XINFO as a Lua table come back in any order.
    let script = if word(&inner, 0) == "xinfo" { SCRIPTS[0] } else { script };
    let mut args = words(&[name, script]);
    let keys = if pools.chance(70) { keys } else { &[] };
    args.push(keys.len().to_string().into_bytes());
    args.extend(keys.iter().cloned());
    args.extend(inner);
    args
}

/// The directives with the limits of packed encodings, and their initial values.
pub const LIMITS: &[(&str, &str)] = &[
    ("hash-max-listpack-entries", "512"),
    ("hash-max-listpack-value", "64"),
    ("list-max-listpack-size", "-2"),
    ("set-max-intset-entries", "512"),
    ("zset-max-listpack-entries", "128"),
    ("zset-max-listpack-value", "64"),
    ("stream-node-max-entries", "100"),
    ("hll-sparse-max-bytes", "3000"),
];

/// Another limit.
pub fn limit(pools: &mut Pools<'_>) -> Vec<Vec<u8>> {
    let (name, _) = LIMITS[pools.below(LIMITS.len() as u64) as usize];
    let value = match name {
        "list-max-listpack-size" => pools.pick(&["-1", "-2", "2", "4", "1"]),
        "stream-node-max-entries" => pools.pick(&["1", "2", "4", "100"]),
        "hll-sparse-max-bytes" => pools.pick(&["0", "100", "300", "3000"]),
        _ => pools.pick(&["0", "2", "4", "16"]),
    };
    words(&["CONFIG", "SET", name, value])
}

/// Resets the limits to their initial values.
pub fn limits_as_usual() -> Vec<Vec<u8>> {
    let mut args = words(&["CONFIG", "SET"]);
    args.extend(LIMITS.iter().flat_map(|(name, value)| words(&[name, value])));
    args
}
