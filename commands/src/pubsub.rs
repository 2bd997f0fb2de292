//! Publish and subscribe: SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE and their opposites, PUBLISH, PUBSUB.

use bytes::Bytes;
use engine::clients::Event;
use engine::command::{Channels, Flag::*, Group, LockRule, SPEC, Spec, key_range};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, subcommand_syntax};
use engine::notify::pubsub::{self, Space};
use engine::session::SessionState;
use resp::{Output, Reply};

/// Words of one space's confirmations.
const fn words(space: Space) -> (&'static str, &'static str) {
    match space {
        Space::Channel => ("subscribe", "unsubscribe"),
        Space::Pattern => ("psubscribe", "punsubscribe"),
        Space::Shard => ("ssubscribe", "sunsubscribe"),
    }
}

/// The count a confirmation carries: channels and patterns together, shard channels apart.
fn shown_count(session: &SessionState, space: Space) -> i64 {
    let count = |space| session.subscription_count(space) as i64;
    match space {
        Space::Shard => count(Space::Shard),
        _ => count(Space::Channel) + count(Space::Pattern),
    }
}

/// Confirms a change. That is no reply but a push: `CLIENT REPLY` does not silence it.
fn confirm(cx: &mut Cx<'_>, space: Space, word: &str, name: Option<&[u8]>) {
    let count = shown_count(cx.session, space);
    if !cx.session.is_silent() {
        return pubsub::confirm(&mut cx.reply, word, name, count);
    }
    let mut out = Output::new();
    pubsub::confirm(&mut Reply::new(&mut out, cx.session.proto), word, name, count);
    cx.session.client().send(Event::Push(out.to_vec().into()), 0);
}

/// Inside a transaction Redis lets a client begin to receive messages, as it always did, but not
/// those of a slot.
fn refuse_in_exec(cx: &Cx<'_>, space: Space) -> Result<(), Failure> {
    if space == Space::Shard && cx.session.may_not_block() {
        let reason = "ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client";
        return Err(Failure::text(reason.to_owned()));
    }
    Ok(())
}

fn subscribe_to(cx: &mut Cx<'_>, space: Space) -> Outcome {
    refuse_in_exec(cx, space)?;
    for name in cx.args.tail(1).iter() {
        let name = Bytes::copy_from_slice(name);
        let added = cx.session.add_subscription(space, name.clone());
        // Before the first message, which other threads may send at once.
        confirm(cx, space, words(space).0, Some(&name));
        if added {
            cx.engine.notify.pubsub.subscribe(space, &name, cx.session.client());
        }
    }
    Ok(())
}

fn unsubscribe_from(cx: &mut Cx<'_>, space: Space) -> Outcome {
    let word = words(space).1;
    let names: Vec<Bytes> = match cx.argc() {
        1 => cx.session.subscriptions(space).cloned().collect(),
        _ => cx.args.tail(1).iter().map(Bytes::copy_from_slice).collect(),
    };
    if names.is_empty() {
        confirm(cx, space, word, None);
    }
    for name in names {
        if cx.session.remove_subscription(space, &name) {
            cx.engine.notify.pubsub.unsubscribe(space, &name, cx.session.client());
        }
        confirm(cx, space, word, Some(&name));
    }
    Ok(())
}

fn subscribe(cx: &mut Cx<'_>) -> Outcome {
    subscribe_to(cx, Space::Channel)
}

fn psubscribe(cx: &mut Cx<'_>) -> Outcome {
    subscribe_to(cx, Space::Pattern)
}

fn ssubscribe(cx: &mut Cx<'_>) -> Outcome {
    subscribe_to(cx, Space::Shard)
}

fn unsubscribe(cx: &mut Cx<'_>) -> Outcome {
    unsubscribe_from(cx, Space::Channel)
}

fn punsubscribe(cx: &mut Cx<'_>) -> Outcome {
    unsubscribe_from(cx, Space::Pattern)
}

fn sunsubscribe(cx: &mut Cx<'_>) -> Outcome {
    unsubscribe_from(cx, Space::Shard)
}

fn publish_to(cx: &mut Cx<'_>, shard: bool) -> Outcome {
    let count = cx.publish(shard, cx.args.arg(1), cx.args.arg(2));
    cx.reply.integer(count as i64);
    Ok(())
}

fn publish(cx: &mut Cx<'_>) -> Outcome {
    publish_to(cx, false)
}

fn spublish(cx: &mut Cx<'_>) -> Outcome {
    publish_to(cx, true)
}

fn reply_channels(cx: &mut Cx<'_>, space: Space) -> Outcome {
    if cx.argc() > 3 {
        return Err(subcommand_syntax(cx.args));
    }
    let channels = cx.engine.notify.pubsub.channels(space, cx.args.get(2));
    cx.reply.array(channels.len());
    channels.iter().for_each(|channel| cx.reply.bulk(channel));
    Ok(())
}

fn reply_listeners(cx: &mut Cx<'_>, space: Space) -> Outcome {
    let channels = cx.args.tail(2);
    cx.reply.array(channels.len() * 2);
    for channel in channels.iter() {
        cx.reply.bulk(channel);
        cx.reply.integer(cx.engine.notify.pubsub.listeners(space, channel) as i64);
    }
    Ok(())
}

fn pubsub_channels(cx: &mut Cx<'_>) -> Outcome {
    reply_channels(cx, Space::Channel)
}

fn pubsub_shardchannels(cx: &mut Cx<'_>) -> Outcome {
    reply_channels(cx, Space::Shard)
}

fn pubsub_numsub(cx: &mut Cx<'_>) -> Outcome {
    reply_listeners(cx, Space::Channel)
}

fn pubsub_shardnumsub(cx: &mut Cx<'_>) -> Outcome {
    reply_listeners(cx, Space::Shard)
}

fn pubsub_numpat(cx: &mut Cx<'_>) -> Outcome {
    cx.reply.integer(cx.engine.notify.pubsub.len(Space::Pattern) as i64);
    Ok(())
}

fn pubsub_help(cx: &mut Cx<'_>) -> Outcome {
    cx.help(
        "PUBSUB",
        &[
            "CHANNELS [<pattern>]",
            "    Return the currently active channels matching a <pattern> (default: '*').",
            "NUMPAT",
            "    Return number of subscriptions to patterns.",
            "NUMSUB [<channel> ...]",
            "    Return the number of subscribers for the specified channels, excluding",
            "    pattern subscriptions(default: no channels).",
            "SHARDCHANNELS [<pattern>]",
            "    Return the currently active shard level channels matching a <pattern> (default: '*').",
            "SHARDNUMSUB [<shardchannel> ...]",
            "    Return the number of subscribers for the specified shard level channel(s)",
        ],
    );
    Ok(())
}

/// The fields that all rows share.
const PUBSUB: Spec = Spec {
    group: Group::PubSub,
    flags: &[PubSub, NoScript, Loading, Stale],
    locks: LockRule::None,
    ..SPEC
};

/// Rows of commands that change what a client is subscribed to.
const SUBSCRIPTION: Spec =
    Spec { flags: &[PubSub, NoScript, Loading, Stale, WhileSubscribed, Streaming], ..PUBSUB };

/// Rows of `PUBSUB …`.
const INSPECT: Spec = Spec { since: "2.8.0", flags: &[PubSub, Loading, Stale], ..PUBSUB };

/// The family's rows.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "subscribe",
        summary: "Listens for messages published to channels.",
        since: "2.0.0",
        complexity: "O(N) where N is the number of channels to subscribe to.",
        arity: -2,
        channels: Channels::All,
        syntax: "channel [channel ...]",
        handler: subscribe,
        ..SUBSCRIPTION
    },
    Spec {
        name: "psubscribe",
        summary: "Listens for messages published to channels that match one or more patterns.",
        since: "2.0.0",
        complexity: "O(N) where N is the number of patterns to subscribe to.",
        arity: -2,
        channels: Channels::Patterns,
        syntax: "pattern [pattern ...]",
        handler: psubscribe,
        ..SUBSCRIPTION
    },
    Spec {
        name: "ssubscribe",
        summary: "Listens for messages published to shard channels.",
        since: "7.0.0",
        complexity: "O(N) where N is the number of shard channels to subscribe to.",
        arity: -2,
        keys: &[key_range("not_key", 1, -1, 1)],
        channels: Channels::All,
        syntax: "shardchannel [shardchannel ...]",
        handler: ssubscribe,
        ..SUBSCRIPTION
    },
    Spec {
        name: "unsubscribe",
        summary: "Stops listening to messages posted to channels.",
        since: "2.0.0",
        complexity: "O(N) where N is the number of channels to unsubscribe.",
        arity: -1,
        syntax: "[channel [channel ...]]",
        handler: unsubscribe,
        ..SUBSCRIPTION
    },
    Spec {
        name: "punsubscribe",
        summary: "Stops listening to messages published to channels that match one or more patterns.",
        since: "2.0.0",
        complexity: "O(N) where N is the number of patterns to unsubscribe.",
        arity: -1,
        syntax: "[pattern [pattern ...]]",
        handler: punsubscribe,
        ..SUBSCRIPTION
    },
    Spec {
        name: "sunsubscribe",
        summary: "Stops listening to messages posted to shard channels.",
        since: "7.0.0",
        complexity: "O(N) where N is the number of shard channels to unsubscribe.",
        arity: -1,
        keys: &[key_range("not_key", 1, -1, 1)],
        syntax: "[shardchannel [shardchannel ...]]",
        handler: sunsubscribe,
        ..SUBSCRIPTION
    },
    Spec {
        name: "publish",
        summary: "Posts a message to a channel.",
        since: "2.0.0",
        complexity: "O(N+M) where N is the number of clients subscribed to the receiving channel and M is the total number of subscribed patterns (by any client).",
        arity: 3,
        flags: &[PubSub, Loading, Stale, Fast, MayReplicate],
        channels: Channels::First,
        syntax: "channel message",
        handler: publish,
        ..PUBSUB
    },
    Spec {
        name: "spublish",
        summary: "Post a message to a shard channel",
        since: "7.0.0",
        complexity: "O(N) where N is the number of clients subscribed to the receiving shard channel.",
        arity: 3,
        flags: &[PubSub, Loading, Stale, Fast, MayReplicate],
        keys: &[key_range("not_key", 1, 0, 1)],
        channels: Channels::First,
        syntax: "shardchannel message",
        handler: spublish,
        ..PUBSUB
    },
    Spec {
        name: "pubsub",
        summary: "A container for Pub/Sub commands.",
        since: "2.8.0",
        complexity: "Depends on subcommand.",
        arity: -2,
        flags: &[],
        subcommands: &[
            Spec {
                name: "channels",
                summary: "Returns the active channels.",
                complexity: "O(N) where N is the number of active channels, and assuming constant time pattern matching (relatively short channels and patterns)",
                arity: -2,
                syntax: "[pattern]",
                handler: pubsub_channels,
                ..INSPECT
            },
            Spec {
                name: "numpat",
                summary: "Returns a count of unique pattern subscriptions.",
                arity: 2,
                handler: pubsub_numpat,
                ..INSPECT
            },
            Spec {
                name: "numsub",
                summary: "Returns a count of subscribers to channels.",
                complexity: "O(N) for the NUMSUB subcommand, where N is the number of requested channels",
                arity: -2,
                syntax: "[channel [channel ...]]",
                handler: pubsub_numsub,
                ..INSPECT
            },
            Spec {
                name: "shardchannels",
                summary: "Returns the active shard channels.",
                since: "7.0.0",
                complexity: "O(N) where N is the number of active shard channels, and assuming constant time pattern matching (relatively short shard channels).",
                arity: -2,
                syntax: "[pattern]",
                handler: pubsub_shardchannels,
                ..INSPECT
            },
            Spec {
                name: "shardnumsub",
                summary: "Returns the count of subscribers of shard channels.",
                since: "7.0.0",
                complexity: "O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard channels",
                arity: -2,
                syntax: "[shardchannel [shardchannel ...]]",
                handler: pubsub_shardnumsub,
                ..INSPECT
            },
            Spec {
                name: "help",
                summary: "Returns helpful text about the different subcommands.",
                since: "6.2.0",
                arity: 2,
                flags: &[Loading, Stale],
                handler: pubsub_help,
                ..INSPECT
            },
        ],
        ..PUBSUB
    },
];
