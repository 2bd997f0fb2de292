//! The identity of a client: AUTH, HELLO, RESET.

use super::acl::note_failed_auth;
use crate::client::checked_name;
use engine::acl::DEFAULT_USER;
use engine::clients::ClientFlags;
use engine::command::{Flag::*, Group, LockRule, Options, SPEC, Secret, Spec, Takes::Exactly};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, failure};
use engine::notify::pubsub::Space;
use engine::session::ReplyMode;
use resp::Proto;
use resp::parse_i64;

/// The version Varve answers as: what clients decide by. With less than 7.4, redis-py refuses to have a
/// client-side cache, and others hide the expiry of hash fields.
pub use engine::REDIS_VERSION;

const WRONG_PASS: Failure =
    failure("WRONGPASS invalid username-password pair or user is disabled.");
const NO_PASSWORD: Failure = failure(
    "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
);

/// Authenticates the session.
fn authenticate(cx: &mut Cx<'_>, user: &[u8], password: &[u8]) -> Outcome {
    match cx.engine.acl.authenticate(user, password) {
        Some(account) => {
            cx.session.sign_in(account, &cx.engine.acl);
            Ok(())
        }
        None => {
            note_failed_auth(cx, user);
            Err(WRONG_PASS)
        }
    }
}

fn auth(cx: &mut Cx<'_>) -> Outcome {
    match cx.argc() {
        2 if !cx.engine.acl.has_default_password() => return Err(NO_PASSWORD),
        2 => authenticate(cx, DEFAULT_USER.as_bytes(), cx.args.arg(1))?,
        3 => authenticate(cx, cx.args.arg(1), cx.args.arg(2))?,
        _ => return Err(engine::failure::SYNTAX),
    }
    cx.reply.ok();
    Ok(())
}

const HELLO: Options = Options(&[("AUTH", Exactly(2)), ("SETNAME", Exactly(1))]);

/// The parsed options of `HELLO`.
#[derive(Default)]
struct Hello<'a> {
    proto: Option<Proto>,
    credentials: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

fn parse_hello<'a>(cx: &Cx<'a>) -> Result<Hello<'a>, Failure> {
    let mut hello = Hello::default();
    let Some(version) = cx.args.get(1) else { return Ok(hello) };
    hello.proto = Some(match parse_i64(version) {
        Some(2) => Proto::Resp2,
        Some(3) => Proto::Resp3,
        Some(_) => return Err(failure("NOPROTO unsupported protocol version")),
        None => {
            return Err(failure("ERR Protocol version is not an integer or out of range"));
        }
    });
    let mut at = 2;
    for given in HELLO.walk(cx.args, 2) {
        let Ok(given) = given else {
            let word = String::from_utf8_lossy(cx.args.arg(at));
            return Err(Failure::text(format!("ERR Syntax error in HELLO option '{word}'")));
        };
        at = given.at;
        if given.word == "AUTH" {
            hello.credentials = Some((cx.args.arg(at), cx.args.arg(at + 1)));
            at += 2;
        } else {
            hello.name = Some(cx.args.arg(at));
            at += 1;
        }
    }
    Ok(hello)
}

fn hello(cx: &mut Cx<'_>) -> Outcome {
    let hello = parse_hello(cx)?;
    if let Some((user, password)) = hello.credentials {
        authenticate(cx, user, password)?;
    }
    if !cx.session.is_authenticated() {
        return Err(failure(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = hello.name {
        cx.session.client().names.lock().name = checked_name(name)?;
    }
    if let Some(proto) = hello.proto {
        cx.session.set_proto(proto);
        cx.reply.set_proto(proto);
    }
    reply_hello(cx);
    Ok(())
}

fn reply_hello(cx: &mut Cx<'_>) {
    let version = if cx.session.proto == Proto::Resp3 { 3 } else { 2 };
    let id = cx.session.client().id as i64;
    let mode = if cx.engine.is_in_cluster() { "cluster" } else { "standalone" };
    let reply = &mut cx.reply;
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(version);
    reply.bulk(b"id");
    reply.integer(id);
    reply.bulk(b"mode");
    reply.bulk(mode.as_bytes());
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
}

fn reset(cx: &mut Cx<'_>) -> Outcome {
    cx.session.end_multi();
    cx.session.forget_watches(&cx.engine.notify.keyspace);
    for space in [Space::Channel, Space::Pattern, Space::Shard] {
        let names: Vec<_> = cx.session.subscriptions(space).cloned().collect();
        for name in names {
            cx.session.remove_subscription(space, &name);
            cx.engine.notify.pubsub.unsubscribe(space, &name, cx.session.client());
        }
    }
    let client = cx.session.client().clone();
    cx.engine.notify.monitors.end(&client, cx.engine.gates());
    cx.engine.notify.captures.end(&client, cx.engine.gates());
    cx.engine.notify.tracking.end(&cx.engine.notify.keyspace, cx.session);
    client.set_flag(ClientFlags::NO_EVICT | ClientFlags::NO_TOUCH, false);
    client.names.lock().name.clear();
    cx.session.set_readonly(false);
    cx.session.set_consistency(false, false);
    cx.session.set_parent(None);
    cx.session.select(0);
    if cx.session.reply_mode == ReplyMode::Off {
        cx.session.set_reply_mode(ReplyMode::On);
    }
    cx.session.set_proto(Proto::Resp2);
    cx.reply.set_proto(Proto::Resp2);
    cx.session.sign_out(&cx.engine.acl);
    cx.reply.simple("RESET");
    Ok(())
}

/// The rows of this file.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "auth",
        summary: "Authenticates the connection.",
        since: "1.0.0",
        complexity: "O(N) where N is the number of passwords defined for the user",
        arity: -2,
        group: Group::Connection,
        flags: &[NoScript, Loading, Stale, Fast, NoAuth, AllowBusy],
        secrets: &[Secret::From(1)],
        syntax: "[username] @6.0.0 password",
        history: &[("6.0.0", "Added ACL style (username and password).")],
        locks: LockRule::None,
        handler: auth,
        ..SPEC
    },
    Spec {
        name: "hello",
        summary: "Handshakes with the Redis server.",
        since: "6.0.0",
        complexity: "O(1)",
        arity: -1,
        group: Group::Connection,
        flags: &[NoScript, Loading, Stale, Fast, NoAuth, AllowBusy],
        secrets: &[Secret::Options(1, HELLO, &["AUTH"])],
        syntax: "arguments: [protover [AUTH <username password>] [SETNAME clientname]]",
        history: &[(
            "6.2.0",
            "`protover` made optional; when called without arguments the command reports the current connection's context.",
        )],
        locks: LockRule::None,
        handler: hello,
        ..SPEC
    },
    Spec {
        name: "reset",
        summary: "Resets the connection.",
        since: "6.2.0",
        complexity: "O(1)",
        arity: 1,
        group: Group::Connection,
        flags: &[
            NoScript,
            Loading,
            Stale,
            Fast,
            NoAuth,
            AllowBusy,
            NotQueued,
            EndsMulti,
            WhileSubscribed,
        ],
        locks: LockRule::None,
        handler: reset,
        ..SPEC
    },
];
