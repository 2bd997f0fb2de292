//! Runs a script and writes the replies.

use crate::render::{Shape, render};
use crate::script::{Action, Mark, Script};
use resp::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Carries out the steps of a script.
pub trait ScriptDriver {
    /// Begins anew: no data, no clients, the given protocol (2 or 3) for every client.
    ///
    /// # Errors
    /// Fails if the server cannot be brought there.
    fn reset(&mut self, protocol: u8) -> Result<(), String>;

    /// Sends a command from a client, which is connected at first use.
    ///
    /// # Errors
    /// Fails if it cannot be sent.
    fn send(&mut self, client: &str, args: &[Vec<u8>]) -> Result<(), String>;

    /// Waits until the command just sent is answered, or clearly waits; all that has arrived at a
    /// client since the last call. `None` at the end when the connection was closed.
    ///
    /// # Errors
    /// Fails if what arrived is not RESP.
    fn receive(&mut self, client: &str, awaited: bool) -> Result<Vec<Option<Value>>, String>;

    /// The clients connected so far, the main one (empty name) included.
    fn clients(&self) -> Vec<String>;

    /// Lets time pass.
    fn advance(&mut self, ms: u64);

    /// Closes a client's connection.
    fn close(&mut self, client: &str);

    /// All steps are carried out: what else can be seen of them is looked at.
    ///
    /// # Errors
    /// A description of the failure.
    fn finish(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// A step and its replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranscriptEntry {
    /// The line.
    pub text: String,
    /// How to compare it.
    pub mark: Mark,
    /// The answer; empty for comments.
    pub answer: String,
}

/// Runs a script in one protocol.
///
/// # Errors
/// Fails if the driver fails: a lost connection, an answer that is not RESP.
pub fn record(
    script: &Script,
    driver: &mut dyn ScriptDriver,
    protocol: u8,
) -> Result<Vec<TranscriptEntry>, String> {
    driver.reset(protocol)?;
    let mut ids = Ids::default();
    let mut entries = Vec::new();
    for step in &script.steps {
        let answer = match &step.action {
            None => String::new(),
            Some(action) => carry_out(action, step.mark, driver, &mut ids)
                .map_err(|error| format!("{}: `{}`: {error}", script.name, step.text))?,
        };
        entries.push(TranscriptEntry { text: step.text.clone(), mark: step.mark, answer });
    }
    driver.finish().map_err(|error| format!("{} (RESP{protocol}): {error}", script.name))?;
    Ok(entries)
}

/// The numbers that servers gave clients, as far as the script uses them.
#[derive(Default)]
struct Ids {
    connected: BTreeMap<String, i64>,
    /// The names of all clients, including those that are gone.
    names: BTreeMap<i64, String>,
}

impl Ids {
    /// `args` with each `id(client)` replaced by that client's number.
    fn put_in(
        &mut self,
        args: &[Vec<u8>],
        driver: &mut dyn ScriptDriver,
    ) -> Result<Vec<Vec<u8>>, String> {
        let client_of = |arg: &[u8]| {
            let name = arg.strip_prefix(b"id(")?.strip_suffix(b")")?;
            String::from_utf8(name.to_vec()).ok()
        };
        let put_in = |arg: &Vec<u8>| match client_of(arg) {
            Some(client) => Ok(self.of(&client, driver)?.to_string().into_bytes()),
            None => Ok(arg.clone()),
        };
        args.iter().map(put_in).collect()
    }

    /// Asks the client, which must be able to answer.
    fn of(&mut self, client: &str, driver: &mut dyn ScriptDriver) -> Result<i64, String> {
        if let Some(id) = self.connected.get(client) {
            return Ok(*id);
        }
        driver.send(client, &[b"CLIENT".to_vec(), b"ID".to_vec()])?;
        let answer = driver.receive(client, true)?;
        let Some(Some(Value::Integer(id))) = answer.last() else {
            return Err(format!("client `{client}` does not tell its number: {answer:?}"));
        };
        self.connected.insert(client.to_owned(), *id);
        self.names.insert(*id, client.to_owned());
        Ok(*id)
    }

    /// The answer with names for numbers.
    fn name(&self, value: &Value) -> Value {
        let all = |values: &[Value]| values.iter().map(|value| self.name(value)).collect();
        match value {
            Value::Integer(id) => match self.names.get(id) {
                Some(name) => Value::Simple(format!("id({name})").into_bytes()),
                None => value.clone(),
            },
            Value::Array(values) => Value::Array(all(values)),
            Value::Push(values) => Value::Push(all(values)),
            Value::Map(pairs) => {
                Value::Map(pairs.iter().map(|(key, v)| (key.clone(), self.name(v))).collect())
            }
            other => other.clone(),
        }
    }
}

fn carry_out(
    action: &Action,
    mark: Mark,
    driver: &mut dyn ScriptDriver,
    ids: &mut Ids,
) -> Result<String, String> {
    let mut answer = String::new();
    let sender = match action {
        Action::Advance(ms) => {
            driver.advance(*ms);
            None
        }
        Action::Bye(client) => {
            driver.close(client);
            ids.connected.remove(client);
            None
        }
        Action::Send { client, args } => {
            let args = ids.put_in(args, driver)?;
            driver.send(client, &args)?;
            let values = driver.receive(client, true)?;
            if values.is_empty() {
                answer.push_str("(waiting)\n");
            }
            show(&mut answer, "", &values, mark, ids);
            Some(client)
        }
    };
    for client in driver.clients() {
        if Some(&client) != sender {
            let values = driver.receive(&client, false)?;
            show(&mut answer, &format!("{client}< "), &values, mark, ids);
        }
    }
    Ok(answer)
}

fn show(answer: &mut String, prefix: &str, values: &[Option<Value>], mark: Mark, ids: &Ids) {
    let shape = match (mark.shape, mark.sorted) {
        (true, _) => Shape::Type,
        (_, true) => Shape::Sorted,
        _ => Shape::Full,
    };
    for value in values {
        let text = match value {
            Some(value) if mark.ids => render(&ids.name(value), shape),
            Some(value) => render(value, shape),
            None => "(closed)".into(),
        };
        for line in text.lines() {
            let _ = writeln!(answer, "{prefix}{line}");
        }
    }
}

/// Runs a script in both protocols and writes one text: answers once where both agree, else the
/// RESP3 one behind a line `resp3:`.
///
/// # Errors
/// Fails like [`record`].
pub fn transcribe(script: &Script, driver: &mut dyn ScriptDriver) -> Result<String, String> {
    let two = record(script, driver, 2)?;
    let three = record(script, driver, 3)?;
    let mut text = String::new();
    for (two, three) in two.iter().zip(&three) {
        if two.text.is_empty() || two.text.starts_with('#') {
            let _ = writeln!(text, "{}", two.text);
            continue;
        }
        let _ = write!(text, "> {}\n{}", two.text, two.answer);
        if two.answer != three.answer {
            let _ = write!(text, "resp3:\n{}", three.answer);
        }
    }
    Ok(text)
}
