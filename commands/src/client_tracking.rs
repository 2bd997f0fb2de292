//! `CLIENT TRACKING` and its kin: a client's cache, seen from its connection.

use bytes::Bytes;
use engine::clients::ClientFlags;
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::notify::tracking::{Options, Tracker};
use engine::text::args::integer;

/// The parsed options of `CLIENT TRACKING`.
#[derive(Default)]
struct Wanted<'a> {
    options: Options,
    redirect: Option<u64>,
    prefixes: Vec<&'a [u8]>,
}

fn parse<'a>(cx: &Cx<'a>) -> Result<Wanted<'a>, Failure> {
    let mut wanted = Wanted::default();
    let mut args = cx.args_from(3);
    while !args.is_empty() {
        let options = &mut wanted.options;
        if args.keyword("BCAST") {
            options.broadcast = true;
        } else if args.keyword("OPTIN") {
            options.opt_in = true;
        } else if args.keyword("OPTOUT") {
            options.opt_out = true;
        } else if args.keyword("NOLOOP") {
            options.no_loop = true;
        } else if let Some(value) = args.option("REDIRECT") {
            wanted.redirect = Some(receiver(cx, &wanted, value)?);
        } else if let Some(prefix) = args.option("PREFIX") {
            wanted.prefixes.push(prefix);
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(wanted)
}

fn receiver(cx: &Cx<'_>, wanted: &Wanted<'_>, value: &[u8]) -> Result<u64, Failure> {
    if wanted.redirect.is_some() {
        return Err(failure("ERR A client can only redirect to a single other client"));
    }
    let id = integer(value)? as u64;
    let known = cx.engine.clients.get(id).map(|client| client.id);
    known.ok_or(failure("ERR The client ID you want redirect to does not exist"))
}

/// The checks of Redis, in its order.
fn check(wanted: &Wanted<'_>, before: Option<&Tracker>) -> Outcome {
    let options = wanted.options;
    if !options.broadcast && !wanted.prefixes.is_empty() {
        return Err(failure("ERR PREFIX option requires BCAST mode to be enabled"));
    }
    if before.is_some_and(|before| before.options.broadcast != options.broadcast) {
        return Err(failure(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.",
        ));
    }
    if options.broadcast && (options.opt_in || options.opt_out) {
        return Err(failure("ERR OPTIN and OPTOUT are not compatible with BCAST"));
    }
    if options.opt_in && options.opt_out {
        return Err(failure("ERR You can't specify both OPTIN mode and OPTOUT mode"));
    }
    let switches = |before: &Tracker| {
        options.opt_in && before.options.opt_out || options.opt_out && before.options.opt_in
    };
    if before.is_some_and(switches) {
        return Err(failure(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.",
        ));
    }
    check_prefixes(wanted, before)
}

/// One client's prefixes must not overlap: it would be told twice.
fn check_prefixes(wanted: &Wanted<'_>, before: Option<&Tracker>) -> Outcome {
    let existing: &[Bytes] = before.map_or(&[], |before| &before.prefixes);
    let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
    for (at, prefix) in wanted.prefixes.iter().enumerate() {
        if let Some(other) = existing.iter().find(|other| overlap(prefix, other)) {
            return Err(overlapping(prefix, "an existing prefix", other));
        }
        if let Some(other) = wanted.prefixes[at + 1..].iter().find(|other| overlap(prefix, other)) {
            return Err(overlapping(prefix, "another provided prefix", other));
        }
    }
    Ok(())
}

fn overlapping(prefix: &[u8], kind: &str, other: &[u8]) -> Failure {
    let (prefix, other) = (String::from_utf8_lossy(prefix), String::from_utf8_lossy(other));
    Failure::text(format!(
        "ERR Prefix '{prefix}' overlaps with {kind} '{other}'. Prefixes for a single client must not overlap."
    ))
}

pub(super) fn tracking(cx: &mut Cx<'_>) -> Outcome {
    let mut wanted = parse(cx)?;
    if cx.is(2, "on") {
        let before = cx.session.tracker().cloned();
        check(&wanted, before.as_deref())?;
        if wanted.options.broadcast && wanted.prefixes.is_empty() {
            wanted.prefixes.push(b"");
        }
        let prefixes = wanted.prefixes.into_iter().map(Bytes::copy_from_slice).collect();
        cx.engine.notify.tracking.begin(
            &cx.engine.notify.keyspace,
            cx.session,
            wanted.options,
            wanted.redirect,
            prefixes,
        );
    } else if cx.is(2, "off") {
        cx.engine.notify.tracking.end(&cx.engine.notify.keyspace, cx.session);
    } else {
        return Err(SYNTAX);
    }
    cx.reply.ok();
    Ok(())
}

pub(super) fn caching(cx: &mut Cx<'_>) -> Outcome {
    let Some(tracker) = cx.session.tracker() else {
        return Err(failure(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    let options = tracker.options;
    if cx.is(2, "yes") {
        if !options.opt_in {
            return Err(failure(
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
            ));
        }
    } else if cx.is(2, "no") {
        if !options.opt_out {
            return Err(failure(
                "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
            ));
        }
    } else {
        return Err(SYNTAX);
    }
    cx.session.set_caching(true);
    cx.reply.ok();
    Ok(())
}

pub(super) fn getredir(cx: &mut Cx<'_>) -> Outcome {
    cx.reply.integer(engine::notify::tracking::redirection(
        cx.session.tracker().map(|tracker| &**tracker),
    ));
    Ok(())
}

/// The words of `CLIENT TRACKINGINFO`'s `flags`.
fn words(cx: &Cx<'_>) -> Vec<&'static str> {
    let Some(Options { broadcast, opt_in, opt_out, no_loop }) =
        cx.session.tracker().map(|tracker| tracker.options)
    else {
        return vec!["off"];
    };
    let caching = cx.session.is_caching();
    let unreachable = cx.session.client().has_flag(ClientFlags::UNREACHABLE);
    let words = [
        (true, "on"),
        (broadcast, "bcast"),
        (opt_in, "optin"),
        (opt_in && caching, "caching-yes"),
        (opt_out, "optout"),
        (opt_out && caching, "caching-no"),
        (no_loop, "noloop"),
        (unreachable, "broken_redirect"),
    ];
    words.iter().filter(|(said, _)| *said).map(|(_, word)| *word).collect()
}

pub(super) fn trackinginfo(cx: &mut Cx<'_>) -> Outcome {
    let words = words(cx);
    let tracker = cx.session.tracker().map(|tracker| &**tracker);
    let reply = &mut cx.reply;
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(words.len());
    words.iter().for_each(|word| reply.bulk(word.as_bytes()));
    reply.bulk(b"redirect");
    reply.integer(engine::notify::tracking::redirection(tracker));
    reply.bulk(b"prefixes");
    let prefixes: &[Bytes] = tracker.map_or(&[], |tracker| &tracker.prefixes);
    reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| reply.bulk(prefix));
    Ok(())
}
