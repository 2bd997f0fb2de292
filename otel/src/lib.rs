//! Sampled requests as OpenTelemetry spans, sent to a collector (OTLP over gRPC).
//!
//! Promises: nobody who serves clients waits for a collector. Samples are put into a bounded queue, without a
//! lock that is held for long; those that find no room, and those that the collector does not take in time,
//! are dropped and counted ([`runtime::spans::counts`]).
//!
//! The crate knows no command, no storage and no configuration: [`runtime::spans`] says what a sample is.
//!
//! | module | what |
//! | --- | --- |
//! | `message` | samples as spans, a turn with a child for each stage |
//! | [`testing`] | a collector for tests |

mod message;
pub mod testing;

use message::Author;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use runtime::spans::{self, Sample};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

/// Samples that wait at most; each takes about a kilobyte.
const QUEUE_MAX: usize = 1024;
/// Samples that are sent together at most.
const BATCH_MAX: usize = 256;
/// The time for which a sample waits for others to be sent with.
const GATHER: Duration = Duration::from_millis(200);
/// The time that a collector may take for a batch.
const WITHIN: Duration = Duration::from_secs(5);
/// The time that it may take for the last one, when the server ends.
const LAST_WITHIN: Duration = Duration::from_secs(1);
/// Between two looks at the rate, while no samples are asked for.
const IDLE: Duration = Duration::from_millis(100);

/// Where samples go, and who sends them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The collector, `http://host:port`.
    pub endpoint: String,
    /// The server's version.
    pub version: String,
    /// The server's address, which distinguishes it from others.
    pub instance: String,
}

/// A thread that exports samples. Dropping it sends those that wait, if the collector takes them soon.
#[derive(Debug)]
pub struct Exporter {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Exporter {
    /// Begins to export. `rate` is asked again and again for the number of samples per second to ask for, beside those
    /// that callers ask for. There is one exporter in a process.
    ///
    /// # Errors
    /// Fails for an endpoint that is none, or one with TLS; if the thread cannot be started; and if there is an exporter already.
    pub fn start(
        settings: Settings,
        rate: impl Fn() -> u64 + Send + 'static,
    ) -> Result<Self, String> {
        let Settings { endpoint, version, instance } = settings;
        if !endpoint.starts_with("http://") {
            return Err(format!(
                "'{endpoint}' is not http://host:port (a collector beside the server speaks TLS with others)"
            ));
        }
        let endpoint = Endpoint::from_shared(endpoint.clone())
            .map_err(|error| format!("'{endpoint}': {error}"))?;
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let executor = executor.map_err(|error| error.to_string())?;
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let (stop, stopped) = oneshot::channel();
        if !spans::export(Box::new(move |sample| queue.try_send(sample).is_ok())) {
            return Err("samples are exported already".into());
        }
        let work = move || {
            executor.block_on(async move {
                let asking = tokio::spawn(ask(rate));
                let channel = endpoint.connect_timeout(WITHIN).timeout(WITHIN).connect_lazy();
                let sender = Sender::new(channel, Author::new(version, instance));
                sender.run(waiting, stopped).await;
                asking.abort();
            });
            spans::forget();
        };
        let thread = std::thread::Builder::new().name("traces".into()).spawn(work);
        let thread = Some(thread.map_err(|error| error.to_string())?);
        Ok(Exporter { stop: Some(stop), thread })
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // It may have panicked, and receives nothing then.
        let _ = self.stop.take().map(|stop| stop.send(()));
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that exports traces panicked");
        }
    }
}

/// Asks for samples at a rate.
async fn ask(rate: impl Fn() -> u64 + Send) {
    loop {
        match rate() {
            0 => {
                spans::forget();
                tokio::time::sleep(IDLE).await;
            }
            rate => {
                spans::ask();
                tokio::time::sleep(Duration::from_secs(1) / rate.min(1000) as u32).await;
            }
        }
    }
}

/// Sends batches, one after the other.
struct Sender {
    client: TraceServiceClient<Channel>,
    author: Author,
    /// Whether the last batch has failed, which is logged once.
    fails: bool,
}

impl Sender {
    fn new(channel: Channel, author: Author) -> Self {
        Sender { client: TraceServiceClient::new(channel), author, fails: false }
    }

    async fn run(
        mut self,
        mut waiting: mpsc::Receiver<Sample>,
        mut stopped: oneshot::Receiver<()>,
    ) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                () = gather(&mut waiting, &mut batch) => {}
            }
            let sent = tokio::select! {
                biased;
                _ = &mut stopped => break,
                sent = self.send(&batch) => sent,
            };
            self.note(&batch, sent);
            batch.clear();
        }
        while let Ok(sample) = waiting.try_recv() {
            batch.push(sample);
        }
        if !batch.is_empty() {
            let sent = timeout(LAST_WITHIN, self.send(&batch)).await;
            self.note(&batch, sent.unwrap_or_else(|_| Err("no answer".into())));
        }
    }

    /// Sends a batch; on failure says why.
    async fn send(&mut self, batch: &[Sample]) -> Result<(), String> {
        let request = self.author.request(batch);
        let answer = timeout(WITHIN, self.client.export(request)).await;
        let answer = answer.map_err(|_| "no answer".to_owned())?;
        let answer = answer.map_err(|status| status.to_string())?.into_inner();
        match answer.partial_success {
            Some(partial) if partial.rejected_spans > 0 => Err(partial.error_message),
            _ => Ok(()),
        }
    }

    fn note(&mut self, batch: &[Sample], sent: Result<(), String>) {
        let failed = sent.is_err();
        match sent {
            Err(error) if !self.fails => {
                tracing::warn!(error, "traces are lost: the collector does not take them");
            }
            Ok(()) if self.fails => tracing::info!("the collector takes traces again"),
            _ => {}
        }
        if failed {
            spans::lost(batch.len() as u64);
        }
        self.fails = failed;
    }
}

/// Waits for a sample, and a moment longer for others.
async fn gather(waiting: &mut mpsc::Receiver<Sample>, batch: &mut Vec<Sample>) {
    if batch.is_empty() {
        match waiting.recv().await {
            Some(sample) => batch.push(sample),
            // The queue lives as long as the process.
            None => std::future::pending().await,
        }
    }
    let more = async {
        while batch.len() < BATCH_MAX {
            match waiting.recv().await {
                Some(sample) => batch.push(sample),
                None => break,
            }
        }
    };
    // Whether the batch is full or the time is over.
    let _ = timeout(GATHER, more).await;
}
