//! [`Serving`]: the runtime at work, from the moment that loading turns out to take long.

use crate::StartError;
use crate::listening::sockets::Through;
#[cfg(feature = "tls")]
use crate::listening::tls;
#[cfg(feature = "websocket")]
use crate::listening::websocket;
use crate::process::Process;
use engine::config::Id;
use engine::{Engine, EngineService};
use runtime::{Clock, Listener, Service, Stream};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

/// If loading takes longer than this, clients are served and get an error, instead of waiting in
/// the kernel's queue.
const QUIET_LOADING: Duration = Duration::from_millis(50);

/// The parts needed to serve, or the thread that does. Dropping it stops the server.
pub(crate) struct Serving {
    process: Arc<Process>,
    clock: Clock,
    listeners: Vec<Listener>,
    thread: Option<JoinHandle<io::Result<()>>>,
    /// Answers operators until this is dropped.
    #[cfg(feature = "admin")]
    _admin: Option<admin::serving::Serving>,
    /// Exports sampled requests until this is dropped.
    _traces: super::traces::Traces,
}

impl Serving {
    /// Serves operators, but no clients yet.
    ///
    /// # Errors
    /// Fails if the admin port cannot be opened, or for an error in the settings of TLS.
    pub fn new(
        streams: Vec<(Through, Stream)>,
        engine: &Arc<Engine>,
        process: Arc<Process>,
        clock: Clock,
    ) -> Result<Self, StartError> {
        #[cfg(feature = "tls")]
        tls::start(&process.encryption, &process.config)?;
        let service: Arc<dyn Service> = Arc::new(EngineService(engine.clone()));
        #[cfg(feature = "websocket")]
        websocket::start(&process.websocket, &process.config);
        let listener = |(through, stream)| {
            Some(Listener { stream, service: around(&process, &service, through)? })
        };
        let listeners = streams.into_iter().filter_map(listener).collect();
        Ok(Serving {
            #[cfg(feature = "admin")]
            _admin: super::admin::start(engine, &process)?,
            _traces: super::traces::start(&process)?,
            process,
            clock,
            listeners,
            thread: None,
        })
    }

    /// Runs `load`, and serves meanwhile if that takes long.
    ///
    /// # Errors
    /// Fails if a thread cannot be started.
    pub fn while_loading<T: Send>(
        &mut self,
        load: impl FnOnce() -> T + Send,
    ) -> Result<T, StartError> {
        std::thread::scope(|scope| {
            let (done, loaded) = channel();
            let work = move || {
                let result = load();
                // Nobody receives this any more once serving has begun.
                let _ = done.send(());
                result
            };
            let loader = std::thread::Builder::new().name("loader".into());
            let loader = loader.spawn_scoped(scope, work).map_err(StartError::other)?;
            if loaded.recv_timeout(QUIET_LOADING).is_err() && !loader.is_finished() {
                self.start().map_err(StartError::other)?;
            }
            loader.join().map_err(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn start(&mut self) -> io::Result<()> {
        let (process, clock) = (self.process.clone(), self.clock);
        let listeners = std::mem::take(&mut self.listeners);
        let work = move || serve(&process, listeners, clock);
        self.thread = Some(std::thread::Builder::new().name("varve".into()).spawn(work)?);
        Ok(())
    }

    /// Serves until the server is asked to stop: on this thread, unless another one does already.
    ///
    /// # Errors
    /// Fails if the runtime cannot be started.
    pub fn finish(mut self) -> Result<(), StartError> {
        let served = match self.thread.take() {
            Some(thread) => match thread.join() {
                Ok(served) => served,
                Err(_) => Err(io::Error::other("it panicked")),
            },
            None => serve(&self.process, std::mem::take(&mut self.listeners), self.clock),
        };
        served
            .map_err(|error| StartError::other(format!("{}: {error}", self.process.runtime.name())))
    }
}

/// `service` behind the filters that a socket asks for. None, where this server has no such filter:
/// then such a socket was not bound.
fn around(
    process: &Process,
    service: &Arc<dyn Service>,
    through: Through,
) -> Option<Arc<dyn Service>> {
    match through {
        Through::Nothing => Some(service.clone()),
        #[cfg(feature = "tls")]
        Through::Tls => process.encryption.serve(service.clone()),
        #[cfg(feature = "websocket")]
        Through::WebSocket => Some(process.websocket.serve(service.clone())),
        #[cfg(all(feature = "tls", feature = "websocket"))]
        Through::WebSocketInTls => {
            process.encryption.serve(process.websocket.serve(service.clone()))
        }
        #[allow(unreachable_patterns, reason = "reached without one of the features")]
        _ => {
            let _ = process;
            None
        }
    }
}

fn serve(process: &Process, listeners: Vec<Listener>, clock: Clock) -> io::Result<()> {
    let drain_timeout =
        Duration::from_secs(process.config.integer(Id::ShutdownDrainTimeout) as u64);
    process.runtime.serve(listeners, clock, process.shutdown.clone(), drain_timeout)
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.process.shutdown.request();
            // Its panic has been reported; there is nothing else to be done about it.
            let _ = thread.join();
        }
    }
}
