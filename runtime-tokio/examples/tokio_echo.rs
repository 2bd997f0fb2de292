//! A bare server on the tokio runtime, for measuring: `tokio_echo PORT [THREADS]`.

use runtime_tokio::{Config, TokioRuntime};

fn main() -> std::io::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|arg| arg.parse::<u16>().unwrap_or(0));
    let port = numbers.next().unwrap_or(6399);
    let threads = numbers.next().unwrap_or(1).into();
    runtime::testing::fixed::serve(&TokioRuntime::new(Config { threads })?, port)
}
