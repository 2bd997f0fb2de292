//! A server that parses requests and answers `+OK` to each: for measuring what a runtime costs.

use crate::{Clock, Connection, Listener, Now, Peer, Rejection, Runtime, Service, Shutdown};
use crate::{Flow, Status, Stream};
use resp::{Batch, Limits, Output, Parser};
use std::cell::RefCell;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// Requests parsed at once.
const REQUESTS_MAX: usize = 64;

thread_local! {
    static BATCH: RefCell<Batch> = const { RefCell::new(Batch::new()) };
}

/// Serves fixed replies on 127.0.0.1:`port` until the process ends.
///
/// # Errors
/// Fails if the port cannot be bound or the runtime cannot start.
pub fn serve(runtime: &dyn Runtime, port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    let listener = Listener { stream: Stream::Tcp(listener), service: Arc::new(FixedReplies) };
    runtime.serve(vec![listener], Clock::new(), Shutdown::new(), Duration::ZERO)
}

/// The service.
struct FixedReplies;

impl Service for FixedReplies {
    fn connect(&self, _: Peer, _: Waker, _: Now) -> Result<Box<dyn Connection>, Rejection> {
        Ok(Box::new(Client { parser: Parser::new(), partial: Vec::new(), output: Output::new() }))
    }
}

struct Client {
    parser: Parser,
    partial: Vec<u8>,
    output: Output,
}

impl Client {
    /// Answers the complete requests in `bytes`; returns how many bytes they were, or `None` for
    /// bytes that are none.
    fn answer(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut consumed = 0;
        BATCH.with_borrow_mut(|batch| {
            loop {
                batch.clear();
                let rest = &bytes[consumed..];
                let progress = self.parser.parse(rest, REQUESTS_MAX, &Limits::default(), batch);
                (0..batch.len()).for_each(|_| self.output.extend(b"+OK\r\n"));
                consumed += progress.consumed;
                if progress.error.is_some() {
                    return None;
                }
                if !progress.more {
                    return Some(consumed);
                }
            }
        })
    }
}

impl Connection for Client {
    fn receive(&mut self, bytes: &[u8], _: Now) -> Status {
        let mut partial = std::mem::take(&mut self.partial);
        let all = if partial.is_empty() {
            bytes
        } else {
            partial.extend_from_slice(bytes);
            &partial
        };
        match self.answer(all) {
            Some(consumed) => {
                self.partial = all[consumed..].to_vec();
                Status::READING
            }
            None => Status { flow: Flow::Abort, ..Status::READING },
        }
    }

    fn resume(&mut self, _: Now) -> Status {
        Status::READING
    }

    fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    fn deadline_us(&self) -> Option<u64> {
        None
    }

    fn drain(&mut self, _: Now) -> Status {
        Status { flow: Flow::CloseAfterFlush, ..Status::READING }
    }

    fn closed(&mut self, _: Now) {}
}
