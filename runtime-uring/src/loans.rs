//! Loans: connections whose output the kernel is sending. The connection itself is lent with its output, so that nobody
//! can change it meanwhile.
//!
//! A send never waits (`MSG_DONTWAIT`), so it is over when the system call that submitted it returns: either all was
//! taken, which the kernel does not report, or it reports how much was (`MSG_WAITALL` makes less than all a failure).
//! [`crate::check_kernel`] tries that once.

use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types};
use libc::{iovec, msghdr};
use resp::Output;
use runtime::Exchange;
use runtime::reactors::Key;
use std::io::{self, IoSlice};
use std::os::fd::RawFd;

/// The number of chunks in one send.
const SLICES_MAX: usize = 64;

/// The number of bytes that one turn may send before other connections get their turn.
const WRITE_MAX: usize = 1 << 20;

/// The number of messages that are kept for reuse.
const SPARE_MAX: usize = 64;

/// How a send is made: at once, all of it or a failure.
pub(crate) const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// A connection that comes back, and what became of its output.
pub(crate) struct Returned {
    pub key: Key,
    pub exchange: Exchange,
    /// The number of bytes that the socket took; an error if the connection is gone.
    pub sent: io::Result<usize>,
    /// The number of bytes that it was asked to take.
    pub asked: usize,
}

/// One loan.
struct Loan {
    key: Key,
    exchange: Exchange,
    asked: usize,
    /// The description of the chunks, if there are several.
    message: Option<Box<Message>>,
    /// The result that the kernel reported; nothing if it took all.
    result: Option<i32>,
}

/// The loans of a ring.
#[derive(Default)]
pub(crate) struct Loans {
    loans: Vec<Loan>,
    spare: Spare,
}

/// Messages for reuse. Each keeps its address, wherever the loan goes.
#[derive(Default)]
struct Spare(#[expect(clippy::vec_box, reason = "addresses must not change")] Vec<Box<Message>>);

impl Loans {
    /// Lends the output of `exchange`, which must not be empty, for a send to `fd`. Returns the entry to submit, without
    /// its user data, and the number of the loan. Fails if the connection is to be closed; it is returned.
    ///
    /// The entry points to memory of the loan. It must be submitted before [`Loans::take_back`] is called, or not at
    /// all.
    pub fn lend(
        &mut self,
        key: Key,
        fd: RawFd,
        mut exchange: Exchange,
    ) -> Result<(Entry, usize), Exchange> {
        let spare = &mut self.spare;
        let Some((send, asked, message)) = exchange.unwritten(|output| describe(output, fd, spare))
        else {
            return Err(exchange);
        };
        let entry = send.flags(Flags::SKIP_SUCCESS);
        self.loans.push(Loan { key, exchange, asked, message, result: None });
        Ok((entry, self.loans.len() - 1))
    }

    /// The number of connections that are lent.
    pub fn len(&self) -> usize {
        self.loans.len()
    }

    /// The connections that are lent. Their output must be left as it is.
    pub fn exchanges(&mut self) -> impl Iterator<Item = &mut Exchange> {
        self.loans.iter_mut().map(|loan| &mut loan.exchange)
    }

    /// Notes what the kernel reports of a loan.
    pub fn reported(&mut self, loan: usize, result: i32) {
        if let Some(loan) = self.loans.get_mut(loan) {
            loan.result = Some(result);
        }
    }

    /// Takes back everything that is lent; all of it must have been submitted and be over.
    pub fn take_back(&mut self) -> impl Iterator<Item = Returned> {
        let spare = &mut self.spare;
        self.loans.drain(..).map(|loan| {
            let Loan { key, exchange, asked, message, result } = loan;
            if spare.0.len() < SPARE_MAX {
                spare.0.extend(message);
            }
            Returned { key, exchange, sent: outcome(result, asked), asked }
        })
    }
}

/// The result of a send of which the kernel reported `result`, or nothing.
fn outcome(result: Option<i32>, asked: usize) -> io::Result<usize> {
    match result {
        None => Ok(asked),
        Some(sent) if sent >= 0 => Ok(sent as usize),
        Some(error) if [libc::EAGAIN, libc::EINTR].contains(&-error) => Ok(0),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
    }
}

/// The send of what is at the front of `output`, how many bytes that are, and, if they are several chunks, their
/// description.
fn describe(output: &Output, fd: RawFd, spare: &mut Spare) -> (Entry, usize, Option<Box<Message>>) {
    let (front, fd) = (output.front(), types::Fd(fd));
    if front.len() == output.len() || front.len() >= WRITE_MAX {
        let asked = front.len().min(WRITE_MAX);
        let send = opcode::Send::new(fd, front.as_ptr(), asked as u32).flags(SEND_FLAGS).build();
        return (send, asked, None);
    }
    let mut message = spare.0.pop().unwrap_or_default();
    let asked = message.describe(output);
    let send = opcode::SendMsg::new(fd, &raw const message.header).flags(SEND_FLAGS as u32).build();
    (send, asked, Some(message))
}

/// Several chunks to send, as the kernel wants them described. Its address stays the same while it is lent.
struct Message {
    header: msghdr,
    slices: [iovec; SLICES_MAX],
}

// SAFETY: the pointers are only followed by the kernel, while the message and the output to which they point are lent.
unsafe impl Send for Message {}

impl Default for Message {
    fn default() -> Self {
        let none = iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: a header of zeros is one without address, chunks and control data.
        Message { header: unsafe { std::mem::zeroed() }, slices: [none; SLICES_MAX] }
    }
}

impl Message {
    /// Describes what is at the front of `output`; returns how many bytes that are.
    fn describe(self: &mut Box<Self>, output: &Output) -> usize {
        let mut chunks = [IoSlice::new(&[]); SLICES_MAX];
        let filled = output.slices(&mut chunks);
        let (mut asked, mut count) = (0, 0);
        for (slice, chunk) in self.slices.iter_mut().zip(&chunks[..filled]) {
            let len = chunk.len().min(WRITE_MAX - asked);
            *slice = iovec { iov_base: chunk.as_ptr().cast_mut().cast(), iov_len: len };
            asked += len;
            count += 1;
            if asked == WRITE_MAX {
                break;
            }
        }
        self.header.msg_iov = self.slices.as_mut_ptr();
        self.header.msg_iovlen = count;
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_that_is_not_reported_took_all() {
        assert_eq!(outcome(None, 7).ok(), Some(7));
        assert_eq!(outcome(Some(3), 7).ok(), Some(3));
        assert_eq!(outcome(Some(-libc::EAGAIN), 7).ok(), Some(0));
        assert_eq!(outcome(Some(-libc::EPIPE), 7).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_turn_asks_for_a_bounded_number_of_bytes_in_the_order_of_the_output() {
        let mut output = Output::new();
        output.extend(b"head");
        output.share(vec![b'x'; WRITE_MAX - 100].into());
        output.share(vec![b'y'; WRITE_MAX].into());
        let mut message = Box::<Message>::default();
        assert_eq!((message.describe(&output), message.header.msg_iovlen), (WRITE_MAX, 3));
        assert_eq!(
            message.slices[..3].iter().map(|s| s.iov_len).collect::<Vec<_>>(),
            [4, WRITE_MAX - 100, 96]
        );
        let (_, asked, several) = describe(&output, 0, &mut Spare::default());
        assert_eq!((asked, several.is_some()), (WRITE_MAX, true));
        output.consume(4);
        output.consume(WRITE_MAX - 100);
        let (_, asked, several) = describe(&output, 0, &mut Spare::default());
        assert_eq!((asked, several.is_some()), (WRITE_MAX, false));
    }
}
