//! `cargo xtask load-speed`: how many requests a second one core of the load generator drives. A
//! generator slower than the servers would measure itself.

use super::keys::{Distribution, Keys};
use super::request::Generator;
use super::{Pacing, RunConfig, Stop, run};
use crate::echo::{self, Options};
use anyhow::{Result, anyhow, ensure};
use capture::lab::cpu;
use clap::Args;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The number of attempts, of which the best counts: other programs on the machine can only slow
/// the generator down.
const ATTEMPTS: usize = 20;

/// The command line of `cargo xtask load-speed`.
#[derive(Debug, Args)]
pub struct SpeedArgs {
    /// Requests per second below which this fails
    #[arg(long, default_value_t = 0.0)]
    at_least: f64,
}

/// Runs the subcommand: the bare echo server on the first allowed core, the generator on the last.
///
/// # Errors
/// Fails if there is only one core, when the servers cannot be started, when it is too slow.
pub fn measure(args: &SpeedArgs) -> Result<()> {
    let cores = cpu::allowed();
    ensure!(
        cores.len() >= 2,
        "this needs two cores: one for the echo server, one for the generator"
    );
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (addr, stop) = (listener.local_addr()?, AtomicBool::new(false));
    let best = std::thread::scope(|scope| {
        let serve = || echo::serve(listener, &Options { value_size: 64, stall: None }, &stop);
        let server = cpu::pinned(&cores[..1], || scope.spawn(serve))
            .inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
        let best = best(addr, cores[cores.len() - 1], args.at_least);
        stop.store(true, Ordering::Relaxed);
        server.join().map_err(|_| anyhow!("the echo server panicked"))??;
        best
    })?;
    println!("{best:.0} requests per second");
    ensure!(best >= args.at_least, "{best:.0} requests per second instead of {}", args.at_least);
    Ok(())
}

/// The best of some attempts, or the first that is good enough.
fn best(addr: SocketAddr, core: usize, enough: f64) -> Result<f64> {
    let keys = Keys::new(Distribution::Uniform, 1000, 1);
    let gets = Generator::weighted(&[("GET {key}".into(), 1.0)], &[64], 1, keys)?;
    let config = RunConfig {
        server: addr.into(),
        connections: 50,
        pipeline: 64,
        pacing: Pacing::Closed,
        warmup: Duration::from_millis(50),
        stop: Stop::After(Duration::from_millis(300)),
        cores: vec![core],
        run: 0,
    };
    let mut best = 0.0f64;
    for _ in 0..ATTEMPTS {
        let report = run(&config, &gets, &mut |_| {})?;
        best = best.max(report.tally.replies as f64 / report.elapsed.as_secs_f64());
        if best >= enough {
            break;
        }
    }
    Ok(best)
}
