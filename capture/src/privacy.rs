//! Which arguments of a request are keys, names and values, by the command's row; and what becomes of
//! them when a capture must not give them away.

use crate::format::Arg;
use engine::command::{Argument, ArgumentKind, CommandId, CommandTable, arguments};
use engine::text::args::OwnedRequest;
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// The role of an argument, which decides whether it is private.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The command's own words and numbers.
    Plain,
    /// A key.
    Key,
    /// A name among others of its kind: members, fields, channels, patterns.
    Name,
    /// A value that is only kept: values, elements, messages.
    Value,
}

/// The parts of captured requests to hide.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Privacy {
    /// Hash keys.
    pub hash_keys: bool,
    /// Leave what stands before the first `:` of a key as it is.
    pub keep_prefixes: bool,
    /// Replace values by filler of the same length; hash members, fields and channels.
    pub scrub_values: bool,
}

/// The roles of arguments, by Varve's table of commands.
pub struct Roles {
    table: CommandTable,
    grammars: HashMap<CommandId, Vec<Argument>>,
}

impl Default for Roles {
    fn default() -> Self {
        let table = CommandTable::new(commands::all());
        let table = table.expect("built-in commands have distinct names");
        Roles { table, grammars: HashMap::new() }
    }
}

impl Roles {
    /// The table.
    pub fn table(&self) -> &CommandTable {
        &self.table
    }

    /// One role per argument. Of a command that is not known, everything but its name is a value.
    pub fn of(&mut self, args: &[&[u8]]) -> Vec<Role> {
        let request = OwnedRequest::new(args.iter().copied());
        let Some(entry) = self.table.resolve(request.view()) else {
            let role = |index| if index == 0 { Role::Plain } else { Role::Value };
            return (0..args.len()).map(role).collect();
        };
        let words = 1 + usize::from(entry.parent.is_some());
        let grammar = self.grammars.entry(entry.id).or_insert_with(|| {
            // The table's tests read every row's syntax.
            arguments(entry.spec).unwrap_or_default()
        });
        let mut matcher = Matcher { args, at: words, roles: vec![Role::Plain; words] };
        matcher.sequence(grammar, 0);
        let mut roles = matcher.roles;
        let rest = args.get(roles.len()..).unwrap_or_default();
        roles.extend(rest.iter().map(|arg| unmatched(arg, grammar)));
        roles.truncate(args.len());
        // An argument that the syntax calls a key is one only if the key specs agree.
        for (role, arg) in roles.iter_mut().zip(args).skip(words) {
            if *role == Role::Key {
                *role = unmatched(arg, grammar);
            }
        }
        for key in entry.keys(request.view()).into_iter().flatten() {
            roles[key.index] = Role::Key;
        }
        roles
    }
}

/// The role of an argument that the syntax does not place.
fn unmatched(arg: &[u8], grammar: &[Argument]) -> Role {
    if is_number(arg) || has_token(grammar, arg) { Role::Plain } else { Role::Value }
}

fn has_token(grammar: &[Argument], arg: &[u8]) -> bool {
    grammar.iter().any(|one| one_starts(one, arg) || has_token(&one.arguments, arg))
}

fn is_token(argument: &Argument, arg: &[u8]) -> bool {
    let pure = argument.kind == ArgumentKind::PureToken;
    let token = argument.token.as_deref().or(pure.then_some(argument.name.as_str()));
    token.is_some_and(|token| arg.eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether `arg` is a token that introduces `argument`.
fn one_starts(argument: &Argument, arg: &[u8]) -> bool {
    match argument.kind {
        ArgumentKind::OneOf => argument.arguments.iter().any(|inner| one_starts(inner, arg)),
        ArgumentKind::Block if argument.token.is_none() => {
            argument.arguments.first().is_some_and(|inner| one_starts(inner, arg))
        }
        _ => is_token(argument, arg),
    }
}

/// Whether a token introduces it.
fn has_start(argument: &Argument) -> bool {
    match argument.kind {
        ArgumentKind::PureToken => true,
        ArgumentKind::OneOf => argument.arguments.iter().any(has_start),
        ArgumentKind::Block if argument.token.is_none() => {
            argument.arguments.first().is_some_and(has_start)
        }
        _ => argument.token.is_some(),
    }
}

/// The fewest words that all of these take.
fn least(grammar: &[Argument]) -> usize {
    grammar.iter().filter(|argument| !argument.optional).map(least_of).sum()
}

fn least_of(argument: &Argument) -> usize {
    let token = usize::from(argument.token.is_some());
    match argument.kind {
        ArgumentKind::PureToken => 1,
        ArgumentKind::OneOf => token + argument.arguments.iter().map(least_of).min().unwrap_or(0),
        ArgumentKind::Block => token + least(&argument.arguments),
        _ => token + 1,
    }
}

/// Bounds and stream ids: `5`, `(1.5`, `1-0`, `-`, `+inf`, `$`.
fn is_number(arg: &[u8]) -> bool {
    let bare = arg.strip_prefix(b"(").unwrap_or(arg);
    let digits = |byte: &u8| byte.is_ascii_digit() || b"+-.".contains(byte);
    let known = [&b"*"[..], b"$", b">", b"inf", b"+inf", b"-inf", b"~", b"="];
    arg.len() <= 40
        && (bare.iter().all(digits) || known.iter().any(|k| bare.eq_ignore_ascii_case(k)))
}

struct Matcher<'a> {
    args: &'a [&'a [u8]],
    at: usize,
    roles: Vec<Role>,
}

impl Matcher<'_> {
    fn left(&self) -> usize {
        self.args.len().saturating_sub(self.at)
    }

    /// Matches `grammar` in order, leaving `reserve` words for what follows it.
    fn sequence(&mut self, grammar: &[Argument], reserve: usize) {
        let mut index = 0;
        while let Some(argument) = grammar.get(index) {
            let options = grammar[index..].iter().take_while(|a| a.optional && has_start(a));
            let options = options.count();
            if options > 0 {
                // Options come in any order.
                let group = &grammar[index..index + options];
                let after = reserve + least(&grammar[index + options..]);
                while let Some(&arg) = self.args.get(self.at)
                    && let Some(option) = group.iter().find(|option| one_starts(option, arg))
                {
                    self.one(option, after);
                }
                index += options;
                continue;
            }
            index += 1;
            let after = reserve + least(&grammar[index..]);
            if !argument.optional
                || self.left() >= after + least_of(argument) && self.left() > after
            {
                self.one(argument, after);
            }
        }
    }

    /// Matches one argument, and its repetitions.
    fn one(&mut self, argument: &Argument, reserve: usize) {
        let mut first = true;
        while self.at < self.args.len() {
            if argument.token.is_some() && (first || argument.multiple_token) {
                if !is_token(argument, self.args[self.at]) && !first {
                    break;
                }
                self.take(Role::Plain);
            }
            self.value(argument, reserve);
            first = false;
            let enough = self.left() < reserve + least_of(argument).max(1);
            let stops = argument.multiple_token
                && !self.args.get(self.at).is_some_and(|arg| is_token(argument, arg));
            if !argument.multiple || enough || stops {
                break;
            }
        }
    }

    fn value(&mut self, argument: &Argument, reserve: usize) {
        match argument.kind {
            ArgumentKind::PureToken if argument.token.is_some() => {}
            ArgumentKind::PureToken => self.take(Role::Plain),
            ArgumentKind::Block => self.sequence(&argument.arguments, reserve),
            ArgumentKind::OneOf => {
                let arg = self.args.get(self.at).copied().unwrap_or_default();
                let starts = argument.arguments.iter().find(|inner| one_starts(inner, arg));
                let plain = argument.arguments.iter().find(|inner| !has_start(inner));
                match starts.or(plain) {
                    Some(inner) => self.one(inner, reserve),
                    None => self.take(Role::Plain),
                }
            }
            _ => {
                let arg = self.args.get(self.at).copied().unwrap_or_default();
                self.take(role(argument, arg));
            }
        }
    }

    fn take(&mut self, role: Role) {
        if self.at < self.args.len() {
            self.roles.push(role);
            self.at += 1;
        }
    }
}

fn role(argument: &Argument, arg: &[u8]) -> Role {
    use ArgumentKind::{Double, Integer, Key, Pattern, UnixTime};
    match (argument.kind, argument.name.as_str()) {
        (Key, _) => Role::Key,
        (Pattern, _) => Role::Name,
        (Integer | Double | UnixTime, _) => Role::Plain,
        (
            _,
            "member" | "member1" | "member2" | "field" | "group" | "consumer" | "channel" | "pivot"
            | "shardchannel" | "newconsumer",
        ) => Role::Name,
        (
            _,
            "script" | "sha1" | "function" | "function-code" | "increment" | "type" | "protover",
        ) => Role::Plain,
        (_, "id" | "start" | "end" | "stop" | "min" | "max" | "threshold" | "bit" | "offset")
            if is_number(arg) =>
        {
            Role::Plain
        }
        _ => Role::Value,
    }
}

/// Hides what [`Privacy`] says; the same bytes become the same hash within one capture, and nothing
/// that is kept lets anyone try keys out.
pub struct Veil {
    privacy: Privacy,
    secret: RandomState,
}

impl Veil {
    /// A veil with a secret of its own.
    pub fn new(privacy: Privacy) -> Self {
        Veil { privacy, secret: RandomState::new() }
    }

    /// The arguments as they may be written down.
    pub fn apply<'a>(&self, args: &[&'a [u8]], roles: &mut Roles) -> Vec<Arg<'a>> {
        if !self.privacy.hash_keys && !self.privacy.scrub_values {
            return args.iter().map(|arg| Arg::Bytes(Cow::Borrowed(*arg))).collect();
        }
        let hide = |(arg, role): (&&'a [u8], Role)| match role {
            Role::Key if self.privacy.hash_keys => Arg::Bytes(Cow::Owned(self.hash_key(arg))),
            Role::Name if self.privacy.scrub_values => Arg::Bytes(Cow::Owned(self.hash(arg))),
            Role::Value if self.privacy.scrub_values => Arg::Filler(arg.len() as u64),
            _ => Arg::Bytes(Cow::Borrowed(*arg)),
        };
        args.iter().zip(roles.of(args)).map(hide).collect()
    }

    fn hash_key(&self, key: &[u8]) -> Vec<u8> {
        let colon = key.iter().position(|byte| *byte == b':');
        match colon.filter(|_| self.privacy.keep_prefixes) {
            Some(at) => [&key[..=at], &self.hash(&key[at + 1..])].concat(),
            None => self.hash(key),
        }
    }

    /// As many letters as there were bytes, and at least eleven: these hold 64 bits.
    fn hash(&self, bytes: &[u8]) -> Vec<u8> {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let length = bytes.len().max(11);
        let mut text = Vec::with_capacity(length);
        for round in 0.. {
            let mut hasher = self.secret.build_hasher();
            hasher.write_u64(round);
            hasher.write(bytes);
            let mut word = hasher.finish();
            for _ in 0..11 {
                if text.len() == length {
                    return text;
                }
                text.push(LETTERS[(word & 63) as usize]);
                word >>= 6;
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let letter = |role| match role {
            Role::Plain => '.',
            Role::Key => 'k',
            Role::Name => 'n',
            Role::Value => 'v',
        };
        Roles::default().of(&words).into_iter().map(letter).collect()
    }

    #[test]
    fn rows_say_what_arguments_are() {
        for (line, expected) in [
            ("GET k", ".k"),
            ("SET k 15 EX 100 NX", ".kv..."),
            ("SET k v PXAT 1700000000000 GET", ".kv..."),
            ("SETEX k 10 v", ".k.v"),
            ("MSET a 1 b 2", ".kvkv"),
            ("INCRBYFLOAT k 1.5", ".k."),
            ("SETRANGE k 5 v", ".k.v"),
            ("HSET h f v f2 v2", ".knvnv"),
            ("HMGET h a b", ".knn"),
            ("ZADD z GT CH 1.5 m 2 n", ".k...n.n"),
            ("ZRANGE z (1 5 BYSCORE LIMIT 0 10", ".k......"),
            ("ZRANGEBYSCORE z -inf +inf WITHSCORES", ".k..."),
            ("SADD s 1 2", ".knn"),
            ("LPUSH l 1 x", ".kvv"),
            ("LRANGE l 0 -1", ".k.."),
            ("LINSERT l BEFORE p e", ".k.nv"),
            ("LPOS l e RANK 2 COUNT 1", ".kv...."),
            ("BLPOP a b 1.5", ".kk."),
            ("PUBLISH c m", ".nv"),
            ("SUBSCRIBE a b", ".nn"),
            ("EXPIRE k 100 NX", ".k.."),
            ("CLIENT SETNAME parth", "..v"),
            ("SELECT 3", ".."),
            ("FROB a b", ".vv"),
            ("SORT k BY w_* GET a_* GET # LIMIT 0 5", ".k.n.n.n..."),
            ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", ".k.kk..."),
        ] {
            assert_eq!(roles(line), expected, "{line}");
        }
    }

    fn hidden(privacy: Privacy, line: &str) -> Vec<Arg<'_>> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        Veil::new(privacy).apply(&words, &mut Roles::default())
    }

    #[test]
    fn what_is_hidden_keeps_length_and_identity() {
        let all = Privacy { hash_keys: true, keep_prefixes: true, scrub_values: true };
        let args = hidden(all, "MSET user:parth@example.com 4711 user:parth@example.com x");
        assert_eq!(args[0].bytes(), b"MSET");
        assert!(args[1].bytes().starts_with(b"user:"));
        assert_eq!(args[1].bytes().len(), "user:parth@example.com".len());
        assert!(!args[1].bytes().windows(5).any(|part| part == b"parth"));
        assert_eq!(args[1], args[3]);
        assert_eq!((&args[2], &args[4]), (&Arg::Filler(4), &Arg::Filler(1)));
        assert_ne!(hidden(all, "GET user:a")[1], hidden(all, "GET user:b")[1]);
        assert_eq!(hidden(Privacy::default(), "GET a")[1].bytes(), b"a");
        let keys_only = Privacy { hash_keys: true, ..Privacy::default() };
        let args = hidden(keys_only, "SET user:a secret");
        assert!(!args[1].bytes().starts_with(b"user:"));
        assert_eq!(args[2].bytes(), b"secret");
    }
}
