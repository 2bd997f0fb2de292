//! Parts of runtimes whose threads have a loop and connections of their own: reactors.
//!
//! A reactor waits for the kernel in its own way (epoll, io_uring). What is here is the rest: where
//! its connections are, when they are due, how other threads reach it, and how many of it there are.
//!
//! | module | what |
//! | --- | --- |
//! | `group` | [`Group`]: the reactors of one `serve` call, started, chosen, resized and joined |
//! | `leaving` | [`Leaving`]: connections that a reactor is to pass on to others |
//! | `mailbox` | [`Mailbox`]: messages to a reactor, with one wake-up of its thread per sleep |
//! | [`pin`] | pins a thread to a core |
//! | `slots` | [`Slots`]: a reactor's connections, found by [`Key`] |
//! | `timers` | [`Timers`]: the deadlines of a reactor's connections |
//! | `waker` | [`ConnectionWaker`]: the waker of a connection, which finds its reactor |

mod group;
mod leaving;
mod mailbox;
pub mod pin;
mod slots;
mod timers;
mod waker;

pub use group::{Group, Reactors, Ready, THREADS_MAX, check_threads};
pub use leaving::{Leaving, Parting};
pub use mailbox::{Mailbox, Message, Newcomer};
pub use slots::{Key, Slots};
pub use timers::{NEVER, Timers};
pub use waker::ConnectionWaker;
