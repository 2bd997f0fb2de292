//! A process to which io_uring is forbidden; alone in its process, since that cannot be undone.

use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, sock_filter, sock_fprog};
use runtime_uring::{Config, UringRuntime};
use std::io::ErrorKind;

#[test]
fn a_runtime_that_the_kernel_refuses_says_so_in_one_line() {
    for (code, says) in [
        (libc::ENOSYS, "the kernel has no io_uring"),
        // The filter that was installed last decides.
        (libc::EPERM, "the system forbids io_uring to this process"),
    ] {
        refuse(code);
        let error = UringRuntime::new(Config::default()).err().expect("refused");
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Unsupported, says));
    }
    assert!(UringRuntime::new(Config { threads: 0, pin: false }).is_err());
}

/// Makes `io_uring_setup` fail with `code` on this thread.
fn refuse(code: i32) {
    let statement = |code, k| sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut program = [
        // The number of the call is the first word.
        statement(BPF_LD | BPF_W | BPF_ABS, 0),
        sock_filter {
            code: (BPF_JMP | BPF_JEQ | BPF_K) as u16,
            jt: 0,
            jf: 1,
            k: libc::SYS_io_uring_setup as u32,
        },
        statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | code as u32),
        statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    ];
    let filter = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: both calls change this thread only, and the program lives until the kernel has copied it.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
    };
    assert!(done, "cannot forbid a call: {}", std::io::Error::last_os_error());
}
