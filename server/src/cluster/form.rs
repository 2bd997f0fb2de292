//! `varve cluster form`: makes a cluster of servers that run.
//!
//! It looks at all servers, sends what is missing, and looks again, until each belongs. So it can be
//! interrupted and repeated, and changes nothing where everything is as it should be.

use crate::error::StartError;
use crate::migrate::client::{Client, Place};
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The highest number of nodes that vote (`cluster`'s driver). Others only follow.
const VOTERS_MAX: usize = 5;

/// The time that a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The time between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// The time after which servers are introduced to each other again.
const MEET_AGAIN: Duration = Duration::from_secs(2);

#[derive(Args, Debug)]
pub(super) struct FormArgs {
    /// The servers. The first founds the cluster, unless one of them belongs to one already.
    #[arg(required = true, value_name = "URL")]
    servers: Vec<Place>,
    /// A file with the password of all servers whose URL has none.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Seconds after which it is given up.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u32))]
    wait: u32,
}

/// Runs `varve cluster form`.
///
/// # Errors
/// Fails if a server belongs to another cluster or refuses, or when the time is over.
pub(super) fn run(args: &FormArgs) -> Result<(), StartError> {
    let mut servers = args.servers.clone();
    if let Some(file) = &args.password_file {
        let text = std::fs::read_to_string(file);
        let text = text.map_err(|error| StartError::file("read", file, error))?;
        let without = servers.iter_mut().filter(|place| place.password.is_empty());
        without.for_each(|place| place.password = text.trim_end().to_owned());
    }
    let (count, end) = (servers.len(), Instant::now() + Duration::from_secs(args.wait.into()));
    let mut forming = Forming::new(servers);
    loop {
        match forming.advance().map_err(StartError::Other)? {
            None => break,
            Some(missing) if Instant::now() > end => {
                return Err(StartError::Other(format!("no cluster in time: {missing}")));
            }
            Some(_) => std::thread::sleep(LOOK),
        }
    }
    tracing::info!("a cluster of {count} servers, each of which belongs");
    Ok(())
}

/// A server as it was seen.
struct View {
    client: Client,
    /// Its identity.
    id: String,
    /// The port for other nodes.
    bus: String,
    /// The nodes that it knows, itself included, by their identities.
    known: BTreeMap<String, Known>,
    /// The lines of `CLUSTER INFO`.
    info: String,
}

/// A node as another one knows it.
struct Known {
    /// `host:port`.
    address: String,
    has_failed: bool,
}

/// A line of `CLUSTER NODES`: `id host:port@bus,name flags …`.
fn known(line: &str) -> Option<(String, Known)> {
    let mut words = line.split(' ');
    let (id, address, flags) = (words.next()?, words.next()?, words.next()?);
    let address = address.split('@').next()?.to_owned();
    Some((
        id.to_owned(),
        Known { address, has_failed: flags.split(',').any(|flag| flag == "fail") },
    ))
}

impl View {
    fn of(place: &Place) -> Result<View, String> {
        let mut client = Client::connect(place)?;
        client.set_patience(PATIENCE)?;
        let id = client.text(&["CLUSTER", "MYID"])?;
        let nodes = client.text(&["CLUSTER", "NODES"])?;
        let info = client.text(&["CLUSTER", "INFO"])?;
        let known = nodes.lines().filter_map(known);
        let bus = bus_of(&nodes, &id).ok_or("it does not tell its port for other nodes")?;
        Ok(View { client, known: known.collect(), id, bus, info })
    }

    fn figure(&self, name: &str) -> &str {
        let lines = self.info.lines().filter_map(|line| line.trim_end().split_once(':'));
        lines.into_iter().find(|(of, _)| *of == name).map_or("", |(_, value)| value)
    }

    fn voters(&self) -> usize {
        self.figure("varve_cluster_voters").parse().unwrap_or(0)
    }

    /// Whether it belongs to a cluster that was founded, whoever leads now.
    fn is_founded(&self) -> bool {
        self.voters() > 0
    }

    fn is_ok(&self) -> bool {
        self.figure("cluster_state") == "ok"
    }
}

/// The port for other nodes in a node's own line of `CLUSTER NODES`: `id host:port@bus,name …`.
fn bus_of(nodes: &str, id: &str) -> Option<String> {
    let line = nodes.lines().find(|line| line.starts_with(id))?;
    let (_, bus) = line.split(' ').nth(1)?.split_once('@')?;
    bus.split(',').next().map(str::to_owned)
}

/// Servers on their way to a cluster.
pub(super) struct Forming {
    servers: Vec<Place>,
    /// When they were last introduced to each other.
    met: Option<Instant>,
}

impl Forming {
    pub fn new(servers: Vec<Place>) -> Forming {
        Forming { servers, met: None }
    }

    /// Looks at the servers and sends what is missing. Returns what is waited for; `None` when every
    /// server belongs and the cluster serves.
    ///
    /// # Errors
    /// Fails if waiting does not help: a server belongs to another cluster, or refuses.
    pub fn advance(&mut self) -> Result<Option<String>, String> {
        let mut views = Vec::new();
        for place in &self.servers {
            match View::of(place) {
                Ok(view) => views.push(view),
                Err(error) => return Ok(Some(format!("{}: {error}", name(place)))),
            }
        }
        let Some(founder) = views.iter().position(View::is_founded) else {
            // A slot that is busy was assigned before, and the cluster is on its way.
            return match views[0].client.text(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]) {
                Err(error) if !error.contains("busy") && !error.contains("being founded") => {
                    Err(format!("{}: {error}", name(&self.servers[0])))
                }
                _ => Ok(Some("the cluster is being founded".into())),
            };
        };
        if !views[founder].is_ok() {
            return Ok(Some("nobody leads".into()));
        }
        if let Some(missing) = self.let_go(&mut views) {
            return Ok(Some(missing));
        }
        if let Some(missing) = self.introduce(&mut views, founder)? {
            return Ok(Some(missing));
        }
        let voters = self.servers.len().min(VOTERS_MAX);
        let whole = views.iter().all(|view| view.is_ok() && view.voters() >= voters);
        Ok((!whole).then(|| "not all of them vote yet".into()))
    }

    /// Has those members forgotten whose place one of the servers has taken: it was emptied, and is a new
    /// node. Otherwise they would count when a majority is needed, and never answer.
    fn let_go(&self, views: &mut [View]) -> Option<String> {
        let ours: BTreeSet<String> = views.iter().map(|view| view.id.clone()).collect();
        let places: BTreeSet<String> = self.servers.iter().flat_map(addresses).collect();
        let is_gone = |(id, node): &(&String, &Known)| {
            node.has_failed && places.contains(&node.address) && !ours.contains(*id)
        };
        let gone =
            views.iter().find_map(|view| Some(view.known.iter().find(is_gone)?.0.clone()))?;
        for view in views {
            // Those that do not lead refuse; who leads may do so as well for a moment.
            let _ = view.client.text(&["CLUSTER", "FORGET", &gone]);
        }
        Some(format!("the node {gone}, which was in the place of another, is still known"))
    }

    /// Has the founder meet those that it does not know.
    fn introduce(&mut self, views: &mut [View], founder: usize) -> Result<Option<String>, String> {
        let (known, id) = (&views[founder].known, views[founder].id.clone());
        let strangers = |(_, view): &(usize, &View)| !known.contains_key(&view.id);
        let strangers: Vec<usize> =
            views.iter().enumerate().filter(strangers).map(|it| it.0).collect();
        let Some(first) = strangers.first() else { return Ok(None) };
        if let Some(other) = strangers.iter().find(|at| views[**at].is_founded()) {
            let (other, ours) = (name(&self.servers[*other]), name(&self.servers[founder]));
            return Err(format!("{other} belongs to another cluster than {ours} ({id})"));
        }
        if self.met.is_none_or(|met| met.elapsed() > MEET_AGAIN) {
            self.met = Some(Instant::now());
            for at in &strangers {
                let place = &self.servers[*at];
                let ip = resolve(place).ok_or_else(|| format!("{} has no address", name(place)))?;
                let (port, bus) = (place.port.to_string(), views[*at].bus.clone());
                views[founder]
                    .client
                    .text(&["CLUSTER", "MEET", &ip, &port, &bus])
                    .map_err(|error| format!("{}: {error}", name(&self.servers[founder])))?;
            }
        }
        Ok(Some(format!("{} is not known yet", name(&self.servers[*first]))))
    }
}

/// The address of a server's host.
fn resolve(place: &Place) -> Option<String> {
    let found = (place.host.as_str(), place.port).to_socket_addrs().ok()?.next()?;
    Some(found.ip().to_string())
}

/// The addresses under which others may know a server, `host:port`.
fn addresses(place: &Place) -> Vec<String> {
    let hosts = [Some(place.host.clone()), resolve(place)].into_iter().flatten();
    hosts.map(|host| format!("{host}:{}", place.port)).collect()
}

/// A server as messages name it, without its password.
fn name(place: &Place) -> String {
    format!("{}:{}", place.host, place.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_for_other_nodes_is_in_a_node_s_own_line() {
        let nodes = "aa 10.0.0.1:1@2,h slave - 0 0 1 connected\nbb :6379@16379 myself,master\n";
        assert_eq!(bus_of(nodes, "bb").as_deref(), Some("16379"));
        assert_eq!(bus_of(nodes, "aa").as_deref(), Some("2"));
        assert_eq!(bus_of(nodes, "cc"), None);
    }
}
