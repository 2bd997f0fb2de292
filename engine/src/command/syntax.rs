//! The notation of [`Spec::syntax`](super::Spec::syntax), read into the argument tree that
//! `COMMAND DOCS` shows.
//!
//! ```text
//! alternatives := sequence ('|' sequence)*
//! sequence     := item*
//! item         := [label] word | [label] '[' alternatives ']' | [label] '<' alternatives '>' | '...' | version
//! label        := name ':'
//! version      := '@' version-it-is-there-since | '@!' version-it-is-deprecated-since
//! ```
//!
//! A word without lower-case letters is literal: a flag of its own, or the token in front of the
//! value that follows. `x [x ...]` repeats `x`. A label names an argument where its own words do not;
//! versions are of the argument before.

use super::argument::{Argument, Kind};
use std::fmt;

/// A syntax text that does not follow the notation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError(pub &'static str);

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for SyntaxError {}

/// Brackets may stand within each other this deep.
const DEPTH_MAX: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node<'a> {
    Word(&'a str),
    Optional(Vec<Vec<Node<'a>>>),
    Choice(Vec<Vec<Node<'a>>>),
    Ellipsis,
}

/// Reads a syntax text. Types and key specs are not known yet: every value is a string.
///
/// # Errors
/// Fails if brackets do not match, or an alternative is empty.
pub fn parse(text: &str) -> Result<Vec<Argument>, SyntaxError> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let words = split(text);
    let mut words = &words[..];
    let alternatives = read_alternatives(&mut words, None, 0)?;
    match alternatives.as_slice() {
        [sequence] => build(sequence),
        many => Ok(vec![group(many)?]),
    }
}

/// Cuts the text into words and brackets.
fn split(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for chunk in text.split_ascii_whitespace() {
        let mut rest = chunk;
        while let Some(at) = rest.find(['[', ']', '<', '>', '|']) {
            words.extend((at > 0).then(|| &rest[..at]));
            words.push(&rest[at..=at]);
            rest = &rest[at + 1..];
        }
        words.extend((!rest.is_empty()).then_some(rest));
    }
    words
}

fn read_alternatives<'a>(
    words: &mut &[&'a str],
    close: Option<&str>,
    depth: usize,
) -> Result<Vec<Vec<Node<'a>>>, SyntaxError> {
    if depth > DEPTH_MAX {
        return Err(SyntaxError("brackets are nested too deep"));
    }
    let mut alternatives = vec![Vec::new()];
    loop {
        let Some((&word, rest)) = words.split_first() else {
            break close.map_or(Ok(()), |_| Err(SyntaxError("a bracket is not closed")))?;
        };
        *words = rest;
        let node = match word {
            word if Some(word) == close => break,
            "]" | ">" => return Err(SyntaxError("a closing bracket without its opening")),
            "|" => {
                alternatives.push(Vec::new());
                continue;
            }
            "[" => Node::Optional(read_alternatives(words, Some("]"), depth + 1)?),
            "<" => Node::Choice(read_alternatives(words, Some(">"), depth + 1)?),
            "..." => Node::Ellipsis,
            word => Node::Word(word),
        };
        alternatives.last_mut().expect("never empty").push(node);
    }
    match alternatives.iter().any(Vec::is_empty) {
        true => Err(SyntaxError("an empty alternative")),
        false => Ok(alternatives),
    }
}

/// One argument, with the number of nodes it was made of.
struct Unit {
    argument: Argument,
    start: usize,
}

fn build(sequence: &[Node<'_>]) -> Result<Vec<Argument>, SyntaxError> {
    let mut units: Vec<Unit> = Vec::new();
    let mut at = 0;
    while let Some(node) = sequence.get(at) {
        let start = at;
        at += 1;
        if let Some(repeated) = repetition(node)
            && sequence[..start].ends_with(repeated)
        {
            repeat_last(&mut units, start - repeated.len());
            continue;
        }
        if let Node::Word(word) = node
            && let Some(version) = word.strip_prefix('@')
        {
            let last = units.last_mut().ok_or(SyntaxError("a version of nothing"))?;
            last.argument.set_version(version);
            continue;
        }
        let (label, node) = match label(node) {
            Some(label) => {
                at += 1;
                (Some(label), sequence.get(at - 1).ok_or(SyntaxError("a label of nothing"))?)
            }
            None => (None, node),
        };
        let mut argument = match node {
            Node::Ellipsis => {
                let last = units.last_mut().ok_or(SyntaxError("'...' repeats nothing"))?;
                last.argument.multiple = true;
                continue;
            }
            Node::Word(word) if !is_literal(word) => Argument::value(word),
            Node::Word(token) => match sequence.get(at).filter(|next| takes_token(next)) {
                Some(next) => {
                    at += 1;
                    single(next)?.with_token(token)
                }
                None => Argument::literal(token),
            },
            bracket => single(bracket)?,
        };
        if let Some(label) = label {
            argument.name = label.to_owned();
        }
        units.push(Unit { argument, start });
    }
    Ok(units.into_iter().map(|unit| unit.argument).collect())
}

/// The name in `name:`.
fn label<'a>(node: &Node<'a>) -> Option<&'a str> {
    let Node::Word(word) = node else { return None };
    word.strip_suffix(':').filter(|name| !name.is_empty())
}

/// The repeated part of an optional repetition: `x` in `[x ...]`. `None` for any other node.
fn repetition<'n, 'a>(node: &'n Node<'a>) -> Option<&'n [Node<'a>]> {
    let Node::Optional(alternatives) = node else { return None };
    let [sequence] = alternatives.as_slice() else { return None };
    match sequence.split_last()? {
        (Node::Ellipsis, repeated) if !repeated.is_empty() => Some(repeated),
        _ => None,
    }
}

/// Makes everything from node `from` on one repeated argument.
fn repeat_last(units: &mut Vec<Unit>, from: usize) {
    let first = units.iter().position(|unit| unit.start >= from).unwrap_or(units.len());
    match units.len() - first {
        0 => {
            // Only the value behind a token is repeated: `WEIGHTS weight [weight ...]`.
            if let Some(unit) = units.last_mut() {
                unit.argument.multiple = true;
            }
        }
        1 => {
            let argument = &mut units[first].argument;
            argument.multiple = true;
            argument.multiple_token = argument.token.is_some();
        }
        _ => {
            let start = units[first].start;
            let arguments = units.drain(first..).map(|unit| unit.argument).collect();
            let mut argument = Argument::block(arguments);
            argument.multiple = true;
            let leads = argument.arguments.first().is_some_and(|first| first.token.is_some());
            argument.multiple_token = leads;
            units.push(Unit { argument, start });
        }
    }
}

fn is_literal(word: &str) -> bool {
    !word.contains(|c: char| c.is_ascii_lowercase())
}

/// Whether a literal in front of this is its token.
fn takes_token(node: &Node<'_>) -> bool {
    match node {
        Node::Word(word) => !is_literal(word),
        Node::Choice(_) => true,
        Node::Optional(_) | Node::Ellipsis => false,
    }
}

fn single(node: &Node<'_>) -> Result<Argument, SyntaxError> {
    match node {
        Node::Word(word) => Ok(Argument::value(word)),
        Node::Choice(alternatives) => group(alternatives),
        Node::Optional(alternatives) => {
            let mut argument = group(alternatives)?;
            argument.optional = true;
            Ok(argument)
        }
        Node::Ellipsis => Err(SyntaxError("'...' repeats nothing")),
    }
}

/// The argument for alternatives: one of them or, if there is only one, that one itself.
fn group(alternatives: &[Vec<Node<'_>>]) -> Result<Argument, SyntaxError> {
    let (alternatives, repeated) = without_repetition(alternatives);
    let mut arguments = Vec::with_capacity(alternatives.len());
    for sequence in &alternatives {
        let mut built = build(sequence)?;
        arguments.push(match built.len() {
            1 => built.remove(0),
            _ => Argument::block(built),
        });
    }
    let mut argument = match arguments.len() {
        1 => arguments.remove(0),
        _ => Argument::one_of(arguments),
    };
    argument.multiple |= repeated;
    Ok(argument)
}

/// Takes the end off `a | b [a | b ...]`; whether there was one.
fn without_repetition<'a>(alternatives: &[Vec<Node<'a>>]) -> (Vec<Vec<Node<'a>>>, bool) {
    let mut rest = alternatives.to_vec();
    let Some(Node::Optional(inner)) = rest.last_mut().and_then(Vec::pop) else {
        return (alternatives.to_vec(), false);
    };
    let mut inner = inner;
    let ends = inner.last_mut().and_then(Vec::pop) == Some(Node::Ellipsis);
    match ends && rest.len() > 1 && inner == rest {
        true => (rest, true),
        false => (alternatives.to_vec(), false),
    }
}

impl Argument {
    fn value(name: &str) -> Self {
        Argument { name: name.to_owned(), display: name.to_owned(), ..Argument::default() }
    }

    /// Records the version from an `@version` annotation: the first version that has the argument,
    /// or, after `!`, the version that deprecated it.
    fn set_version(&mut self, version: &str) {
        match version.strip_prefix('!') {
            Some(deprecated) => self.deprecated_since = Some(deprecated.to_owned()),
            None => self.since = Some(version.to_owned()),
        }
    }

    fn literal(token: &str) -> Self {
        let name = literal_name(token);
        // The one literal that is written as people would type it.
        let token = if token == "\"\"" { "" } else { token };
        Argument { name, kind: Kind::PureToken, token: Some(token.to_owned()), ..Self::default() }
    }

    fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        if self.kind == Kind::Block {
            self.name = literal_name(token);
        }
        self
    }

    fn block(arguments: Vec<Argument>) -> Self {
        let lead = arguments.first();
        let name = match lead.and_then(|first| first.token.as_deref()) {
            Some(token) => literal_name(token),
            None => "data".to_owned(),
        };
        Argument { name, kind: Kind::Block, arguments, ..Self::default() }
    }

    fn one_of(arguments: Vec<Argument>) -> Self {
        let name = choice_name(&arguments);
        Argument { name, kind: Kind::OneOf, arguments, ..Self::default() }
    }
}

/// The name of a literal: itself, or what Redis calls the signs.
fn literal_name(token: &str) -> String {
    match token {
        "=" => "equal".to_owned(),
        "~" => "approximately".to_owned(),
        "*" => "auto-id".to_owned(),
        "$" => "last-id".to_owned(),
        "\"\"" => "empty-string".to_owned(),
        word => word.to_ascii_lowercase(),
    }
}

/// The name of a choice: Redis's for the usual ones, else the names of its members.
fn choice_name(arguments: &[Argument]) -> String {
    let token = |at: usize| arguments.get(at).and_then(|a| a.token.as_deref()).unwrap_or("");
    let known = match (token(0), token(1)) {
        ("NX", "XX") => "condition",
        ("GT", "LT") => "comparison",
        ("EX", _) => "expiration",
        ("LEFT", "RIGHT") | ("MIN", "MAX") | ("BEFORE", "AFTER") => "where",
        ("ASC", "DESC") => "order",
        ("ASYNC", "SYNC") => "flush-type",
        ("SUM", "MIN") => "aggregate",
        ("M", "KM") => "unit",
        ("BYTE", "BIT") => "unit",
        ("BYSCORE", "BYLEX") => "sortby",
        ("MAXLEN", "MINID") => "strategy",
        ("=", "~") => "operator",
        _ => return join(arguments.iter().map(|a| a.name.as_str())),
    };
    known.to_owned()
}

fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.take(8).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_choices_and_tokens() {
        let set = parse("key value [NX | XX] [EX seconds | KEEPTTL]").expect("valid");
        let names: Vec<&str> = set.iter().map(|a| a.name.as_str()).collect();
        assert_eq!(names, ["key", "value", "condition", "expiration"]);
        assert!(set[2].optional && set[2].kind == Kind::OneOf);
        assert_eq!(set[3].arguments[0].token.as_deref(), Some("EX"));

        let sort =
            parse("key [GET pattern [GET pattern ...]] [LIMIT offset count]").expect("valid");
        assert!(sort[1].optional && sort[1].multiple && sort[1].multiple_token);
        assert_eq!((sort[2].kind, sort[2].name.as_str()), (Kind::Block, "limit"));

        let hset = parse("key field value [field value ...]").expect("valid");
        assert_eq!((hset.len(), hset[1].arguments.len()), (2, 2));
        assert!(hset[1].multiple && !hset[1].multiple_token && !hset[1].optional);
    }

    #[test]
    fn labels_name_and_versions_date() {
        let parsed = parse("k trim: [<MAXLEN|MINID @6.2.0> [=|~] size] @5.0.0 storekey: STORE key");
        let [_, trim, store] = &parsed.expect("valid")[..] else { panic!("three arguments") };
        assert_eq!((trim.name.as_str(), trim.kind), ("trim", Kind::Block));
        assert_eq!(trim.since.as_deref(), Some("5.0.0"));
        let strategy = &trim.arguments[0];
        assert_eq!(strategy.name, "strategy");
        assert_eq!(strategy.arguments[1].since.as_deref(), Some("6.2.0"));
        assert_eq!((store.name.as_str(), store.display.as_str()), ("storekey", "key"));
        assert_eq!(store.token.as_deref(), Some("STORE"));

        let limit = parse("[LIMIT <offset count>] old: value @!2.8.12").expect("valid");
        assert_eq!((limit[0].name.as_str(), limit[0].token.as_deref()), ("limit", Some("LIMIT")));
        assert_eq!((limit[1].name.as_str(), limit[1].display.as_str()), ("old", "value"));
        assert_eq!(limit[1].deprecated_since.as_deref(), Some("2.8.12"));
    }

    #[test]
    fn what_does_not_follow_the_notation_is_refused() {
        for text in ["[a", "a]", "<a | >", "[]", "...", "a | | b", "<a ]", "@1.0.0", "name:"] {
            assert!(parse(text).is_err(), "{text}");
        }
        let deep = "[".repeat(100) + "a" + &"]".repeat(100);
        assert!(parse(&deep).is_err());
        assert_eq!(parse("  "), Ok(Vec::new()));
    }
}
