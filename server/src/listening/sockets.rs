//! Binding the sockets that clients connect to.

use super::handover::Inherited;
use crate::StartError;
use engine::config::{ConfigStore, Id};
use runtime::Stream;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Nodes that connect at once.
#[cfg(feature = "cluster")]
const BUS_BACKLOG: i32 = 128;

/// The protocol layer around the sessions of a socket's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Through {
    /// RESP itself.
    Nothing,
    Tls,
    WebSocket,
    WebSocketInTls,
}

/// The directives that name ports. A replica tells its master the first address.
const PORTS: [(Id, Through); 4] = [
    (Id::Port, Through::Nothing),
    (Id::TlsPort, Through::Tls),
    (Id::WebsocketPort, Through::WebSocket),
    (Id::WebsocketTlsPort, Through::WebSocketInTls),
];

impl Through {
    /// Whether this server was built with the feature that it needs.
    fn check(self) -> Result<(), StartError> {
        let lacks = |what| Err(StartError::other(format!("this server was built without {what}")));
        match self {
            Through::Tls | Through::WebSocketInTls if !cfg!(feature = "tls") => {
                lacks("TLS (feature `tls`)")
            }
            Through::WebSocket | Through::WebSocketInTls if !cfg!(feature = "websocket") => {
                lacks("WebSocket (feature `websocket`)")
            }
            _ => Ok(()),
        }
    }
}

/// The sockets of a server, bound and listening, not yet served.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    /// To be handed to the runtime.
    pub streams: Vec<(Through, Stream)>,
    /// Where TCP clients find us.
    pub addresses: Vec<SocketAddr>,
    /// The path of the Unix socket; removed when this is dropped.
    pub unix: Option<UnixPath>,
}

/// A Unix socket's file. Dropping this removes it.
#[derive(Debug)]
pub(crate) struct UnixPath(pub PathBuf);

impl Drop for UnixPath {
    fn drop(&mut self) {
        // The file may have been removed already.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds the configured addresses; `instead` replaces the TCP addresses. If an inherited socket
/// already listens on a port, it is the only one of that port. An inherited socket on a port that
/// is not configured serves plain RESP.
pub(crate) fn bind(
    config: &ConfigStore,
    instead: &[SocketAddr],
    inherited: Inherited,
) -> Result<Bound, StartError> {
    let mut bound = Bound::default();
    bound.take_over(inherited, config)?;
    let inherited: Vec<u16> = bound.addresses.iter().map(SocketAddr::port).collect();
    for address in instead {
        bound.add_tcp(tcp(*address, config), &address.to_string(), Through::Nothing)?;
    }
    for (id, through) in PORTS {
        let port = config.integer(id) as u16;
        let bound_before = inherited.contains(&port) || id == Id::Port && !instead.is_empty();
        if port == 0 || bound_before {
            continue;
        }
        through.check()?;
        let mut words = config.bind_addresses().into_iter();
        words.try_for_each(|word| bound.add_word(&word, port, through, config))?;
    }
    let path = config.text(Id::Unixsocket);
    if !path.is_empty() && !bound.listens_at(&path) {
        bound.add_unix(Path::new(&*path), config.integer(Id::Unixsocketperm) as u32)?;
    }
    if bound.streams.is_empty() {
        return Err(StartError::other("configured to not listen anywhere"));
    }
    Ok(bound)
}

/// The TCP addresses that [`bind`] would listen on, as far as they can be checked without binding;
/// `instead` replaces those of `port`.
///
/// # Errors
/// Fails if an address is none, or this server was built without what a socket needs.
pub(crate) fn check(
    config: &ConfigStore,
    instead: &[SocketAddr],
) -> Result<Vec<SocketAddr>, StartError> {
    let mut addresses = instead.to_vec();
    for (id, through) in PORTS {
        let port = config.integer(id) as u16;
        if port == 0 || id == Id::Port && !instead.is_empty() {
            continue;
        }
        through.check()?;
        for word in config.bind_addresses() {
            let (host, optional) = host_of(&word);
            match resolve(host, port) {
                Err(error) if optional && is_missing(&error) => {}
                Ok(address) => addresses.push(address),
                Err(source) => {
                    return Err(StartError::Listen { address: format!("{host}:{port}"), source });
                }
            }
        }
    }
    // If there are none, a supervisor may give some.
    Ok(addresses)
}

/// The host of a word of `bind`, and whether it is not an error if the machine lacks it (a leading `-`).
fn host_of(word: &str) -> (&str, bool) {
    let (host, optional) = match word.strip_prefix('-') {
        Some(host) => (host, true),
        None => (word, false),
    };
    match host {
        "*" => ("0.0.0.0", optional),
        "::*" => ("::", optional),
        host => (host, optional),
    }
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let mut found = (host, port).to_socket_addrs()?;
    found.next().ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

impl Bound {
    fn take_over(&mut self, inherited: Inherited, config: &ConfigStore) -> Result<(), StartError> {
        for socket in inherited.sockets {
            let address = socket.local_addr().map_err(StartError::other)?;
            let Some(ip) = address.as_socket() else {
                let path = address.as_pathname().unwrap_or(Path::new("")).to_owned();
                // The process that created the file removes it.
                self.unix = inherited.from_us.then(|| UnixPath(path.clone()));
                let stream = Stream::Unix(socket.into(), path.display().to_string());
                self.streams.push((Through::Nothing, stream));
                continue;
            };
            // Those from us are of the ports that are configured: an upgrade is refused where they differ.
            let named = PORTS.iter().find(|(id, _)| config.integer(*id) == i64::from(ip.port()));
            let through = named.map_or(Through::Nothing, |(_, through)| *through);
            through.check()?;
            self.add_tcp(Ok(socket.into()), &ip.to_string(), through)?;
        }
        Ok(())
    }

    /// Whether one of the sockets is the Unix socket of that path.
    fn listens_at(&self, path: &str) -> bool {
        let at = |stream: &Stream| matches!(stream, Stream::Unix(_, other) if other == path);
        self.streams.iter().any(|(_, stream)| at(stream))
    }

    /// Adds one word of `bind`. A leading `-` means that it is not an error if the machine lacks
    /// the address or the protocol.
    fn add_word(
        &mut self,
        word: &str,
        port: u16,
        through: Through,
        config: &ConfigStore,
    ) -> Result<(), StartError> {
        let (host, optional) = host_of(word);
        match resolve(host, port).and_then(|address| tcp(address, config)) {
            Err(error) if optional && is_missing(&error) => Ok(()),
            result => self.add_tcp(result, &format!("{host}:{port}"), through),
        }
    }

    fn add_tcp(
        &mut self,
        socket: io::Result<TcpListener>,
        name: &str,
        through: Through,
    ) -> Result<(), StartError> {
        let failed = |source| StartError::Listen { address: name.to_owned(), source };
        let listener = socket.map_err(failed)?;
        self.addresses.push(listener.local_addr().map_err(failed)?);
        self.streams.push((through, Stream::Tcp(listener)));
        Ok(())
    }

    fn add_unix(&mut self, path: &Path, mode: u32) -> Result<(), StartError> {
        let failed = |source| StartError::Listen { address: path.display().to_string(), source };
        if UnixStream::connect(path).is_ok() {
            return Err(failed(io::ErrorKind::AddrInUse.into()));
        }
        remove_stale_socket(path).map_err(failed)?;
        let listener = UnixListener::bind(path).map_err(failed)?;
        self.unix = Some(UnixPath(path.to_owned()));
        listener.set_nonblocking(true).map_err(failed)?;
        if mode != 0 {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(path, mode).map_err(failed)?;
        }
        let stream = Stream::Unix(listener, path.display().to_string());
        self.streams.push((Through::Nothing, stream));
        Ok(())
    }
}

/// Removes the socket of a server that was killed. Anything other than a socket stays.
fn remove_stale_socket(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => std::fs::remove_file(path),
        _ => Ok(()),
    }
}

fn tcp(address: SocketAddr, config: &ConfigStore) -> io::Result<TcpListener> {
    let backlog = config.integer(Id::TcpBacklog).clamp(1, i64::from(i32::MAX)) as i32;
    let listener = listener(address, backlog)?;
    set_keepalive(&listener, config.integer(Id::TcpKeepalive))?;
    Ok(listener)
}

fn listener(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(TcpListener::from(socket))
}

/// A listener for the other nodes of a cluster.
#[cfg(feature = "cluster")]
pub(crate) fn bus(address: SocketAddr) -> io::Result<TcpListener> {
    listener(address, BUS_BACKLOG)
}

/// Sets `tcp-keepalive` on a listener: the sockets it accepts inherit it. As in Redis, probes
/// follow each other after a third of the interval, and three unanswered ones end a connection.
fn set_keepalive(listener: &TcpListener, seconds: i64) -> io::Result<()> {
    let socket = SockRef::from(listener);
    if seconds == 0 {
        return socket.set_keepalive(false);
    }
    let seconds = seconds.unsigned_abs();
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(seconds))
        .with_interval(Duration::from_secs((seconds / 3).max(1)))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)
}

/// Errors that say "not on this machine".
fn is_missing(error: &io::Error) -> bool {
    let codes = [
        libc::EADDRNOTAVAIL,
        libc::EAFNOSUPPORT,
        libc::EPROTONOSUPPORT,
        libc::ESOCKTNOSUPPORT,
        libc::EPFNOSUPPORT,
        libc::ENOPROTOOPT,
    ];
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::config::lookup;

    fn store(pairs: &[(&str, &[&str])]) -> ConfigStore {
        let store = ConfigStore::new();
        for (name, words) in pairs {
            store.load(lookup(name).unwrap().1, words).unwrap();
        }
        store
    }

    #[test]
    fn missing_addresses_are_errors_unless_optional() {
        // TEST-NET-1: no machine has it.
        let config = store(&[("bind", &["127.0.0.1", "-192.0.2.1"]), ("port", &["26391"])]);
        let bound = bind(&config, &[], Inherited::default()).unwrap();
        assert_eq!(bound.addresses, ["127.0.0.1:26391".parse().unwrap()]);
        assert!(std::net::TcpStream::connect(bound.addresses[0]).is_ok());
        drop(bound);
        let config = store(&[("bind", &["192.0.2.1"]), ("port", &["26391"])]);
        let error = bind(&config, &[], Inherited::default()).unwrap_err().to_string();
        assert!(error.starts_with("can't listen on 192.0.2.1:26391: "), "{error}");
    }

    #[test]
    fn used_ports_and_nowhere_are_refused() {
        let first =
            bind(&ConfigStore::new(), &["127.0.0.1:0".parse().unwrap()], Inherited::default())
                .unwrap();
        let error = bind(&ConfigStore::new(), &first.addresses, Inherited::default())
            .unwrap_err()
            .to_string();
        let expected =
            format!("can't listen on {}: another program already does", first.addresses[0]);
        assert_eq!(error, expected);
        let error =
            bind(&store(&[("port", &["0"])]), &[], Inherited::default()).unwrap_err().to_string();
        assert_eq!(error, "configured to not listen anywhere");
    }

    #[test]
    fn unix_sockets_are_guarded_and_cleaned_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let text = path.to_str().unwrap();
        let config =
            store(&[("port", &["0"]), ("unixsocket", &[text]), ("unixsocketperm", &["700"])]);
        let bound = bind(&config, &[], Inherited::default()).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(
            bind(&config, &[], Inherited::default())
                .unwrap_err()
                .to_string()
                .contains("another program")
        );
        drop(bound);
        assert!(!path.exists());
        drop(UnixListener::bind(&path).unwrap()); // what kill -9 leaves behind
        drop(bind(&config, &[], Inherited::default()).unwrap());
        std::fs::write(&path, "precious").unwrap();
        assert!(bind(&config, &[], Inherited::default()).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
