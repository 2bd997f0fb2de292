//! The io_uring runtime passes the suite, with one thread and with several.

mod kernel;

runtime::suite!(one, || kernel::uring(1));
runtime::suite!(many, || kernel::uring(3));
