//! `FUNCTION` and `FCALL`.

use engine::cx::Cx;
use engine::failure::{BUSY_FUNCTION, BUSY_SCRIPT, Failure, Outcome, failure, subcommand_syntax};
use engine::scripting::eval::{key_count, run, split, terms, with_worker};
use engine::scripting::libraries::{Libraries, Library};
use engine::scripting::loading::{LibraryLoader, Policy};
use engine::scripting::running::{Kill, Kind};
use engine::text::args::is_word;
use engine::text::glob::matches;
use script::Failed;
use script::shebang::ScriptFlags;
use std::sync::Arc;
use storage::rdb;

pub(super) fn fcall(cx: &mut Cx<'_>) -> Outcome {
    call(cx, false)
}

pub(super) fn fcall_ro(cx: &mut Cx<'_>) -> Outcome {
    call(cx, true)
}

fn call(cx: &mut Cx<'_>, read_only: bool) -> Outcome {
    let name = cx.args.arg(1);
    let libraries = cx.engine.scripting.libraries.read().clone();
    let Some((library, function)) = libraries.function(name) else {
        return Err(failure("ERR Function not found"));
    };
    let keys = key_count(cx.args).map_err(|refusal| match refusal.as_str() {
        text if text.contains("integer") => failure("ERR Bad number of keys provided"),
        _ => refusal,
    })?;
    let terms = terms(cx, Kind::Function, function.flags, read_only)?;
    let shown = || String::from_utf8_lossy(name).into_owned();
    with_worker(cx, |cx, worker| {
        worker.forget_libraries_but(&libraries);
        run(cx, worker, terms, &shown, |worker, host, args, seed| {
            library.ensure(worker, host).map_err(|text| Failed::new(&text))?;
            let (keys, values) = split(args, keys);
            worker.vm.call_function(library.id, &function.name, keys, values, seed, host)
        })
    })
}

/// Changes the libraries, counts that as a change, and replies with what `change` says.
fn change<T>(
    cx: &mut Cx<'_>,
    change: impl FnOnce(&Cx<'_>, &mut Libraries) -> Result<T, String>,
) -> Result<T, Failure> {
    let engine = cx.engine;
    let changed = engine.scripting.change_libraries(|libraries| change(cx, libraries));
    let changed = changed.map_err(Failure::text)?;
    cx.changed_silently(1);
    Ok(changed)
}

pub(super) fn load(cx: &mut Cx<'_>) -> Outcome {
    let last = cx.argc() - 1;
    let replace = last > 2;
    if let Some(unknown) = (2..last).find(|&i| !cx.is(i, "REPLACE")) {
        let unknown = String::from_utf8_lossy(cx.args.arg(unknown)).into_owned();
        return Err(Failure::text(format!("ERR Unknown option given: {unknown}")));
    }
    let text = cx.args.arg(last);
    let name = change(cx, |cx, libraries| {
        LibraryLoader::new(cx.engine, !cx.session.is_trusted()).load(libraries, text, replace)
    })?;
    cx.reply.bulk(&name);
    Ok(())
}

pub(super) fn delete(cx: &mut Cx<'_>) -> Outcome {
    let name = cx.args.arg(2);
    change(cx, |_, libraries| match libraries.remove(name) {
        true => Ok(()),
        false => Err("ERR Library not found".into()),
    })?;
    cx.reply.ok();
    Ok(())
}

pub(super) fn flush(cx: &mut Cx<'_>) -> Outcome {
    if cx.argc() > 3 {
        return Err(subcommand_syntax(cx.args));
    }
    let known = cx.argc() == 2 || (cx.argc() == 3 && (cx.is(2, "SYNC") || cx.is(2, "ASYNC")));
    if !known {
        return Err(failure("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    change(cx, |_, libraries| {
        libraries.clear();
        Ok(())
    })?;
    cx.reply.ok();
    Ok(())
}

pub(super) fn dump(cx: &mut Cx<'_>) -> Outcome {
    let payload = rdb::encode_libraries(&cx.engine.scripting.library_texts());
    cx.reply.bulk_shared(payload.into());
    Ok(())
}

pub(super) fn restore(cx: &mut Cx<'_>) -> Outcome {
    if cx.argc() > 4 {
        return Err(subcommand_syntax(cx.args));
    }
    let policy = match cx.args.get(3) {
        None => Policy::Append,
        Some(word) if is_word(word, "APPEND") => Policy::Append,
        Some(word) if is_word(word, "REPLACE") => Policy::Replace,
        Some(word) if is_word(word, "FLUSH") => Policy::Flush,
        Some(_) => {
            return Err(failure(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
    };
    let checksum = cx.engine.tuning.switches.checksum();
    let texts = rdb::decode_libraries(cx.args.arg(2), checksum)
        .map_err(|error| Failure::text(format!("ERR {error}")))?;
    let loader = LibraryLoader::new(cx.engine, !cx.session.is_trusted());
    loader.restore_all(&texts, policy).map_err(Failure::text)?;
    if checksum == rdb::Checksum::Ignored {
        // The checksum is verified when the log is replayed.
        let payload = rdb::seal_payload_again(cx.args.arg(2));
        let mut words: Vec<&[u8]> = cx.args.iter().collect();
        words[2] = &payload;
        cx.log(&words);
    }
    cx.changed_silently(1);
    cx.reply.ok();
    Ok(())
}

pub(super) fn list(cx: &mut Cx<'_>) -> Outcome {
    let (mut with_code, mut pattern) = (false, None);
    let mut args = cx.args_from(2);
    while let Some(word) = args.peek() {
        if !with_code && args.keyword("WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && args.keyword("LIBRARYNAME") {
            let missing = failure("ERR library name argument was not given");
            pattern = Some(args.next().ok_or(missing)?);
        } else {
            let unknown = String::from_utf8_lossy(word);
            return Err(Failure::text(format!("ERR Unknown argument {unknown}")));
        }
    }
    let libraries = cx.engine.scripting.libraries.read().clone();
    let shown = |name: &[u8]| pattern.is_none_or(|pattern| matches(pattern, name, true));
    let shown: Vec<_> = libraries.iter().filter(|library| shown(&library.name)).collect();
    cx.reply.array(shown.len());
    for library in shown {
        describe(cx, library, with_code);
    }
    Ok(())
}

fn describe(cx: &mut Cx<'_>, library: &Arc<Library>, with_code: bool) {
    let reply = &mut cx.reply;
    reply.map(if with_code { 4 } else { 3 });
    reply.bulk(b"library_name");
    reply.bulk(&library.name);
    reply.bulk(b"engine");
    reply.bulk(b"LUA");
    reply.bulk(b"functions");
    reply.array(library.functions.len());
    for function in &library.functions {
        reply.map(3);
        reply.bulk(b"name");
        reply.bulk(&function.name);
        reply.bulk(b"description");
        match &function.description {
            Some(text) => reply.bulk(text),
            None => reply.null(),
        }
        reply.bulk(b"flags");
        let flags: Vec<_> =
            ScriptFlags::NAMED.iter().filter(|(_, flag)| function.flags.contains(*flag)).collect();
        reply.set(flags.len());
        flags.iter().for_each(|(name, _)| reply.simple(name));
    }
    if with_code {
        reply.bulk(b"library_code");
        reply.bulk(&library.text);
    }
}

pub(super) fn stats(cx: &mut Cx<'_>) -> Outcome {
    let engine = cx.engine;
    let running = engine.scripting.running.first();
    if running.as_ref().is_some_and(|script| script.kind == Kind::Script) {
        return Err(BUSY_SCRIPT);
    }
    let reply = &mut cx.reply;
    reply.map(2);
    reply.bulk(b"running_script");
    match running {
        None => reply.null(),
        Some(script) => {
            let now = (engine.environment.stopwatch)();
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(script.name.as_bytes());
            reply.bulk(b"command");
            reply.array(script.command.len());
            script.command.iter().for_each(|word| reply.bulk(word));
            reply.bulk(b"duration_ms");
            reply.integer((now.saturating_sub(script.began_ns) / 1_000_000) as i64);
        }
    }
    let libraries = engine.scripting.libraries.read();
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.integer(libraries.count() as i64);
    reply.bulk(b"functions_count");
    reply.integer(libraries.functions() as i64);
    Ok(())
}

pub(super) fn kill(cx: &mut Cx<'_>) -> Outcome {
    kill_kind(cx, Kind::Function)
}

/// `FUNCTION KILL` and `SCRIPT KILL`.
pub(super) fn kill_kind(cx: &mut Cx<'_>, kind: Kind) -> Outcome {
    match (cx.engine.scripting.kill(kind, (cx.engine.environment.stopwatch)()), kind) {
        (Kill::Killed, _) => {
            cx.reply.ok();
            Ok(())
        }
        (Kill::NotBusy, _) => Err(failure("NOTBUSY No scripts in execution right now.")),
        (Kill::Unkillable, _) => Err(failure(
            "UNKILLABLE Sorry the script already executed write commands against the dataset. You \
             can either wait the script termination or kill the server in a hard way using the \
             SHUTDOWN NOSAVE command.",
        )),
        (Kill::OtherKind, Kind::Function) => Err(BUSY_SCRIPT),
        (Kill::OtherKind, Kind::Script) => Err(BUSY_FUNCTION),
    }
}

/// The lines of `FUNCTION HELP`.
const HELP: &[&str] = &[
    "LOAD [REPLACE] <FUNCTION CODE>",
    "    Create a new library with the given library name and code.",
    "DELETE <LIBRARY NAME>",
    "    Delete the given library.",
    "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
    "    Return general information on all the libraries:",
    "    * Library name",
    "    * The engine used to run the Library",
    "    * Library description",
    "    * Functions list",
    "    * Library code (if WITHCODE is given)",
    "    It also possible to get only function that matches a pattern using LIBRARYNAME argument.",
    "STATS",
    "    Return information about the current function running:",
    "    * Function name",
    "    * Command used to run the function",
    "    * Duration in MS that the function is running",
    "    If no function is running, return nil",
    "    In addition, returns a list of available engines.",
    "KILL",
    "    Kill the current running function.",
    "FLUSH [ASYNC|SYNC]",
    "    Delete all the libraries.",
    "    When called without the optional mode argument, the behavior is determined by the",
    "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
    "    * ASYNC: Asynchronously flush the libraries.",
    "    * SYNC: Synchronously flush the libraries.",
    "DUMP",
    "    Return a serialized payload representing the current libraries, can be restored using FUNCTION RESTORE command",
    "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
    "    Restore the libraries represented by the given payload, it is possible to give a restore policy to",
    "    control how to handle existing libraries (default APPEND):",
    "    * FLUSH: delete all existing libraries.",
    "    * APPEND: appends the restored libraries to the existing libraries. On collision, abort.",
    "    * REPLACE: appends the restored libraries to the existing libraries, On collision, replace the old",
    "      libraries with the new libraries (notice that even on this option there is a chance of failure",
    "      in case of functions name collision with another library).",
];

pub(super) fn help(cx: &mut Cx<'_>) -> Outcome {
    cx.help("FUNCTION", HELP);
    Ok(())
}
