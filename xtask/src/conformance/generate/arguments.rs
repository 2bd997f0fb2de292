//! Filling in a command's arguments.

use super::catalog::Form;
use super::pools::Pools;
use engine::command::{Argument, ArgumentKind};

/// Writes the arguments of one command.
pub struct Filler<'a, 'p> {
    pools: &'a mut Pools<'p>,
    form: &'a Form,
    out: Vec<Vec<u8>>,
    /// The number of repetitions of the next repeated argument, which `numkeys` has announced.
    announced: Option<u64>,
    /// How many keys were written last: `XREAD` takes as many IDs.
    keys: u64,
}

/// The command with its name.
pub fn fill(form: &Form, pools: &mut Pools<'_>) -> Vec<Vec<u8>> {
    let mut out: Vec<_> = form.name.iter().map(|word| pools.cased(word)).collect();
    let mut filler = Filler { pools, form, out: Vec::new(), announced: None, keys: 1 };
    let mut parts = Vec::new();
    for argument in &form.arguments {
        filler.maybe(argument);
        parts.push(std::mem::take(&mut filler.out));
    }
    filler.disturb(&mut parts);
    out.extend(parts.into_iter().flatten());
    out
}

impl Filler<'_, '_> {
    fn all(&mut self, arguments: &[Argument]) {
        arguments.iter().for_each(|argument| self.maybe(argument));
    }

    fn maybe(&mut self, argument: &Argument) {
        if !argument.optional || self.pools.chance(35) {
            self.one(argument);
        }
    }

    /// Sometimes makes arguments unusual, as careless clients do: repeats options, and moves parts
    /// to other places.
    fn disturb(&mut self, parts: &mut Vec<Vec<Vec<u8>>>) {
        let options = self.form.arguments.iter().filter(|argument| argument.optional);
        let options: Vec<&Argument> = options.collect();
        while !options.is_empty() && self.pools.is_hostile() {
            let chosen = self.pools.below(options.len() as u64) as usize;
            self.one(options[chosen]);
            parts.push(std::mem::take(&mut self.out));
        }
        if parts.len() > 1 && self.pools.is_hostile() {
            let from = self.pools.below(parts.len() as u64) as usize;
            let to = self.pools.below(parts.len() as u64) as usize;
            let part = parts.remove(from);
            parts.insert(to, part);
        }
    }

    fn one(&mut self, argument: &Argument) {
        let times = if argument.multiple { self.times(argument) } else { 1 };
        for time in 0..times {
            if let Some(token) =
                argument.token.as_ref().filter(|_| time == 0 || argument.multiple_token)
            {
                let token = self.pools.cased(token);
                self.out.push(token);
            }
            match argument.kind {
                ArgumentKind::PureToken => {}
                ArgumentKind::Block => self.all(&argument.arguments),
                ArgumentKind::OneOf => {
                    let chosen = self.pools.below(argument.arguments.len() as u64);
                    self.one(&argument.arguments[chosen as usize]);
                }
                _ => self.value(argument),
            }
        }
        if argument.kind == ArgumentKind::Key {
            self.keys = times;
        }
    }

    fn times(&mut self, argument: &Argument) -> u64 {
        let reads_streams = self.form.full_name.starts_with("xread");
        if argument.display == "id" && reads_streams {
            return self.keys;
        }
        let many = argument.kind != ArgumentKind::Key;
        let times = self.pools.times(many);
        self.announced.take().unwrap_or(times)
    }

    fn value(&mut self, argument: &Argument) {
        let value = match argument.display.as_str() {
            "numkeys" | "numfields" => {
                let count = self.pools.times(false);
                self.announced = Some(count);
                let wrong = u64::from(self.pools.is_hostile());
                (count + wrong * self.pools.below(3) - wrong).to_string().into_bytes()
            }
            name => self.pools.value(self.form, name, argument.kind),
        };
        self.out.push(value);
    }
}
