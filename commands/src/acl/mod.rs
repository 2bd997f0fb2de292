//! `ACL`: users seen and changed by commands.

mod help;
mod rows;

pub use rows::COMMANDS;

use engine::acl::log::{Denial, Reason};
use engine::acl::user::{Selector, User, hex, is_space};
use engine::acl::{UserChanges, merge_selectors, user_line};
use engine::command::{Category, CommandEntry};
use engine::config::Id;
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, failure, subcommand_syntax, wrong_arity};
use engine::text::args::{integer, is_word};
use runtime::Flow;

const NO_FILE: Failure = failure(
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in the Redis configuration.",
);

/// The longest password that `ACL GENPASS` makes, in bits.
const GENPASS_BITS_MAX: i64 = 4096;

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn setuser(cx: &mut Cx<'_>) -> Outcome {
    let name = cx.args.arg(2);
    if name.iter().any(|byte| is_space(*byte)) {
        return Err(failure("ERR Usernames can't contain spaces or null characters"));
    }
    let rules = merge_selectors(cx.args.tail(3).iter()).map_err(|start| {
        let start = lossy(&start);
        Failure::text(format!("ERR Unmatched parenthesis in acl selector starting at '{start}'."))
    })?;
    UserChanges::of(cx.engine).set_user(name, &rules).map_err(|(rule, error)| {
        let (rule, text) = (lossy(&rule), error.text());
        Failure::text(format!("ERR Error in ACL SETUSER modifier '{rule}': {text}"))
    })?;
    // It may have been our own user.
    cx.session.refresh_user(&cx.engine.acl);
    cx.reply.ok();
    Ok(())
}

fn deluser(cx: &mut Cx<'_>) -> Outcome {
    let mut deleted = 0;
    for name in cx.args.tail(2).iter() {
        if name == engine::acl::DEFAULT_USER.as_bytes() {
            return Err(failure("ERR The 'default' user cannot be removed"));
        }
        let (was_there, myself) = UserChanges::of(cx.engine).delete_user(name, cx.session.client());
        deleted += i64::from(was_there);
        if myself {
            // The answer is still due.
            cx.session.flow = Flow::CloseAfterFlush;
        }
    }
    cx.reply.integer(deleted);
    Ok(())
}

fn reply_selector(cx: &mut Cx<'_>, selector: &Selector) {
    cx.reply.bulk(b"commands");
    cx.reply.bulk(&selector.describe_commands());
    cx.reply.bulk(b"keys");
    cx.reply.bulk(&selector.describe_keys());
    cx.reply.bulk(b"channels");
    cx.reply.bulk(&selector.describe_channels());
}

fn getuser(cx: &mut Cx<'_>) -> Outcome {
    match cx.engine.acl.find(cx.args.arg(2)) {
        Some(account) => reply_user(cx, &account.user()),
        None => cx.reply.null(),
    }
    Ok(())
}

fn reply_user(cx: &mut Cx<'_>, user: &User) {
    let flags = user.flags();
    cx.reply.map(6);
    cx.reply.bulk(b"flags");
    cx.reply.set(flags.len());
    flags.iter().for_each(|flag| cx.reply.bulk(flag.as_bytes()));
    cx.reply.bulk(b"passwords");
    cx.reply.array(user.passwords.len());
    user.passwords.iter().for_each(|hash| cx.reply.bulk(hash));
    reply_selector(cx, &user.root);
    cx.reply.bulk(b"selectors");
    cx.reply.array(user.selectors.len());
    for selector in &user.selectors {
        cx.reply.map(3);
        reply_selector(cx, selector);
    }
}

fn list(cx: &mut Cx<'_>) -> Outcome {
    let lines = cx.engine.acl.user_lines();
    cx.reply.array(lines.len());
    lines.iter().for_each(|line| cx.reply.bulk(line));
    Ok(())
}

fn users(cx: &mut Cx<'_>) -> Outcome {
    let users = cx.engine.acl.list();
    cx.reply.array(users.len());
    users.iter().for_each(|(name, _)| cx.reply.bulk(name));
    Ok(())
}

fn whoami(cx: &mut Cx<'_>) -> Outcome {
    let name = cx.session.user_name();
    cx.reply.bulk(name.as_bytes());
    Ok(())
}

fn cat(cx: &mut Cx<'_>) -> Outcome {
    match (cx.argc(), cx.args.get(2)) {
        (3, Some(name)) => cat_commands(cx, name),
        (2, _) => {
            cx.reply.array(Category::ALL.len());
            Category::ALL.iter().for_each(|category| cx.reply.bulk(category.name().as_bytes()));
            Ok(())
        }
        _ => Err(subcommand_syntax(cx.args)),
    }
}

fn cat_commands(cx: &mut Cx<'_>, name: &[u8]) -> Outcome {
    let known = |category: &&Category| is_word(name, category.name());
    let Some(category) = Category::ALL.iter().find(known) else {
        return Err(Failure::text(format!("ERR Unknown category '{}'", lossy(name))));
    };
    let has = |entry: &&CommandEntry| entry.categories.contains(category.set());
    let found: Vec<&CommandEntry> = cx.engine.commands.entries().iter().filter(has).collect();
    cx.reply.array(found.len());
    found.iter().for_each(|entry| cx.reply.bulk(entry.full_name.as_bytes()));
    Ok(())
}

fn genpass(cx: &mut Cx<'_>) -> Outcome {
    let bits = match (cx.argc(), cx.args.get(2)) {
        (2, _) => 256,
        (3, Some(bits)) => integer(bits)?,
        _ => return Err(subcommand_syntax(cx.args)),
    };
    if !(1..=GENPASS_BITS_MAX).contains(&bits) {
        return Err(failure(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
        ));
    }
    let digits = (bits as usize).div_ceil(4);
    let mut random = vec![0; digits.div_ceil(2)];
    let host = &cx.engine.environment.host;
    host.fill_random(&mut random, &mut || cx.random()).map_err(Failure::text)?;
    cx.reply.bulk(&hex(&random)[..digits]);
    Ok(())
}

fn log(cx: &mut Cx<'_>) -> Outcome {
    let count = match (cx.argc(), cx.args.get(2)) {
        (2, _) => 10,
        (3, Some(word)) if is_word(word, "RESET") => {
            cx.engine.acl.log.clear();
            cx.reply.ok();
            return Ok(());
        }
        (3, Some(word)) => usize::try_from(integer(word)?).unwrap_or(0),
        _ => return Err(subcommand_syntax(cx.args)),
    };
    let entries = cx.engine.acl.log.newest(count);
    cx.reply.array(entries.len());
    for entry in entries {
        write_denial(cx, &entry);
    }
    Ok(())
}

/// Writes one entry of `ACL LOG`.
fn write_denial(cx: &mut Cx<'_>, entry: &Denial) {
    let age_s = cx.now.wall_ms.saturating_sub(entry.updated_ms) as f64 / 1000.0;
    cx.reply.map(10);
    cx.reply.bulk(b"count");
    cx.reply.integer(entry.count as i64);
    let texts: [(&str, &[u8]); 4] = [
        ("reason", entry.reason.name().as_bytes()),
        ("context", entry.context.name().as_bytes()),
        ("object", &entry.object),
        ("username", &entry.user),
    ];
    for (name, text) in texts {
        cx.reply.bulk(name.as_bytes());
        cx.reply.bulk(text);
    }
    cx.reply.bulk(b"age-seconds");
    cx.reply.double(age_s);
    cx.reply.bulk(b"client-info");
    cx.reply.bulk(entry.client.as_bytes());
    let numbers = [
        ("entry-id", entry.id),
        ("timestamp-created", entry.created_ms),
        ("timestamp-last-updated", entry.updated_ms),
    ];
    for (name, number) in numbers {
        cx.reply.bulk(name.as_bytes());
        cx.reply.integer(number as i64);
    }
}

fn dryrun(cx: &mut Cx<'_>) -> Outcome {
    let name = cx.args.arg(2);
    let Some(account) = cx.engine.acl.find(name) else {
        return Err(Failure::text(format!("ERR User '{}' not found", lossy(name))));
    };
    let request = cx.args.tail(3);
    let table = &cx.engine.commands;
    let unknown = |entry: &&CommandEntry| entry.subcommands.is_empty() || request.len() < 2;
    let Some(entry) = table.resolve(request).filter(unknown) else {
        let command = lossy(request.arg(0));
        return Err(Failure::text(format!("ERR Command '{command}' not found")));
    };
    if !entry.accepts(request.len()) {
        return Err(wrong_arity(&entry.full_name));
    }
    match account.user().check(entry, request) {
        Ok(()) => cx.reply.ok(),
        Err(denied) => {
            let text = denied.text(&account.name, entry, request, true);
            cx.reply.bulk(text.as_bytes());
        }
    }
    Ok(())
}

fn load(cx: &mut Cx<'_>) -> Outcome {
    let path = cx.engine.config.text(Id::Aclfile);
    if path.is_empty() {
        return Err(NO_FILE);
    }
    UserChanges::of(cx.engine)
        .load_acl_file()
        .map_err(|error| Failure::text(format!("ERR {error}")))?;
    cx.session.refresh_user(&cx.engine.acl);
    cx.reply.ok();
    Ok(())
}

fn save(cx: &mut Cx<'_>) -> Outcome {
    let path = cx.engine.config.text(Id::Aclfile);
    if path.is_empty() {
        return Err(NO_FILE);
    }
    let mut text = Vec::new();
    for (name, user) in cx.engine.acl.list() {
        text.extend_from_slice(&user_line(&name, &user));
        text.push(b'\n');
    }
    cx.engine.environment.host.write_acl_file(&path, &text).map_err(|error| {
        tracing::warn!(error, "ACL SAVE failed");
        failure(
            "ERR There was an error trying to save the ACLs. Please check the server logs for more information",
        )
    })?;
    cx.reply.ok();
    Ok(())
}

fn help(cx: &mut Cx<'_>) -> Outcome {
    cx.help("ACL", help::LINES);
    Ok(())
}

/// Records an attempt to authenticate with wrong credentials.
pub(super) fn note_failed_auth(cx: &Cx<'_>, user: &[u8]) {
    let context = match cx.session.in_multi() || cx.session.may_not_block() {
        true => engine::acl::Context::Multi,
        false => engine::acl::Context::TopLevel,
    };
    let (object, now_ms) = (cx.args.arg(0), cx.now.wall_ms);
    cx.engine.note_denied(cx.session, Reason::Auth, context, object, user, now_ms);
}
