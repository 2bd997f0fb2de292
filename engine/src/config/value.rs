//! From words to a value and back: what each [`Kind`] accepts, with Redis's error texts.

use super::{Directive, Grammar, Initial, KeyspaceEvents, Kind, grammar, memory};
use std::sync::Arc;

/// The value of a directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Yes/no (1, 0), integers, sizes (the bits of a `u64`), percentages (negative), choices, flags.
    Number(i64),
    /// The value of all others, as `CONFIG GET` shows it.
    Text(Arc<str>),
}

impl Directive {
    /// The default.
    pub fn default_value(&self) -> Value {
        match self.initial {
            Initial::Number(number) => Value::Number(number),
            Initial::Text(text) => Value::Text(text.into()),
        }
    }

    /// Whether a value is written as several words.
    pub fn takes_many_words(&self) -> bool {
        match self.kind {
            Kind::Flags(_) => true,
            Kind::Grammar(grammar) => grammar != Grammar::KeyspaceEvents,
            _ => false,
        }
    }

    /// Splits the one argument `CONFIG SET` has into words: single spaces part them.
    pub fn split<'v>(&self, value: &'v str) -> Vec<&'v str> {
        match value {
            "" if self.takes_many_words() => Vec::new(),
            value if self.takes_many_words() => value.split(' ').collect(),
            value => vec![value],
        }
    }

    /// Parses the words of a value. `current` is the value now: `client-output-buffer-limit`
    /// changes only the classes it names.
    ///
    /// # Errors
    /// The words are no value: the reason, in Redis's words.
    pub fn parse(&self, words: &[&str], current: &Value) -> Result<Value, String> {
        match (words, self.takes_many_words()) {
            (words, true) => self.parse_many(words, current),
            ([word], false) => self.parse_one(word),
            _ => Err("wrong number of arguments".into()),
        }
    }

    fn parse_many(&self, words: &[&str], current: &Value) -> Result<Value, String> {
        match self.kind {
            Kind::Flags(bits) => parse_flags(bits, words).map(Value::Number),
            Kind::Grammar(which) => {
                grammar::normalize(which, words, current).map(|text| Value::Text(text.into()))
            }
            _ => Err("wrong number of arguments".into()),
        }
    }

    fn parse_one(&self, word: &str) -> Result<Value, String> {
        let number = match self.kind {
            Kind::YesNo => parse_yes_no(word)?,
            Kind::Integer { min, max } => parse_integer(word, min, max)?,
            Kind::ZeroOr { .. } if word == "0" => 0,
            Kind::ZeroOr { min, max } => parse_integer(word, min, max)
                .map_err(|why| why.replace("must be", "must be 0 or"))?,
            Kind::Memory { min, max } => parse_memory(word, min, max)?,
            Kind::MemoryOrPercent => parse_memory_or_percent(word)?,
            Kind::Octal { max } => parse_octal(word, max)?,
            Kind::Choice(choices) => parse_choice(choices, word)?,
            Kind::Text(check) => {
                check(word)?;
                return Ok(Value::Text(word.into()));
            }
            Kind::Grammar(_) | Kind::Flags(_) => KeyspaceEvents::parse(word)
                .map(|events| events.bits().into())
                .ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?,
        };
        Ok(Value::Number(number))
    }

    /// A value as `CONFIG GET` shows it.
    pub fn render(&self, value: &Value) -> String {
        let number = match value {
            Value::Text(text) => return text.to_string(),
            Value::Number(number) => *number,
        };
        match self.kind {
            Kind::YesNo => if number != 0 { "yes" } else { "no" }.into(),
            Kind::Memory { .. } => (number as u64).to_string(),
            Kind::MemoryOrPercent if number < 0 => format!("{}%", number.unsigned_abs()),
            Kind::Octal { .. } => format!("{number:o}"),
            Kind::Choice(choices) => choice_name(choices, number).into(),
            Kind::Flags(bits) => render_flags(bits, number),
            Kind::Grammar(Grammar::KeyspaceEvents) => KeyspaceEvents::of(number).render(),
            _ => number.to_string(),
        }
    }
}

fn parse_yes_no(word: &str) -> Result<i64, String> {
    match word {
        _ if word.eq_ignore_ascii_case("yes") => Ok(1),
        _ if word.eq_ignore_ascii_case("no") => Ok(0),
        _ => Err("argument must be 'yes' or 'no'".into()),
    }
}

/// Integers as Redis's `string2ll` takes them: no `+`, no leading zero, no spaces.
fn parse_integer(word: &str, min: i64, max: i64) -> Result<i64, String> {
    let canonical = |number: &i64| number.to_string() == word;
    let number = word.parse().ok().filter(canonical);
    let number = number.ok_or("argument couldn't be parsed into an integer")?;
    if (min..=max).contains(&number) {
        return Ok(number);
    }
    Err(format!("argument must be between {min} and {max} inclusive"))
}

fn parse_memory(word: &str, min: u64, max: u64) -> Result<i64, String> {
    let bytes = memory::parse(word).ok_or("argument must be a memory value")?;
    if (min..=max).contains(&bytes) {
        return Ok(bytes as i64);
    }
    Err(format!("argument must be between {min} and {max} inclusive"))
}

fn parse_memory_or_percent(word: &str) -> Result<i64, String> {
    const TOO_MUCH: &str = "percentage argument must be less or equal to 100";
    if let Some(bytes) = memory::parse(word) {
        return i64::try_from(bytes).map_err(|_| TOO_MUCH.into());
    }
    let percent = word.strip_suffix('%').and_then(|digits| digits.parse::<u32>().ok());
    match percent.ok_or("argument must be a memory or percent value")? {
        percent @ 0..=100 => Ok(-i64::from(percent)),
        _ => Err(TOO_MUCH.into()),
    }
}

fn parse_octal(word: &str, max: i64) -> Result<i64, String> {
    let number = i64::from_str_radix(word, 8)
        .map_err(|_| "argument couldn't be parsed as an octal number")?;
    if (0..=max).contains(&number) {
        return Ok(number);
    }
    Err(format!("argument must be between 0 and {max:o} inclusive"))
}

fn parse_choice(choices: &[(&str, i64)], word: &str) -> Result<i64, String> {
    let found = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    found.map(|(_, number)| *number).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        format!("argument(s) must be one of the following: {}", names.join(", "))
    })
}

fn parse_flags(bits: &[(&str, i64)], words: &[&str]) -> Result<i64, String> {
    let both = |all: i64, a: &str, b: &str| {
        let bit = |name| bits.iter().find(|(known, _)| *known == name).map_or(0, |(_, bit)| *bit);
        all & bit(a) != 0 && all & bit(b) != 0
    };
    let mut all = 0;
    for word in words {
        all |= parse_choice(bits, word)?;
    }
    if both(all, "save", "nosave") {
        return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
    }
    Ok(all)
}

fn render_flags(bits: &'static [(&'static str, i64)], number: i64) -> String {
    let set: Vec<_> = bits.iter().filter(|(_, bit)| *bit != 0 && number & bit == *bit).collect();
    match set.is_empty() {
        true => choice_name(bits, 0).into(),
        false => set.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" "),
    }
}

/// The name of a choice; `unknown`, as in Redis, for a number without one.
pub(super) fn choice_name(choices: &'static [(&'static str, i64)], number: i64) -> &'static str {
    choices.iter().find(|(_, known)| *known == number).map_or("unknown", |(name, _)| name)
}
