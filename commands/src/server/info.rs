//! `INFO`: figures by section, in Redis's names. The figures are rows of [`engine::observe`].

use super::base::SERVER;
use engine::command::{Flag::*, Spec};
use engine::cx::Cx;
use engine::failure::Outcome;
use engine::observe::{self, Section};

fn info(cx: &mut Cx<'_>) -> Outcome {
    let asked: Vec<String> = cx
        .args
        .tail(1)
        .iter()
        .map(|word| String::from_utf8_lossy(word).to_ascii_lowercase())
        .collect();
    let wanted = |section: &Section| match asked.is_empty() {
        true => section.by_default,
        false => asked.iter().any(|word| match word.as_str() {
            "all" => !["modules", "trace"].contains(&section.key),
            "everything" => true,
            "default" => section.by_default,
            word => word == section.key,
        }),
    };
    let text = observe::text(cx.engine, cx.now, wanted);
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// The row of this file.
pub const COMMANDS: &[Spec] = &[Spec {
    name: "info",
    summary: "Returns information and statistics about the server.",
    since: "1.0.0",
    complexity: "O(1)",
    arity: -1,
    flags: &[Loading, Stale],
    categories: &[engine::command::Category::Dangerous],
    syntax: "[section [section ...]]",
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    history: &[("7.0.0", "Added support for taking multiple section arguments.")],
    handler: info,
    ..SERVER
}];
