//! `COMMAND DOCS`: the rows' documentation, with the argument tree read from their syntax.

use engine::command::{Argument, ArgumentKind, CommandEntry, Flag, arguments};
use engine::cx::Cx;
use engine::engine::Engine;
use engine::failure::Outcome;
use resp::Reply;

pub(super) fn docs(cx: &mut Cx<'_>) -> Outcome {
    let engine = cx.engine;
    let found: Vec<&CommandEntry> = match cx.argc() {
        2 => engine.commands.entries().iter().filter(|e| e.parent.is_none()).collect(),
        _ => cx.args.tail(2).iter().filter_map(|name| engine.commands.find_full(name)).collect(),
    };
    cx.reply.map(found.len());
    found.into_iter().for_each(|entry| named(engine, entry, &mut cx.reply));
    Ok(())
}

/// A command's full name and its documentation.
fn named(engine: &Engine, entry: &CommandEntry, reply: &mut Reply<'_>) {
    reply.bulk(entry.full_name.as_bytes());
    describe(engine, entry, reply);
}

/// Three fields: that a command is deprecated, since when, and what replaces it.
fn deprecated(reply: &mut Reply<'_>, since: &str, replacement: &str) {
    reply.bulk(b"doc_flags");
    reply.set(1);
    reply.simple("deprecated");
    for (name, value) in [("deprecated_since", since), ("replaced_by", replacement)] {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
}

/// The field of a container's subcommands.
fn subcommands(engine: &Engine, entry: &CommandEntry, reply: &mut Reply<'_>) {
    reply.bulk(b"subcommands");
    reply.map(entry.subcommands.len());
    for &id in &entry.subcommands {
        named(engine, engine.commands.entry(id), reply);
    }
}

fn describe(engine: &Engine, entry: &CommandEntry, reply: &mut Reply<'_>) {
    let spec = entry.spec;
    // Our own rows are tested to be parsed. A plug-in's row that cannot has no arguments here.
    let arguments = arguments(spec).unwrap_or_default();
    let mark = reply.deferred();
    let mut fields = 0;
    let mut text = |reply: &mut Reply<'_>, name: &str, value: &str| {
        if !value.is_empty() {
            fields += 1;
            reply.bulk(name.as_bytes());
            reply.bulk(value.as_bytes());
        }
    };
    text(reply, "summary", spec.summary);
    text(reply, "since", spec.since);
    text(reply, "group", spec.group.name());
    text(reply, "complexity", spec.complexity);
    if entry.has(Flag::System) {
        fields += 1;
        reply.bulk(b"doc_flags");
        reply.set(1);
        reply.simple("syscmd");
    }
    if let Some((since, replacement)) = spec.deprecated {
        fields += 3;
        deprecated(reply, since, replacement);
    }
    if !spec.history.is_empty() {
        fields += 1;
        history(reply, spec.history);
    }
    if !arguments.is_empty() {
        fields += 1;
        reply.bulk(b"arguments");
        list(reply, &arguments);
    }
    if !entry.subcommands.is_empty() {
        fields += 1;
        subcommands(engine, entry, reply);
    }
    reply.finish_map(mark, fields);
}

fn history(reply: &mut Reply<'_>, history: &[(&str, &str)]) {
    reply.bulk(b"history");
    reply.set(history.len());
    for (version, change) in history {
        reply.array(2);
        reply.bulk(version.as_bytes());
        reply.bulk(change.as_bytes());
    }
}

fn list(reply: &mut Reply<'_>, arguments: &[Argument]) {
    reply.array(arguments.len());
    arguments.iter().for_each(|argument| one(reply, argument));
}

/// Writes what an argument has behind its token: versions, flags, and arguments of its own.
fn write_rest(reply: &mut Reply<'_>, argument: &Argument, flags: &[&'static str]) {
    let versions = [("since", &argument.since), ("deprecated_since", &argument.deprecated_since)];
    for (name, version) in versions {
        if let Some(version) = version {
            reply.bulk(name.as_bytes());
            reply.bulk(version.as_bytes());
        }
    }
    if !flags.is_empty() {
        reply.bulk(b"flags");
        reply.set(flags.len());
        flags.iter().for_each(|flag| reply.simple(flag));
    }
    if matches!(argument.kind, ArgumentKind::OneOf | ArgumentKind::Block) {
        reply.bulk(b"arguments");
        list(reply, &argument.arguments);
    }
}

fn one(reply: &mut Reply<'_>, argument: &Argument) {
    let flags = flags(argument);
    let shown = !argument.kind.is_group();
    let display = match argument.kind {
        ArgumentKind::PureToken => &argument.name,
        _ => &argument.display,
    };
    let parts = [
        shown,
        argument.key_spec.is_some(),
        argument.token.is_some(),
        argument.since.is_some(),
        argument.deprecated_since.is_some(),
        !flags.is_empty(),
        argument.kind.is_group(),
    ];
    reply.map(2 + parts.iter().filter(|part| **part).count());
    reply.bulk(b"name");
    reply.bulk(argument.name.as_bytes());
    reply.bulk(b"type");
    reply.bulk(argument.kind.name().as_bytes());
    if shown {
        reply.bulk(b"display_text");
        reply.bulk(display.as_bytes());
    }
    if let Some(index) = argument.key_spec {
        reply.bulk(b"key_spec_index");
        reply.integer(index as i64);
    }
    if let Some(token) = &argument.token {
        reply.bulk(b"token");
        reply.bulk(token.as_bytes());
    }
    write_rest(reply, argument, &flags);
}

fn flags(argument: &Argument) -> Vec<&'static str> {
    let flags = [
        (argument.optional, "optional"),
        (argument.multiple, "multiple"),
        (argument.multiple_token, "multiple_token"),
    ];
    flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect()
}
