//! `CLIENT`: connections seen from inside.

use super::client_rows;
use engine::clients::pause::{PauseMode, Purpose};
use engine::clients::{Client, ClientFlags, capped, describe, local_address};
use engine::command::Spec;
use engine::cx::Cx;
use engine::engine::Engine;
use engine::failure::{Failure, Outcome, SYNTAX, failure, subcommand_syntax};
use engine::session::ReplyMode;
use engine::text::args::{integer, is_word};
use resp::parse_i64;
use runtime::Flow;
use runtime::spans::Parent;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The family's rows.
pub const COMMANDS: &[Spec] = client_rows::COMMANDS;

/// A client or library name: printable, without spaces, so that `CLIENT LIST` can be read.
fn checked(text: &[u8], what: &str) -> Result<String, Failure> {
    if !text.iter().all(u8::is_ascii_graphic) {
        return Err(Failure::text(format!(
            "ERR {what} cannot contain spaces, newlines or special characters."
        )));
    }
    Ok(String::from_utf8_lossy(text).into_owned())
}

pub(super) fn checked_name(name: &[u8]) -> Result<String, Failure> {
    checked(name, "Client names")
}

pub(super) fn id(cx: &mut Cx<'_>) -> Outcome {
    cx.reply.integer(cx.session.client().id as i64);
    Ok(())
}

pub(super) fn setname(cx: &mut Cx<'_>) -> Outcome {
    let name = checked_name(cx.args.arg(2))?;
    cx.session.client().names.lock().name = name;
    cx.reply.ok();
    Ok(())
}

pub(super) fn getname(cx: &mut Cx<'_>) -> Outcome {
    let name = cx.session.client().names.lock().name.clone();
    match name.is_empty() {
        true => cx.reply.null(),
        false => cx.reply.bulk(name.as_bytes()),
    }
    Ok(())
}

pub(super) fn setinfo(cx: &mut Cx<'_>) -> Outcome {
    let (attribute, value) = (cx.args.arg(2), cx.args.arg(3));
    let names = &cx.session.client().names;
    if is_word(attribute, "LIB-NAME") {
        names.lock().lib_name = checked(value, "lib-name")?;
    } else if is_word(attribute, "LIB-VER") {
        names.lock().lib_version = checked(value, "lib-ver")?;
    } else if is_word(attribute, "TRACEPARENT") {
        cx.session.set_parent(traceparent(value)?);
    } else {
        let attribute = String::from_utf8_lossy(attribute);
        return Err(Failure::text(format!("ERR Unrecognized option '{attribute}'")));
    }
    cx.reply.ok();
    Ok(())
}

/// The caller's span, in the form of W3C's header of that name; empty for none.
fn traceparent(value: &[u8]) -> Result<Option<Parent>, Failure> {
    let invalid = "ERR traceparent is 00-<trace id>-<span id>-<flags> in lower-case hexadecimal";
    match value {
        b"" => Ok(None),
        value => Parent::parse(value).map(Some).ok_or(failure(invalid)),
    }
}

// -- LIST, INFO, KILL -----------------------------------------------------------------------------

/// Lines of `CLIENT LIST`. Of the client that asks, they tell how it is with the request in hand.
fn describe_all<'c>(cx: &mut Cx<'_>, clients: impl Iterator<Item = &'c Arc<Client>>) -> String {
    let own = cx.session.client().clone();
    own.output_bytes.store(cx.reply.output().len(), Ordering::Relaxed);
    // Inside a transaction the request in hand is the EXEC.
    let arguments = match cx.session.may_not_block() {
        true => "exec".len(),
        false => cx.args.iter().map(<[u8]>::len).sum(),
    };
    own.argument_bytes.store(capped(arguments), Ordering::Relaxed);
    let mut text = String::new();
    for client in clients {
        text.push_str(&describe(cx.engine, client, client.id == own.id, cx.now.wall_ms));
        text.push('\n');
    }
    text
}

pub(super) fn info(cx: &mut Cx<'_>) -> Outcome {
    let own = cx.session.client().clone();
    let line = describe_all(cx, std::iter::once(&own));
    cx.reply.verbatim("txt", line.as_bytes());
    Ok(())
}

/// Redis's client types, as far as there are such clients here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientType {
    Normal,
    PubSub,
    Replica,
    Master,
}

fn client_type(word: &[u8]) -> Result<ClientType, Failure> {
    let is = |name| is_word(word, name);
    if is("normal") {
        Ok(ClientType::Normal)
    } else if is("pubsub") {
        Ok(ClientType::PubSub)
    } else if is("slave") || is("replica") {
        Ok(ClientType::Replica)
    } else if is("master") {
        Ok(ClientType::Master)
    } else {
        let word = String::from_utf8_lossy(word);
        Err(Failure::text(format!("ERR Unknown client type '{word}'")))
    }
}

fn has_type(client: &Client, wanted: ClientType) -> bool {
    let is = match client {
        client if client.has_flag(ClientFlags::MASTER) => ClientType::Master,
        client if client.has_flag(ClientFlags::REPLICA) => ClientType::Replica,
        client if client.has_flag(ClientFlags::PUBSUB) => ClientType::PubSub,
        _ => ClientType::Normal,
    };
    is == wanted
}

pub(super) fn list(cx: &mut Cx<'_>) -> Outcome {
    let clients = match cx.argc() {
        2 => cx.engine.clients.list(),
        4 if cx.is(2, "TYPE") => {
            let wanted = client_type(cx.args.arg(3))?;
            let mut all = cx.engine.clients.list();
            all.retain(|client| has_type(client, wanted));
            all
        }
        4.. if cx.is(2, "ID") => by_ids(cx)?,
        _ => return Err(SYNTAX),
    };
    let text = describe_all(cx, clients.iter());
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn by_ids(cx: &Cx<'_>) -> Result<Vec<Arc<Client>>, Failure> {
    let mut clients = Vec::new();
    for word in cx.args.tail(3).iter() {
        let id = parse_i64(word).ok_or(failure("ERR Invalid client ID"))?;
        clients.extend(cx.engine.clients.get(id as u64));
    }
    Ok(clients)
}

/// Which clients `CLIENT KILL` means.
#[derive(Default)]
struct Victims<'a> {
    id: Option<u64>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    user: Option<&'a [u8]>,
    client_type: Option<ClientType>,
    /// Connected since then or before (milliseconds of the wall clock).
    until_ms: Option<u64>,
    include_me: bool,
}

impl Victims<'_> {
    fn include(&self, client: &Client, me: u64) -> bool {
        let address = client.peer.to_string();
        self.id.is_none_or(|id| client.id == id)
            && self.address.is_none_or(|a| a == address.as_bytes())
            && self.local_address.is_none_or(|a| a == local_address(&client.peer).as_bytes())
            && self.user.is_none_or(|user| client.names.lock().user.as_bytes() == user)
            && self.client_type.is_none_or(|wanted| has_type(client, wanted))
            && self.until_ms.is_none_or(|until_ms| client.created_ms <= until_ms)
            && (self.include_me || client.id != me)
    }
}

fn parse_victims<'a>(cx: &Cx<'a>) -> Result<Victims<'a>, Failure> {
    let mut victims = Victims::default();
    let mut args = cx.args_from(2);
    while !args.is_empty() {
        if let Some(value) = args.option("ID") {
            let id = parse_i64(value).filter(|id| *id > 0);
            let error = failure("ERR client-id should be greater than 0");
            victims.id = Some(id.ok_or(error)? as u64);
        } else if let Some(value) = args.option("ADDR") {
            victims.address = Some(value);
        } else if let Some(value) = args.option("LADDR") {
            victims.local_address = Some(value);
        } else if let Some(value) = args.option("USER") {
            check_user(cx.engine, value)?;
            victims.user = Some(value);
        } else if let Some(value) = args.option("TYPE") {
            victims.client_type = Some(client_type(value)?);
        } else if let Some(value) = args.option("MAXAGE") {
            let seconds = parse_i64(value)
                .ok_or(failure("ERR maxage is not an integer or out of range"))
                .and_then(|it| match it {
                    1.. => Ok(it as u64),
                    _ => Err(failure("ERR maxage should be greater than 0")),
                })?;
            victims.until_ms = Some(cx.now.wall_ms.saturating_sub(seconds.saturating_mul(1000)));
        } else if let Some(value) = args.option("SKIPME") {
            victims.include_me = is_no(value)?;
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(victims)
}

fn is_no(word: &[u8]) -> Result<bool, Failure> {
    match (is_word(word, "yes"), is_word(word, "no")) {
        (_, true) => Ok(true),
        (true, _) => Ok(false),
        _ => Err(SYNTAX),
    }
}

fn check_user(engine: &Engine, user: &[u8]) -> Result<(), Failure> {
    if engine.acl.find(user).is_some() {
        return Ok(());
    }
    let user = String::from_utf8_lossy(user);
    Err(Failure::text(format!("ERR No such user '{user}'")))
}

pub(super) fn kill(cx: &mut Cx<'_>) -> Outcome {
    if cx.argc() == 3 {
        let address = Some(cx.args.arg(2));
        let victims = Victims { address, include_me: true, ..Victims::default() };
        if kill_all(cx, &victims) == 0 {
            return Err(failure("ERR No such client"));
        }
        cx.reply.ok();
        return Ok(());
    }
    let victims = parse_victims(cx)?;
    let killed = kill_all(cx, &victims);
    cx.reply.integer(killed);
    Ok(())
}

fn kill_all(cx: &mut Cx<'_>, victims: &Victims<'_>) -> i64 {
    let me = cx.session.client().id;
    let mut killed = 0;
    for client in cx.engine.clients.list() {
        if !victims.include(&client, me) {
            continue;
        }
        killed += 1;
        match client.id == me {
            // The answer is still due.
            true => cx.session.flow = Flow::CloseAfterFlush,
            false => client.kill(),
        }
    }
    killed
}

// -- switches -------------------------------------------------------------------------------------

fn on_off(word: &[u8]) -> Result<bool, Failure> {
    match (is_word(word, "on"), is_word(word, "off")) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err(SYNTAX),
    }
}

fn switch(cx: &mut Cx<'_>, flag: ClientFlags) -> Outcome {
    let on = on_off(cx.args.arg(2))?;
    cx.session.client().set_flag(flag, on);
    cx.reply.ok();
    Ok(())
}

pub(super) fn no_evict(cx: &mut Cx<'_>) -> Outcome {
    switch(cx, ClientFlags::NO_EVICT)
}

pub(super) fn no_touch(cx: &mut Cx<'_>) -> Outcome {
    switch(cx, ClientFlags::NO_TOUCH)?;
    let on = cx.session.client().has_flag(ClientFlags::NO_TOUCH);
    cx.session.set_no_touch(on);
    Ok(())
}

pub(super) fn reply(cx: &mut Cx<'_>) -> Outcome {
    let word = cx.args.arg(2);
    if is_word(word, "on") {
        cx.session.set_reply_mode(ReplyMode::On);
        cx.reply.ok();
    } else if is_word(word, "off") {
        cx.session.set_reply_mode(ReplyMode::Off);
    } else if is_word(word, "skip") {
        if cx.session.reply_mode != ReplyMode::Off {
            cx.session.set_reply_mode(ReplyMode::SkipNext);
        }
    } else {
        return Err(SYNTAX);
    }
    Ok(())
}

/// Refuses more arguments than the subcommand has: its row cannot say how many there may be at most.
fn refuse_more_than(cx: &Cx<'_>, most: usize) -> Result<(), Failure> {
    match cx.argc() > most {
        true => Err(subcommand_syntax(cx.args)),
        false => Ok(()),
    }
}

pub(super) fn pause(cx: &mut Cx<'_>) -> Outcome {
    refuse_more_than(cx, 4)?;
    let mode = match cx.args.get(3) {
        None => PauseMode::All,
        Some(word) if is_word(word, "ALL") => PauseMode::All,
        Some(word) if is_word(word, "WRITE") => PauseMode::Write,
        Some(_) => return Err(failure("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let error = failure("ERR timeout is not an integer or out of range");
    let timeout_ms = parse_i64(cx.args.arg(2)).ok_or(error)?;
    let timeout_ms = u64::try_from(timeout_ms).map_err(|_| failure("ERR timeout is negative"))?;
    let until_ms = cx.now.wall_ms.saturating_add(timeout_ms);
    cx.engine.pause_clients(Purpose::Client, until_ms, mode, cx.now.wall_ms);
    cx.reply.ok();
    Ok(())
}

pub(super) fn unpause(cx: &mut Cx<'_>) -> Outcome {
    cx.engine.unpause_clients(Purpose::Client);
    cx.reply.ok();
    Ok(())
}

pub(super) fn unblock(cx: &mut Cx<'_>) -> Outcome {
    refuse_more_than(cx, 4)?;
    let error = match cx.args.get(3) {
        None => false,
        Some(word) if is_word(word, "TIMEOUT") => false,
        Some(word) if is_word(word, "ERROR") => true,
        Some(_) => {
            return Err(failure("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
    };
    let id = integer(cx.args.arg(2))?;
    let error = error.then_some("UNBLOCKED client unblocked via CLIENT UNBLOCK");
    let unblocked = cx.engine.notify.unblock(id as u64, error);
    cx.reply.integer(i64::from(unblocked));
    Ok(())
}

pub(super) fn help(cx: &mut Cx<'_>) -> Outcome {
    cx.help("CLIENT", client_rows::HELP);
    Ok(())
}
