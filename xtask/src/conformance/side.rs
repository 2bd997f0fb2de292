//! [`Side`]: who answers a program. [`Ours`] is an engine in this process, [`Theirs`] a server
//! behind sockets that gets each program at once.

use super::generate::Command;
use anyhow::{Context, Result, bail};
use golden::{EngineDriver, ScriptDriver};
use resp::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use storage::Backend;

/// The largest number of clients of a program.
pub const CLIENTS: usize = 2;

/// The time that a server may take for a program.
const PATIENCE: Duration = Duration::from_secs(20);

/// How far our clock goes on when a command waits, and how often.
const WAIT_MS: u64 = 20;
const WAITS_MAX: usize = 10;

/// A server that answers commands.
pub trait Side {
    /// The answers to `commands`, one each, in order.
    ///
    /// # Errors
    /// Fails if the server is gone, or does not answer.
    fn answers(&mut self, commands: &[Command]) -> Result<Vec<Value>>;

    /// The server's wall clock, where it is ours to set, shows this from now on.
    fn set_clock(&mut self, _wall_ms: u64) {}
}

/// The engine in this process.
pub struct Ours(EngineDriver);

impl Ours {
    /// An engine over `backend`.
    ///
    /// # Errors
    /// Fails if the engine cannot be set up.
    pub fn new(backend: Arc<dyn Backend>) -> Result<Self> {
        let mut driver = EngineDriver::unlogged(move || backend.clone());
        driver.reset(2).map_err(anyhow::Error::msg)?;
        Ok(Ours(driver))
    }

    fn answer(&mut self, command: &Command) -> Result<Value, String> {
        let client = ["", "b"][command.client];
        self.0.send(client, &command.args)?;
        for _ in 0..WAITS_MAX {
            if let Some(value) = self.0.receive(client, true)?.into_iter().flatten().next() {
                return Ok(value);
            }
            self.0.advance(WAIT_MS);
        }
        Err(format!("no answer to {}", command.line()))
    }
}

impl Side for Ours {
    fn answers(&mut self, commands: &[Command]) -> Result<Vec<Value>> {
        let answers = commands.iter().map(|command| self.answer(command));
        answers.collect::<Result<_, _>>().map_err(anyhow::Error::msg)
    }

    fn set_clock(&mut self, wall_ms: u64) {
        self.0.set_clock(wall_ms);
    }
}

/// A server behind sockets, one for each client.
pub struct Theirs {
    streams: Vec<TcpStream>,
    buffer: Vec<u8>,
}

impl Theirs {
    /// Connects to the server at `address`.
    ///
    /// # Errors
    /// Fails if it cannot be reached.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let connect = |_| {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        let streams = (0..CLIENTS).map(connect).collect::<std::io::Result<_>>();
        Ok(Theirs { streams: streams.context("connecting to the oracle")?, buffer: Vec::new() })
    }

    /// Sends what one client says in a row, and reads the answers.
    fn turn(&mut self, commands: &[Command], answers: &mut Vec<Value>) -> Result<()> {
        let stream = &mut self.streams[commands[0].client];
        let mut bytes = Vec::new();
        commands.iter().for_each(|command| resp::encode_command(&command.args, &mut bytes));
        stream.write_all(&bytes)?;
        let mut missing = commands.len();
        let mut chunk = vec![0; 64 * 1024];
        let mut read = 0;
        while missing > 0 {
            if let Some((value, used)) = resp::decode(&self.buffer[read..])? {
                read += used;
                answers.push(value);
                missing -= 1;
                continue;
            }
            let more = stream.read(&mut chunk);
            let asked = || format!("no answer to {}", commands[commands.len() - missing].line());
            match more.with_context(asked)? {
                0 => bail!("the oracle closed the connection: {}", asked()),
                more => self.buffer.extend_from_slice(&chunk[..more]),
            }
        }
        self.buffer.drain(..read);
        Ok(())
    }
}

impl Side for Theirs {
    fn answers(&mut self, commands: &[Command]) -> Result<Vec<Value>> {
        let mut answers = Vec::with_capacity(commands.len());
        for turn in commands.chunk_by(|a, b| a.client == b.client) {
            self.turn(turn, &mut answers)?;
        }
        Ok(answers)
    }
}
