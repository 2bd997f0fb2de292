//! The thread that serves the admin port, and the bounds of its connections: their number, the
//! bytes of headers, and the time for a request. HTTP/1.1 and HTTP/2.

use crate::{Admin, router};
use axum::extract::Request;
use axum::middleware::map_request;
use axum::{Extension, Router};
use engine::Engine;
use engine::config::Id;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use runtime::Peer;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// Connections at once; others wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// The time that a connection may take to begin a request, and to send its headers.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
/// The time after which a connection finishes its current answers and is closed.
const CONNECTION_WITHIN: Duration = Duration::from_secs(60);
/// The largest size of the headers, in bytes.
const HEADERS_MAX: usize = 16 << 10;
/// Waited after a failure to accept, which usually is that descriptors have run out.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// The time that answers under way get when the port is closed: as long as clients of the RESP port get.
pub(crate) fn drain_timeout(engine: &Engine) -> Duration {
    Duration::from_secs(engine.config.integer(Id::ShutdownDrainTimeout).max(0) as u64)
}

/// A thread that answers. Dropping this ends it when it has given the answers under way.
pub struct Serving {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Begins to answer.
    ///
    /// # Errors
    /// Fails if the thread cannot be started, or the socket cannot be used.
    pub fn start(listener: TcpListener, admin: Admin) -> io::Result<Self> {
        let engine = admin.engine.clone();
        let router = router(admin);
        listener.set_nonblocking(true)?;
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = watch::channel(false);
        let work = move || {
            if let Err(error) = executor.block_on(accept(listener, router, stopped, &engine)) {
                tracing::error!(%error, "the admin port is closed");
            }
            // A check that still runs is not waited for.
            executor.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("admin".into()).spawn(work)?;
        Ok(Serving { stop, thread: Some(thread) })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the admin port's thread panicked");
        }
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    mut stopped: watch::Receiver<bool>,
    engine: &Engine,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((place, listener.accept().await))
        };
        let (place, accepted) = tokio::select! {
            next = next => next?,
            _ = stopped.wait_for(|stop| *stop) => break,
        };
        let (router, stop) = (router.clone(), Stop(stopped.clone()));
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(async move {
                answer(stream, router, stop).await;
                drop(place);
            })),
            Err(_) => tokio::time::sleep(AFTER_FAILURE).await,
        }
    }
    drop(listener);
    // All places are free again when all connections have ended.
    let _ = timeout(drain_timeout(engine), places.acquire_many(CONNECTIONS_MAX as u32)).await;
    Ok(())
}

/// Tells whether the port is being closed.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Waits until the port is being closed.
    pub async fn asked(&mut self) {
        // The sender is not dropped before.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

/// The two ends of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    remote: SocketAddr,
    local: SocketAddr,
}

impl Ends {
    fn of(stream: &TcpStream) -> io::Result<Self> {
        Ok(Ends { remote: stream.peer_addr()?, local: stream.local_addr()? })
    }

    /// The addresses in the form that a session gets.
    pub fn peer(self) -> Peer {
        Peer::Tcp { remote: self.remote, local: self.local }
    }
}

/// Answers on one connection until either side has had enough, or the port is closed.
async fn answer(stream: TcpStream, router: Router, mut stop: Stop) {
    // The first bytes decide the version, and the builder below would wait for them without a
    // limit.
    let mut first = [0];
    let begun = tokio::select! {
        begun = timeout(HEADERS_WITHIN, stream.peek(&mut first)) => begun,
        () = stop.asked() => return,
    };
    if !matches!(begun, Ok(Ok(1..))) {
        return;
    }
    let Ok(ends) = Ends::of(&stream) else { return };
    let asked = Arc::new(AtomicBool::new(false));
    let note = asked.clone();
    let router = router.layer(map_request(move |request: Request| {
        note.store(true, Relaxed);
        std::future::ready(request)
    }));
    let router = router.layer(Extension(ends)).layer(Extension(stop.clone()));
    let builder = builder();
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // Only the peer is interested in how a connection ended.
    let goes_on = tokio::select! {
        _ = connection.as_mut() => false,
        goes_on = enough(&asked) => goes_on,
        () = stop.asked() => true,
    };
    if goes_on {
        connection.as_mut().graceful_shutdown();
        // A command that has just begun has its time.
        let _ = timeout(HEADERS_WITHIN + crate::command::WITHIN, connection).await;
    }
}

/// Waits until a connection is to be closed. Returns whether it may finish its answers: one without any
/// request is closed early.
async fn enough(asked: &AtomicBool) -> bool {
    tokio::time::sleep(HEADERS_WITHIN).await;
    if asked.load(Relaxed) {
        tokio::time::sleep(CONNECTION_WITHIN).await;
        return true;
    }
    false
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(1)
        .max_header_list_size(HEADERS_MAX as u32)
        .keep_alive_interval(HEADERS_WITHIN);
    builder
}
