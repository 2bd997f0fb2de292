//! Whether this kernel offers what the runtime needs of io_uring.

use crate::loans::SEND_FLAGS;
use crate::ring::Ring;
use io_uring::squeue::Flags;
use io_uring::{IoUring, Probe, opcode, types};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// More bytes than a socket takes at once.
const MUCH: usize = 16 << 20;

/// Tries whether this kernel offers what the runtime needs of io_uring: Linux 6.1 does, unless it is forbidden to the
/// process.
///
/// # Errors
/// Fails with `Unsupported` and one line that says what is missing.
pub fn check() -> io::Result<()> {
    let mut ring = Ring::new().map_err(|error| refused(&error))?;
    ring.enable().map_err(|error| refused(&error))?;
    let io = IoUring::new(8).map_err(|error| refused(&error))?;
    check_operations(&io)?;
    match short_sends_are_reported(io) {
        Ok(true) => Ok(()),
        Ok(false) => Err(unsupported("the kernel does not report sends that are cut short")),
        Err(error) => Err(refused(&error)),
    }
}

fn refused(error: &io::Error) -> io::Error {
    let why = match error.raw_os_error() {
        Some(libc::ENOSYS) => "the kernel has no io_uring",
        Some(libc::EPERM | libc::EACCES) => "the system forbids io_uring to this process",
        Some(libc::EINVAL) => "the kernel's io_uring is too old; Linux 6.1 is needed",
        _ => return unsupported(&format!("the kernel refuses io_uring: {error}")),
    };
    unsupported(why)
}

fn unsupported(why: &str) -> io::Error {
    io::Error::new(ErrorKind::Unsupported, why.to_owned())
}

fn check_operations(io: &IoUring) -> io::Result<()> {
    let mut probe = Probe::new();
    io.submitter().register_probe(&mut probe).map_err(|error| refused(&error))?;
    let needed = [
        ("accept", opcode::AcceptMulti::CODE),
        ("receive", opcode::RecvMulti::CODE),
        ("send", opcode::Send::CODE),
        ("send message", opcode::SendMsg::CODE),
        ("poll", opcode::PollAdd::CODE),
        ("cancel", opcode::AsyncCancel2::CODE),
    ];
    match needed.iter().find(|(_, code)| !probe.is_supported(*code)) {
        Some((name, _)) => Err(unsupported(&format!("the kernel's io_uring cannot {name}"))),
        None => Ok(()),
    }
}

/// Tries what [`crate::loans`] depends on: a send that does not fit is over when the call returns, and reports the bytes
/// that were taken; one that fits reports nothing.
fn short_sends_are_reported(mut io: IoUring) -> io::Result<bool> {
    let (sender, _receiver) = UnixStream::pair()?;
    let (fitting, _other) = UnixStream::pair()?;
    let much = vec![0; MUCH];
    for (socket, len, data) in [(&sender, MUCH, 1), (&sender, MUCH, 2), (&fitting, 1, 3)] {
        let fd = types::Fd(socket.as_raw_fd());
        let send = opcode::Send::new(fd, much.as_ptr(), len as u32).flags(SEND_FLAGS).build();
        let send = send.flags(Flags::SKIP_SUCCESS).user_data(data);
        // SAFETY: `much` lives until `io` is dropped, at the end.
        let pushed = unsafe { io.submission().push(&send) };
        pushed.map_err(|_| ErrorKind::QuotaExceeded)?;
    }
    io.submit()?;
    let reports: Vec<(u64, i32)> =
        io.completion().map(|entry| (entry.user_data(), entry.result())).collect();
    drop(io);
    drop(much);
    let short = matches!(reports[..], [(1, sent), (2, error)]
        if sent > 0 && (sent as usize) < MUCH && error == -libc::EAGAIN);
    Ok(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_that_says_why() {
        for (code, says) in [
            (libc::ENOSYS, "has no io_uring"),
            (libc::EPERM, "forbids"),
            (libc::EINVAL, "too old"),
            (libc::ENOMEM, "Cannot allocate memory"),
        ] {
            let error = refused(&io::Error::from_raw_os_error(code));
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            let text = error.to_string();
            assert!(text.contains(says) && !text.contains('\n'), "{text}");
        }
    }
}
