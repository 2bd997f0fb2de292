//! [`Ring`]: all that talks to the kernel. Outside of it there are only operations, completions and owned values.

use crate::buffers::{Buffers, GROUP, Provided, Received};
use crate::loans::{Loans, Returned};
use io_uring::cqueue::{buffer_select, more};
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode};
use libc::{EBADR, EINTR, ENOBUFS, ETIME, SOCK_CLOEXEC, SOCK_NONBLOCK};
use runtime::Exchange;
use runtime::reactors::Key;
use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The number of operations that are submitted at once; more are submitted in portions.
const SUBMISSIONS: u32 = 1024;

/// The number of completions that the kernel keeps without allocating.
const COMPLETIONS: u32 = 4096;

/// `IORING_ENTER_GETEVENTS`: the call lets completions arrive, even if it waits for none.
const GET_EVENTS: u32 = 1;

/// The time without any progress after which a ring that ends gives up waiting for the end of its operations.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// The pause before a ring that ends looks again, if nothing ends.
const END_PAUSE: Duration = Duration::from_millis(10);

/// The events of a socket that is gone.
const HUNG_UP: i16 = libc::POLLHUP | libc::POLLERR;

/// The purpose of an operation: the four highest bits of its user data.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Kind {
    /// Nobody waits for it.
    Cancel = 0,
    Receive = 1,
    Writable = 2,
    Gone = 3,
    Accept = 4,
    Rouse = 5,
    Send = 6,
}

impl Kind {
    fn with(self, number: u64) -> u64 {
        (self as u64) << 60 | number
    }
}

/// A connection's input, or its end.
#[derive(Debug)]
pub(crate) enum Arrived {
    Bytes(Received),
    /// The peer sends no more.
    End,
    /// The connection is gone.
    Failed,
    /// Nothing: the operation was cancelled, or no buffer was free.
    Nothing,
}

/// A report of the kernel. `last` is whether the operation is over.
pub(crate) enum Completion {
    Received {
        key: Key,
        arrived: Arrived,
        last: bool,
    },
    /// The socket can be written to, or is gone, if `writable`.
    Writable {
        key: Key,
        writable: bool,
        last: bool,
    },
    /// The peer has ended its sending side (`half`), or both directions are gone (`hangup`).
    Gone {
        key: Key,
        half: bool,
        hangup: bool,
        last: bool,
    },
    Accepted {
        listener: u64,
        accepted: io::Result<OwnedFd>,
        last: bool,
    },
    Roused {
        last: bool,
    },
}

/// A ring. All its methods but [`Ring::new`] are for the one thread that has enabled it.
pub(crate) struct Ring {
    /// Dropped, and with it the buffers, only when nothing is under way.
    io: ManuallyDrop<IoUring>,
    provided: ManuallyDrop<Provided>,
    loans: Loans,
    /// The user data of the operations that have not had their last completion. Sends and cancellations do not count.
    under_way: HashSet<u64>,
    /// Whether the kernel had no memory for a report. What it was about is not known.
    lost_reports: bool,
}

impl Ring {
    /// Creates a ring that is not enabled yet, on any thread.
    ///
    /// # Errors
    /// Fails if the kernel does not offer rings, or has no memory for one.
    pub fn new() -> io::Result<Ring> {
        let io = IoUring::builder()
            .dontfork()
            .setup_clamp()
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_r_disabled()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        let provided = Provided::register(&io)?;
        let (io, provided) = (ManuallyDrop::new(io), ManuallyDrop::new(provided));
        let (loans, under_way) = (Loans::default(), HashSet::new());
        Ok(Ring { io, provided, loans, under_way, lost_reports: false })
    }

    /// Makes the ring this thread's.
    ///
    /// # Errors
    /// Fails if it is another's.
    pub fn enable(&mut self) -> io::Result<()> {
        self.io.submitter().register_enable_rings()
    }

    /// The memory in which input arrives.
    pub fn buffers(&self) -> Arc<Buffers> {
        self.provided.buffers().clone()
    }

    /// Gives back a buffer whose contents are used up.
    #[inline]
    pub fn give_back(&mut self, received: Received) {
        self.provided.give_back(received);
    }

    /// Receives from a socket, until its end or until the operation is over for another reason.
    pub fn receive(&mut self, key: Key, fd: RawFd) {
        let entry = opcode::RecvMulti::new(Fd(fd), GROUP).build();
        self.begin(entry, Kind::Receive, key.number());
    }

    /// Ends [`Ring::receive`], soon.
    pub fn stop_receiving(&mut self, key: Key) {
        self.cancel(Kind::Receive.with(key.number()));
    }

    /// Reports whenever a socket can be written to again.
    pub fn await_writable(&mut self, key: Key, fd: RawFd) {
        let entry = opcode::PollAdd::new(Fd(fd), libc::POLLOUT as u32).multi(true).build();
        self.begin(entry, Kind::Writable, key.number());
    }

    /// Ends [`Ring::await_writable`], soon.
    pub fn stop_awaiting_writable(&mut self, key: Key) {
        self.cancel(Kind::Writable.with(key.number()));
    }

    /// Reports when a peer has ended its sending side, and when it is gone.
    pub fn await_gone(&mut self, key: Key, fd: RawFd) {
        // The kernel reports an end whatever it is asked for, but does not repeat what it has reported.
        let entry = opcode::PollAdd::new(Fd(fd), libc::POLLRDHUP as u32).multi(true).build();
        self.begin(entry, Kind::Gone, key.number());
    }

    /// Ends [`Ring::await_gone`], soon.
    pub fn stop_awaiting_gone(&mut self, key: Key) {
        self.cancel(Kind::Gone.with(key.number()));
    }

    /// Accepts clients, until it fails.
    pub fn accept(&mut self, listener: u64, fd: RawFd) {
        let entry = opcode::AcceptMulti::new(Fd(fd)).flags(SOCK_CLOEXEC | SOCK_NONBLOCK).build();
        self.begin(entry, Kind::Accept, listener);
    }

    /// Ends [`Ring::accept`], soon.
    pub fn stop_accepting(&mut self, listener: u64) {
        self.cancel(Kind::Accept.with(listener));
    }

    /// Reports whenever something is written to an eventfd, the same in all calls.
    pub fn await_rousing(&mut self, fd: RawFd) {
        if self.under_way.contains(&Kind::Rouse.with(0)) {
            return;
        }
        let entry = opcode::PollAdd::new(Fd(fd), libc::POLLIN as u32).multi(true).build();
        self.begin(entry, Kind::Rouse, 0);
    }

    /// Lends a connection to the kernel, which sends its output with the next [`Ring::enter`]. Fails if the
    /// connection is to be closed; it is returned.
    pub fn lend(&mut self, key: Key, fd: RawFd, exchange: Exchange) -> Result<(), Exchange> {
        let (entry, loan) = self.loans.lend(key, fd, exchange)?;
        self.push(entry.user_data(Kind::Send.with(loan as u64)));
        Ok(())
    }

    /// The number of connections that are lent.
    pub fn lent(&self) -> usize {
        self.loans.len()
    }

    /// Hands output over without waiting, and records an equal part of the time for each connection that is lent.
    /// Returns whether one of them is a sample. The time for receiving is not known: it is part of the call that waits.
    #[cold]
    pub fn send_timed(&mut self) -> bool {
        let begun = Instant::now();
        self.enter(Some(Duration::ZERO));
        let each = begun.elapsed().as_nanos() as u64 / self.lent().max(1) as u64;
        self.loans.exchanges().fold(false, |samples, exchange| exchange.wrote(each) | samples)
    }

    fn begin(&mut self, entry: Entry, kind: Kind, number: u64) {
        let data = kind.with(number);
        self.under_way.insert(data);
        self.push(entry.user_data(data));
    }

    /// Ends an operation, soon. A socket must stay open until the last of its operations is over.
    fn cancel(&mut self, data: u64) {
        // The kernel finds it by its user data in constant time; by other criteria it looks at all.
        let entry = opcode::AsyncCancel::new(data).build().flags(Flags::SKIP_SUCCESS);
        self.push(entry.user_data(Kind::Cancel.with(0)));
    }

    fn push(&mut self, entry: Entry) {
        // SAFETY: of all entries only sends point to memory: that of the loan, which is kept until the kernel has
        // consumed all entries (`reap`), and a send is over then. Received bytes go to buffers that live as long as the
        // ring.
        while unsafe { self.io.submission().push(&entry) }.is_err() {
            self.enter(Some(Duration::ZERO));
        }
    }

    /// Submits everything, and waits for a completion: at most for `timeout`, for ever if there is none, and not at all
    /// if it is zero.
    pub fn enter(&mut self, timeout: Option<Duration>) {
        let queued = self.io.submission().len() as u32;
        let submitter = self.io.submitter();
        let entered = match timeout {
            // SAFETY: no argument is passed that the kernel would follow.
            Some(Duration::ZERO) => unsafe {
                submitter.enter(queued, 0, GET_EVENTS, None::<&libc::sigset_t>)
            },
            Some(timeout) => {
                let timeout = Timespec::from(timeout);
                submitter.submit_with_args(1, &SubmitArgs::new().timespec(&timeout))
            }
            None => submitter.submit_and_wait(1),
        };
        let Err(error) = entered else { return };
        if error.raw_os_error() == Some(EBADR) {
            tracing::error!("the kernel has no memory for what a ring is to report");
            self.lost_reports = true;
            return;
        }
        // When completions are to be taken first, what is left is submitted with the next call.
        let usual = [ETIME, EINTR, libc::EBUSY, libc::EAGAIN];
        if !error.raw_os_error().is_some_and(|code| usual.contains(&code)) {
            // This cannot happen with a valid ring. If it does, do not loop without a pause.
            tracing::error!(%error, "entering a ring failed");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Moves what has completed to `completions`, and the connections that the kernel is done with to `returned`.
    pub fn reap(&mut self, completions: &mut Vec<Completion>, returned: &mut Vec<Returned>) {
        self.take_completions(completions);
        // Reports that did not fit wait in the kernel.
        while self.io.submission().cq_overflow() {
            self.enter(Some(Duration::ZERO));
            self.take_completions(completions);
        }
        // A send never waits, so all are over once the kernel has consumed the entries.
        if self.io.submission().is_empty() {
            // Without a report, a send would count as one that took all.
            let lost = self.lost_reports;
            returned.extend(self.loans.take_back().map(|loan| match lost {
                true => Returned { sent: Err(ErrorKind::OutOfMemory.into()), ..loan },
                false => loan,
            }));
        }
    }

    /// Whether the kernel has failed to report something: operations may be over without anybody knowing it.
    pub fn has_lost_reports(&self) -> bool {
        self.lost_reports
    }

    #[inline]
    fn take_completions(&mut self, completions: &mut Vec<Completion>) {
        let Ring { io, provided, loans, under_way, .. } = self;
        for entry in io.completion() {
            let (data, result) = (entry.user_data(), entry.result());
            let last = !more(entry.flags());
            let buffer = buffer_select(entry.flags());
            match translate(provided, data, result, last, buffer) {
                Translated::Nothing => continue,
                Translated::Loan(loan) => loans.reported(loan, result),
                Translated::Completion(completion) => {
                    if last {
                        under_way.remove(&data);
                    }
                    completions.push(completion);
                }
            }
        }
    }

    /// Ends every operation, and waits until all are over. Returns false if some do not end, after [`END_PATIENCE`]
    /// without progress.
    pub fn come_to_rest(
        &mut self,
        completions: &mut Vec<Completion>,
        returned: &mut Vec<Returned>,
    ) -> bool {
        let mut known: Vec<u64> = self.under_way.iter().copied().collect();
        let (mut pause, mut progress) = (Duration::ZERO, Instant::now());
        while !self.is_at_rest() {
            let before = self.under_way.len() + self.loans.len() + known.len();
            // No more at once than the kernel keeps reports for.
            let portion = known.len().saturating_sub(SUBMISSIONS as usize);
            known.drain(portion..).for_each(|data| self.cancel(data));
            self.enter(Some(pause));
            self.reap(completions, returned);
            if self.under_way.len() + self.loans.len() + known.len() < before {
                (pause, progress) = (Duration::ZERO, Instant::now());
            } else if progress.elapsed() < END_PATIENCE {
                pause = END_PAUSE;
            } else {
                tracing::error!(left = self.under_way.len(), "operations of a ring do not end");
                return false;
            }
        }
        true
    }

    fn is_at_rest(&self) -> bool {
        self.under_way.is_empty() && self.loans.len() == 0
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if !self.is_at_rest() && !self.come_to_rest(&mut Vec::new(), &mut Vec::new()) {
            // The kernel may still use the memory: it is never freed.
            std::mem::forget(std::mem::take(&mut self.loans));
            return;
        }
        // SAFETY: neither is used again. The ring goes first, and no operation is under way that could write to a
        // buffer afterwards.
        unsafe {
            ManuallyDrop::drop(&mut self.io);
            ManuallyDrop::drop(&mut self.provided);
        }
    }
}

/// The meaning of a completion.
enum Translated {
    Nothing,
    Loan(usize),
    Completion(Completion),
}

#[inline]
fn translate(
    provided: &Provided,
    data: u64,
    result: i32,
    last: bool,
    buffer: Option<u16>,
) -> Translated {
    let (number, key) = (data & ((1 << 60) - 1), Key::from_number(data));
    let shows = |events: i16| result >= 0 && result & i32::from(events) != 0;
    Translated::Completion(match data >> 60 {
        1 => Completion::Received { key, arrived: arrived(provided, result, buffer), last },
        2 => Completion::Writable { key, writable: shows(libc::POLLOUT | HUNG_UP), last },
        3 => {
            let (half, hangup) = (shows(libc::POLLRDHUP), shows(HUNG_UP));
            Completion::Gone { key, half, hangup, last }
        }
        4 => {
            let accepted = match result {
                // SAFETY: the kernel has opened the descriptor for this completion, and nobody else has it.
                fd if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
                error => Err(io::Error::from_raw_os_error(-error)),
            };
            Completion::Accepted { listener: number, accepted, last }
        }
        5 => Completion::Roused { last },
        6 => return Translated::Loan(number as usize),
        _ => return Translated::Nothing,
    })
}

#[inline]
fn arrived(provided: &Provided, result: i32, buffer: Option<u16>) -> Arrived {
    match (result, buffer) {
        (1.., Some(buffer)) => Arrived::Bytes(provided.received(buffer, result as u32)),
        (0, None) => Arrived::End,
        // A buffer without contents goes back like any other, and is the end.
        (_, Some(buffer)) => Arrived::Bytes(provided.received(buffer, 0)),
        (error, None) => match -error {
            ENOBUFS | libc::ECANCELED | EINTR | libc::EAGAIN => Arrived::Nothing,
            _ => Arrived::Failed,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    /// An enabled ring, if this kernel offers one; the suite says aloud if not.
    fn ring() -> Option<Ring> {
        crate::check_kernel().ok()?;
        let mut ring = Ring::new().expect("a ring");
        ring.enable().expect("nobody else has it");
        Some(ring)
    }

    fn completions(ring: &mut Ring) -> Vec<Completion> {
        let mut completions = Vec::new();
        ring.enter(Some(Duration::ZERO));
        ring.reap(&mut completions, &mut Vec::new());
        completions
    }

    #[test]
    fn every_buffer_comes_back_and_is_used_again() {
        let Some(mut ring) = ring() else { return };
        let buffers = ring.buffers();
        let (mut peer, socket) = UnixStream::pair().expect("a pair");
        ring.receive(Key::from_number(7), socket.as_raw_fd());
        for round in 0..3 * crate::BUFFERS {
            peer.write_all(&round.to_ne_bytes()).expect("room");
            let mut come = completions(&mut ring);
            let Some(Completion::Received { key, arrived: Arrived::Bytes(received), last: false }) =
                come.pop()
            else {
                panic!("round {round}: nothing was received");
            };
            assert_eq!((key.number(), buffers.bytes(&received)), (7, &round.to_ne_bytes()[..]));
            ring.give_back(received);
        }
    }

    #[test]
    fn a_ring_without_buffers_says_so_and_the_input_waits() {
        let Some(mut ring) = ring() else { return };
        let (mut peer, socket) = UnixStream::pair().expect("a pair");
        let (key, fd) = (Key::from_number(1), socket.as_raw_fd());
        let mut kept = Vec::new();
        ring.receive(key, fd);
        for _ in 0..crate::BUFFERS {
            peer.write_all(b"x").expect("room");
            kept.extend(completions(&mut ring));
        }
        peer.write_all(b"last").expect("room");
        let starved = completions(&mut ring);
        assert!(matches!(
            starved[..],
            [Completion::Received { arrived: Arrived::Nothing, last: true, .. }]
        ));
        let Some(Completion::Received { arrived: Arrived::Bytes(received), .. }) = kept.pop()
        else {
            panic!("nothing was received");
        };
        ring.give_back(received);
        ring.receive(key, fd);
        let buffers = ring.buffers();
        let after = completions(&mut ring);
        let Some(Completion::Received { arrived: Arrived::Bytes(received), .. }) = after.first()
        else {
            panic!("the input is lost");
        };
        assert_eq!(buffers.bytes(received), b"last");
    }

    #[test]
    fn operations_end_when_they_are_told_to() {
        let Some(mut ring) = ring() else { return };
        let (_peer, socket) = UnixStream::pair().expect("a pair");
        let (key, fd) = (Key::from_number(1), socket.as_raw_fd());
        ring.receive(key, fd);
        ring.await_gone(key, fd);
        assert!(completions(&mut ring).is_empty());
        ring.stop_receiving(key);
        ring.stop_awaiting_gone(key);
        let ended = completions(&mut ring);
        assert_eq!((ended.len(), ring.under_way.len()), (2, 0));
        ring.receive(key, fd);
        ring.await_rousing(fd);
        let mut ended = Vec::new();
        assert!(ring.come_to_rest(&mut ended, &mut Vec::new()));
        assert!(ended.len() >= 2 && ring.is_at_rest());
    }

    #[test]
    fn many_operations_end_in_time_that_grows_with_their_number() {
        const MANY: u64 = 10_000;
        let Some(mut ring) = ring() else { return };
        let (_peer, socket) = UnixStream::pair().expect("a pair");
        (0..MANY).for_each(|n| ring.await_gone(Key::from_number(n), socket.as_raw_fd()));
        let (mut ended, begun) = (Vec::new(), Instant::now());
        assert!(ring.come_to_rest(&mut ended, &mut Vec::new()));
        assert_eq!(ended.len() as u64, MANY);
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }

    #[test]
    #[should_panic(expected = "input of another ring")]
    fn input_of_one_ring_is_not_read_from_another() {
        let (Some(one), Some(other)) = (ring(), ring()) else { panic!("input of another ring") };
        other.buffers().bytes(&one.provided.received(0, 1));
    }
}
