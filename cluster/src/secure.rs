//! Encryption between nodes: who connects and who answers both show a certificate of an authority that is trusted.

use crate::book::Stranger;
use crate::hub::Hub;
use crate::receive::host_of;
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Handshakes at once, at most: whoever comes beyond is closed.
const HANDSHAKES_MAX: usize = 64;

/// After an error of accepting.
const REST: Duration = Duration::from_millis(50);

/// The settings for incoming and for outgoing connections.
type Both = (Arc<ServerConfig>, Arc<ClientConfig>);

/// Returns the settings as they are now, because certificates may be exchanged while a node runs; `None` if there are none,
/// and then there are no connections.
pub type Certificates = Arc<dyn Fn() -> Option<Both> + Send + Sync>;

/// A connection whose other end has shown who it is.
pub struct Proven(TlsStream<TcpStream>);

impl Connected for Proven {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.0.get_ref().0.connect_info()
    }
}

impl AsyncRead for Proven {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Proven {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Accepts connections and hands on those whose other end has shown a certificate. The others are counted, and named in the
/// log once each.
pub async fn accept(
    listener: TcpListener,
    certificates: Certificates,
    hub: Arc<Hub>,
    proven: mpsc::Sender<io::Result<Proven>>,
) {
    let room = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let (Ok(permit), Some((settings, _))) = (room.clone().try_acquire_owned(), certificates())
        else {
            continue;
        };
        let (acceptor, hub, proven) = (TlsAcceptor::from(settings), hub.clone(), proven.clone());
        tokio::spawn(async move {
            let _permit = permit;
            // Without it small messages wait; nothing else depends on it.
            let _ = stream.set_nodelay(true);
            match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
                // Nobody takes it any more when the node ends.
                Ok(Ok(stream)) => drop(proven.send(Ok(Proven(stream.into()))).await),
                _ => drop(hub.refuse(0, &host_of(from.ip()), Stranger::Certificate)),
            }
        });
    }
}

/// Makes connections to other nodes, which must show a certificate as well.
pub struct Connector {
    /// For the other direction too.
    pub certificates: Certificates,
    /// Counts whoever shows none.
    pub hub: Arc<Hub>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Proven>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Proven>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (settings, hub) = ((self.certificates)(), self.hub.clone());
        Box::pin(async move {
            let (_, settings) = settings.ok_or_else(|| io::Error::other("no certificate"))?;
            let connector = TlsConnector::from(settings);
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            let stream = TcpStream::connect((&*host, uri.port_u16().unwrap_or_default())).await?;
            stream.set_nodelay(true)?;
            match connector.connect(name, stream).await {
                Ok(stream) => Ok(TokioIo::new(Proven(stream.into()))),
                Err(error) => {
                    // Whoever closes in the middle may only be about to end.
                    if error.kind() == io::ErrorKind::InvalidData {
                        hub.refuse(0, &host, Stranger::Certificate);
                    }
                    Err(error)
                }
            }
        })
    }
}
