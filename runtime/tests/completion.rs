//! The sans-IO half alone: a system that completes reads and writes, as io_uring does, is played by
//! the test. No socket, no readiness.

use resp::Output;
use runtime::testing::{OUTPUT_MAX, Toy};
use runtime::{
    Clock, Events, Exchange, Input, Now, Onward, Peer, RuntimeContext, RuntimeStats, Sent,
};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Waker;

/// A runtime that is told of completions: it takes chunks, and later hears how many bytes were sent.
struct Completions {
    exchange: Exchange,
    toy: Arc<Toy>,
    /// Bytes one send completes with.
    portion: usize,
    now: Now,
    sent: Vec<u8>,
    closed: bool,
}

impl Completions {
    fn new(portion: usize) -> Self {
        let toy = Arc::new(Toy::default());
        let context =
            Arc::new(RuntimeContext { clock: Clock::new(), stats: Arc::<RuntimeStats>::default() });
        let peer = Peer::Unix("/nowhere".into());
        let now = Now::default();
        let exchange = context.introduce(&*toy.service(), peer, Waker::noop().clone(), now);
        let exchange = exchange.expect("not refused");
        Completions { exchange, toy, portion, now, sent: Vec::new(), closed: false }
    }

    /// A read completed; then writes are submitted and complete until it waits.
    fn arrived(&mut self, bytes: &[u8]) {
        self.exchange.receive(bytes, self.now);
        self.go_on();
    }

    fn go_on(&mut self) {
        while !self.closed {
            let (sent, portion) = (&mut self.sent, self.portion);
            let Some(outcome) =
                self.exchange.write(self.now, |output| Ok(submit(output, portion, sent)))
            else {
                self.closed = true;
                return;
            };
            match self.exchange.onward(outcome, self.now) {
                Onward::Wait if outcome == Sent::All => return,
                Onward::Wait | Onward::Write => {}
                Onward::Turn => self.exchange.notify(Events::empty(), self.now),
                Onward::Finish => self.closed = true,
            }
        }
    }

    fn text(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.sent)).expect("text")
    }
}

/// One send: so many bytes at most, and what is left is for the next.
fn submit(output: &mut Output, portion: usize, sent: &mut Vec<u8>) -> Sent {
    let n = output.front().len().min(portion);
    sent.extend_from_slice(&output.front()[..n]);
    output.consume(n);
    if output.is_empty() { Sent::All } else { Sent::Blocked }
}

#[test]
fn bytes_in_chunks_out() {
    let mut client = Completions::new(7);
    client.arrived(b"echo one\necho t");
    client.arrived(b"wo\nbytes 3\n");
    assert_eq!(client.text(), "one\ntwo\nxxx\n");
    assert_eq!(client.exchange.input(), Input::Wanted);
}

#[test]
fn a_long_pipeline_takes_several_turns() {
    let mut client = Completions::new(1 << 20);
    client.arrived("echo x\n".repeat(1000).as_bytes());
    assert_eq!(client.text(), "x\n".repeat(1000));
}

#[test]
fn what_waits_until_all_is_written_goes_on_then() {
    let mut client = Completions::new(1000);
    let size = 5 * OUTPUT_MAX;
    client.arrived(format!("bytes {size}\necho after\n").as_bytes());
    let text = client.text();
    assert_eq!(text.len(), size + 1 + "after\n".len());
    assert!(text.ends_with("\nafter\n"));
    assert!(client.toy.output_max.load(SeqCst) < 2 * OUTPUT_MAX);
}

#[test]
fn deadlines_and_ends_are_told() {
    let mut client = Completions::new(100);
    client.arrived(b"sleep 30\necho after\n");
    assert_eq!((client.exchange.input(), client.text()), (Input::Held, String::new()));
    client.now.mono_us = client.exchange.deadline_us().expect("a deadline");
    client.exchange.notify(Events::WAKE, client.now);
    client.go_on();
    assert_eq!(client.text(), "slept 30\nafter\n");
    client.exchange.end_input(client.now);
    client.go_on();
    assert!(client.closed && client.exchange.input_is_over());
    let toy = client.toy.clone();
    drop(client);
    assert_eq!((toy.closed.load(SeqCst), toy.unsettled.load(SeqCst)), (1, 0));
}

#[test]
fn a_panic_ends_the_exchange_and_nothing_else() {
    let mut client = Completions::new(100);
    client.arrived(b"echo x\npanic\n");
    assert!(client.closed && !client.exchange.is_open());
    client.exchange.receive(b"echo y\n", client.now);
    client.exchange.notify(Events::WAKE, client.now);
    client.exchange.end_input(client.now);
    assert_eq!(client.text(), "");
    let toy = client.toy.clone();
    drop(client);
    assert_eq!((toy.closed.load(SeqCst), toy.called_after_close.load(SeqCst)), (1, 0));
}

#[test]
fn who_is_aborted_gets_nothing_more() {
    let mut client = Completions::new(100);
    client.exchange.receive(b"echo x\n", client.now);
    client.exchange.abort();
    client.go_on();
    assert_eq!((client.closed, client.text()), (true, String::new()));
}

#[test]
fn who_does_not_read_the_last_answers_is_given_up() {
    let mut client = Completions::new(0);
    client.exchange.receive(b"sleep 30\n", client.now);
    client.now.mono_us = client.exchange.deadline_us().expect("the sleep's");
    client.exchange.notify(Events::WAKE, client.now);
    client.exchange.receive(b"echo last\nquit\n", client.now);
    let blocked = |client: &mut Completions| {
        let outcome = client.exchange.write(client.now, |_| Ok(Sent::Blocked));
        outcome.map(|sent| client.exchange.onward(sent, client.now))
    };
    assert_eq!(blocked(&mut client), Some(Onward::Wait));
    assert!(!client.exchange.is_open());
    let until_us = client.exchange.deadline_us().expect("it is not waited for for ever");
    assert!(until_us > client.now.mono_us, "waiting costs nothing");
    client.exchange.notify(Events::WAKE, client.now);
    assert_eq!(blocked(&mut client), Some(Onward::Wait));
    client.now.mono_us = until_us;
    client.exchange.notify(Events::WAKE, client.now);
    assert_eq!(blocked(&mut client), None);
}
