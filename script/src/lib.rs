//! Lua 5.1 for scripts and functions: the sandbox, Redis's libraries, and the conversion between
//! values and replies.
//!
//! Promises: a [`Vm`] runs one script at a time, on any thread. A later script sees nothing of what
//! a script did to its VM. A script that uses too much memory, or that its host wants to end, ends.
//! Errors and positions are worded as in Redis 7. The crate knows nothing of sessions, keys, locks,
//! sockets and clocks: scripts affect the world only through [`Embedder`].
//!
//! | module | what |
//! | --- | --- |
//! | `raw` | the only unsafe part: Lua's C interface |
//! | `vm` | making VMs, compiling and running |
//! | `sandbox` | globals, protected tables, replaced functions |
//! | `redis` | the table `redis` |
//! | `to_lua`, `to_resp` | replies to values, and back |
//! | `libraries` | `cjson`, `cmsgpack`, `struct`, `bit` |
//! | `alloc` | the allocator of a VM: counts what is held, and refuses beyond a limit |
//! | `number` | numbers as C's `printf("%.<precision>g")` writes them, and as commands are given them |
//! | `random` | `math.random`'s generator: the 48-bit linear congruential one of POSIX, as Redis uses it, so that a seed gives the same numbers everywhere |
//! | `shared` | `Shared`: what a VM's host functions find while a script runs |
//! | [`shebang`] | the first line of a script or library: `#!lua name=… flags=…` |

mod alloc;
mod libraries;
mod number;
mod random;
mod raw;
mod redis;
mod sandbox;
mod shared;
pub mod shebang;
#[cfg(test)]
mod tests;
mod to_lua;
mod to_resp;
mod vm;

pub use libraries::cjson::settings::Settings as JsonSettings;
pub use libraries::functions::is_name as is_function_name;
pub use redis::{REDIS_VERSION, REDIS_VERSION_NUMBER};
pub use vm::{BySha, Declared, Failed, MEMORY_LIMIT, Sha, Vm, digest};

use resp::{Output, Proto, Request};

/// The program that embeds the VM, as a running script reaches it.
pub trait Embedder {
    /// Runs a command and writes its reply, of the given protocol, to `reply`. Errors are replies.
    /// False when the script must end: whatever it does next is an error.
    fn command(&mut self, request: Request<'_>, proto: Proto, reply: &mut Output) -> bool;

    /// Whether the user may run this command (`redis.acl_check_cmd`); `None` for one that does not
    /// exist.
    fn may_run(&mut self, request: Request<'_>) -> Option<bool>;

    /// `redis.log`: 0 debug, 1 verbose, 2 notice, 3 warning.
    fn log(&mut self, level: u8, text: &[u8]);

    /// `redis.set_repl`: bit 0 for the log, bit 1 for replicas.
    fn set_replication(&mut self, to: u8);

    /// Asked every so often: a text ends the script with that error.
    fn interrupt(&mut self) -> Option<String>;

    /// Nanoseconds since any fixed moment (`os.clock`).
    fn stopwatch_ns(&self) -> u64;
}
