//! Three servers that agree on every write: founded, killed, restarted, outvoted.

use crate::admin::{LOCAL, metric};
use crate::support::{Ended, Varve, command, connect, folder, free_port, run};
use crate::tls::Authority;
use redis::{Connection, RedisResult};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use storage::testing::{until, until_some};
use tempfile::TempDir;

/// A node and where its data are.
pub struct TestNode {
    varve: Option<Varve>,
    folder: (TempDir, PathBuf),
    port: u16,
    timeout_ms: u32,
    /// More of its command line.
    more: Vec<String>,
}

/// Where nobody is killed nobody else is to be elected, though the machine is slow; who belongs is looked at every fifth of it.
pub const CALM_MS: u32 = 6_000;

/// Where somebody is: long enough for a busy disk, short enough to be waited for.
const ELECTION_MS: u32 = 2_000;

/// From a node's port to the one for other nodes.
const BUS: u16 = 1_000;

fn start(dir: &Path, port: u16, timeout_ms: u32, more: &[String]) -> Varve {
    let timeout = timeout_ms.to_string();
    let args = ["--cluster-enabled", "yes", "--bind", "127.0.0.1", "--save", ""];
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    Varve::start_at(dir, port, &[&args[..], &["--cluster-node-timeout", &timeout], &more].concat())
}

impl TestNode {
    pub fn new(timeout_ms: u32) -> TestNode {
        TestNode::with(timeout_ms, |_| Vec::new())
    }

    /// With this at the end of its command line, given its folder.
    fn with(timeout_ms: u32, more: impl Fn(&Path) -> Vec<String>) -> TestNode {
        let (folder, port) = (folder(), free_port());
        let more = more(&folder.1);
        let varve = Some(start(&folder.1, port, timeout_ms, &more));
        TestNode { varve, folder, port, timeout_ms, more }
    }

    pub fn running(&self) -> &Varve {
        self.varve.as_ref().expect("it runs")
    }

    pub fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        ask(&mut self.running().connect(), words)
    }

    fn info(&self, name: &str) -> String {
        let text: String = until_some("it answers", || self.ask(&["CLUSTER", "INFO"]).ok());
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.expect("it is there").to_owned()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn is_running(&self) -> bool {
        self.varve.is_some()
    }

    pub fn kill(&mut self) {
        self.varve.take().expect("it runs").kill();
    }

    /// Tells it to end, and waits for that.
    pub fn stop(&mut self) -> Ended {
        self.varve.take().expect("it runs").stop()
    }

    pub fn restart(&mut self) {
        self.varve = Some(start(&self.folder.1, self.port, self.timeout_ms, &self.more));
    }

    /// Whether it says that it leads; who is loading says nothing.
    pub fn leads(&self) -> bool {
        // Without a leader, who led last is still shown.
        let info: RedisResult<String> = self.ask(&["CLUSTER", "INFO"]);
        let ok = info.is_ok_and(|info| info.contains("cluster_state:ok"));
        let nodes: RedisResult<String> = self.ask(&["CLUSTER", "NODES"]);
        let mine = |line: &str| line.contains("myself,master") && line.contains("0-16383");
        ok && nodes.is_ok_and(|nodes| nodes.lines().any(mine))
    }
}

pub fn ask<T: redis::FromRedisValue>(
    connection: &mut Connection,
    words: &[&str],
) -> RedisResult<T> {
    redis::cmd(words[0]).arg(&words[1..]).query(connection)
}

/// Three nodes, of which the first founded the cluster, and all vote.
pub fn three(timeout_ms: u32) -> [TestNode; 3] {
    three_of(timeout_ms, &[])
}

/// The same; `more` is at the end of the first one's command line.
pub fn three_of(timeout_ms: u32, more: &[&str]) -> [TestNode; 3] {
    let more: Vec<String> = more.iter().map(ToString::to_string).collect();
    let first = TestNode::with(timeout_ms, |_| more.clone());
    let nodes = [first, TestNode::new(timeout_ms), TestNode::new(timeout_ms)];
    // One that has just started may be loading for a moment.
    let tell = |at: usize, words: &[&str]| {
        until("it does as it is told", || nodes[at].ask::<()>(words).is_ok());
    };
    tell(0, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    // To it, and from it.
    tell(1, &["CLUSTER", "MEET", "127.0.0.1", &nodes[0].port.to_string()]);
    tell(0, &["CLUSTER", "MEET", "127.0.0.1", &nodes[2].port.to_string()]);
    until("all three belong", || nodes.iter().all(|node| members(node) == 3));
    until("all three vote", || nodes[0].info("varve_cluster_voters") == "3");
    nodes
}

/// How many nodes lead slots or follow, as a node sees it.
fn members(node: &TestNode) -> usize {
    let nodes: String = node.ask(&["CLUSTER", "NODES"]).unwrap_or_default();
    let has_slots = |line: &str| line.split(' ').count() > 8;
    let belongs = |line: &&str| line.contains("slave") || has_slots(line);
    nodes.lines().filter(belongs).filter(|line| line.contains(" connected")).count()
}

/// Which of the nodes that run leads.
pub fn leader(nodes: &[TestNode]) -> usize {
    until_some("somebody leads", || {
        nodes.iter().position(|node| node.varve.is_some() && node.leads())
    })
}

/// Lets the leader run a command that may be run twice. Another node may lead by then, or for a
/// moment none.
fn run_by_leader<T: redis::FromRedisValue>(nodes: &[TestNode], words: &[&str]) -> T {
    let running = || nodes.iter().filter(|node| node.varve.is_some());
    until_some("the leader answers", || running().find_map(|node| node.ask(words).ok()))
}

#[track_caller]
pub fn error(result: RedisResult<()>) -> String {
    let error = result.expect_err("it is refused");
    format!("{} {}", error.code().unwrap_or(""), error.detail().unwrap_or(""))
}

#[test]
fn what_was_acknowledged_survives_the_leader_and_who_returns_follows() {
    let mut nodes = three(ELECTION_MS);
    let first = leader(&nodes);
    let mut client = nodes[first].running().connect();
    for number in 0..500 {
        let (key, value) = (format!("key:{number}"), number.to_string());
        let words = ["SET", &key, &value];
        if ask::<()>(&mut client, &words).is_err() {
            run_by_leader::<()>(&nodes, &words);
        }
    }
    let first = leader(&nodes);
    let address = format!("127.0.0.1:{}", nodes[first].port);
    until("the others send clients to it", || {
        let refused = nodes[(first + 1) % 3].ask::<()>(&["SET", "key:1", "1"]);
        refused.is_err_and(|it| it.code() == Some("MOVED") && it.to_string().contains(&address))
    });

    nodes[first].kill();
    let second = leader(&nodes);
    assert_ne!(second, first);
    for number in 0..500 {
        let got: String = run_by_leader(&nodes, &["GET", &format!("key:{number}")]);
        assert_eq!(got, number.to_string());
    }
    run_by_leader::<()>(&nodes, &["SET", "later", "1"]);

    nodes[first].restart();
    let mut reader = nodes[first].running().connect();
    let _: () = ask(&mut reader, &["READONLY"]).unwrap();
    until("it has what was written without it", || {
        ask::<Option<String>>(&mut reader, &["GET", "later"]).ok().flatten().is_some()
    });
    let got: String = until_some("it answers", || ask(&mut reader, &["GET", "key:499"]).ok());
    assert_eq!(got, "499");
}

#[test]
fn a_minority_serves_nothing_and_says_so() {
    let mut nodes = three(ELECTION_MS);
    run_by_leader::<()>(&nodes, &["SET", "key", "1"]);
    let first = leader(&nodes);
    let mut client = nodes[first].running().connect();
    let others: Vec<usize> = (0..3).filter(|at| *at != first).collect();
    others.iter().for_each(|at| nodes[*at].kill());
    // It is not known what became of it: the majority may have had it.
    let written = error(ask(&mut client, &["SET", "key", "2"]));
    assert!(
        ["UNKNOWN", "CLUSTERDOWN", "TRYAGAIN"].iter().any(|code| written.starts_with(code)),
        "{written}"
    );
    until("it says that the cluster is down", || {
        let read: RedisResult<()> = ask(&mut client, &["GET", "key"]);
        read.is_err_and(|error| error.code() == Some("CLUSTERDOWN"))
    });
    until("it knows", || nodes[first].info("cluster_state") == "fail");
    nodes[others[0]].restart();
    let again = leader(&nodes);
    let value: String = until_some("it is served again", || nodes[again].ask(&["GET", "key"]).ok());
    assert!(value == "1" || value == "2", "{value}");
}

#[test]
fn who_has_no_quorum_is_not_ready() {
    let admin = free_port();
    let health = || crate::admin::ask(admin, "/health/ready", LOCAL);
    let alone = TestNode::with(ELECTION_MS, |_| ["--admin-port".into(), admin.to_string()].into());
    assert!(health().1.contains("\"quorum\":\"no cluster is formed\""), "{}", health().1);
    let alone_figures = figures(admin);
    drop(alone);
    let mut nodes = three_of(ELECTION_MS, &["--admin-port", &admin.to_string()]);
    until("it is ready", || health().0 == 200);
    let metric = |name: &str| metric(admin, &format!("varve_cluster_{name}"));
    let formed = figures(admin);
    assert_eq!([metric("ok"), metric("voters"), metric("failed_nodes")], [1.0, 3.0, 0.0]);
    let applied = metric("group_applied_index{group=\"1\"}");
    run_by_leader::<()>(&nodes, &["SET", "key", "1"]);
    until("it is counted", || metric("group_applied_index{group=\"1\"}") > applied);
    nodes[1..].iter_mut().for_each(TestNode::kill);
    until("it is not ready", || {
        let (code, body) = health();
        code == 503 && body.contains("nobody is known to lead all slots")
    });
    assert_eq!([metric("ok"), metric("group_has_leader{group=\"1\"}")], [0.0, 0.0]);
    until("the others are missed", || metric("failed_nodes") == 2.0);
    let missed = figures(admin);
    nodes[1].restart();
    until("it is ready again", || health().0 == 200);
    assert_moved(&[alone_figures, formed, missed, figures(admin)]);
}

/// The lines of `/metrics` about the cluster.
fn figures(admin: u16) -> Vec<String> {
    let (_, text) = crate::admin::ask(admin, "/metrics", LOCAL);
    text.lines().filter(|line| line.starts_with("varve_cluster_")).map(str::to_owned).collect()
}

/// Every documented metric of a cluster was seen with other values, but for those that count what no node does.
fn assert_moved(moments: &[Vec<String>]) {
    let document = include_str!("../../../docs/metrics.md");
    let names = document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    for name in names.filter(|name| name.starts_with("varve_cluster_")) {
        let about = |line: &&String| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with([' ', '{']) || rest.starts_with("_total"))
        };
        let seen: Vec<Vec<&String>> =
            moments.iter().map(|lines| lines.iter().filter(about).collect()).collect();
        let moved = seen.iter().any(|lines| *lines != seen[0]);
        assert!(moved || name == "varve_cluster_messages_refused", "{name} never moved: {seen:?}");
    }
}

#[test]
fn a_follower_shows_what_was_acknowledged_or_says_that_it_cannot() {
    let mut nodes = three(ELECTION_MS);
    let first = leader(&nodes);
    let follower = (first + 1) % 3;
    let mut reader = nodes[follower].running().connect();
    let _: () = ask(&mut reader, &["CLIENT", "CONSISTENCY", "QUORUM", "READS", "INDEX"]).unwrap();
    for number in 0..200 {
        run_by_leader::<()>(&nodes, &["SET", "key", &number.to_string()]);
        let got: u32 = until_some("it answers", || ask(&mut reader, &["GET", "key"]).ok());
        assert_eq!(got, number);
    }
    // Another who wants no promise is answered at once, and its write is there as well.
    let mut client = nodes[leader(&nodes)].running().connect();
    let _: () = ask(&mut client, &["CLIENT", "CONSISTENCY", "ASYNC"]).unwrap();
    until("it is written", || ask::<()>(&mut client, &["SET", "other", "1"]).is_ok());
    let got: String = until_some("it is read", || ask(&mut reader, &["GET", "other"]).ok());
    assert_eq!(got, "1");
    (0..3).filter(|at| *at != follower).for_each(|at| nodes[at].kill());
    until("a minority does not answer", || {
        let read: RedisResult<()> = ask(&mut reader, &["GET", "key"]);
        read.is_err_and(|error| error.code() == Some("CLUSTERDOWN"))
    });
}

#[test]
fn who_is_told_to_end_hands_over_first() {
    let mut nodes = three(CALM_MS);
    run_by_leader::<()>(&nodes, &["SET", "key", "1"]);
    let first = leader(&nodes);
    let ended = nodes[first].varve.take().expect("it runs").stop();
    assert!(ended.status.success(), "{}", ended.stderr);
    let said = [ended.stdout, ended.stderr].concat();
    assert!(said.contains("the leadership was handed over"), "{said}");
    let second = leader(&nodes);
    let got: String = until_some("it serves", || nodes[second].ask(&["GET", "key"]).ok());
    assert_eq!(got, "1");
}

#[test]
fn a_replica_that_is_told_to_lead_does_whether_its_leader_lives_or_not() {
    let mut nodes = three(ELECTION_MS);
    let first = leader(&nodes);
    let refused = error(nodes[first].ask(&["CLUSTER", "FAILOVER"]));
    assert!(refused.contains("to a replica"), "{refused}");
    let second = (first + 1) % 3;
    // For a moment nobody may lead.
    until("it is told", || nodes[second].ask::<()>(&["CLUSTER", "FAILOVER"]).is_ok());
    until("it leads", || nodes[second].leads());
    run_by_leader::<()>(&nodes, &["SET", "key", "1"]);
    let second = leader(&nodes);
    let third = (second + 1) % 3;
    nodes[second].kill();
    until("it is told", || {
        nodes[third].leads() || nodes[third].ask::<()>(&["CLUSTER", "FAILOVER", "FORCE"]).is_ok()
    });
    until("it leads, whoever led meanwhile", || nodes[third].leads());
    let got: String = run_by_leader(&nodes, &["GET", "key"]);
    assert_eq!(got, "1");
}

#[test]
fn who_does_not_answer_is_passed_over_when_the_leadership_is_handed_over() {
    let mut nodes = three(CALM_MS);
    let first = leader(&nodes);
    let id = |at: usize| nodes[at].ask::<String>(&["CLUSTER", "MYID"]).unwrap();
    let mut others: Vec<usize> = (0..3).filter(|at| *at != first).collect();
    // Where all else is equal, who has the largest number comes first.
    others.sort_by_key(|at| id(*at));
    nodes[others[1]].running().freeze();
    let ended = nodes[first].varve.take().expect("it runs").stop();
    nodes[others[1]].running().signal(libc::SIGCONT);
    let said = [ended.stdout, ended.stderr].concat();
    assert!(said.contains("the leadership was handed over"), "{said}");
}

#[test]
fn where_a_node_is_found_changes_while_it_runs_and_the_election_timeout_does_not() {
    let nodes = three(CALM_MS);
    let refused = error(nodes[1].ask(&["CONFIG", "SET", "cluster-node-timeout", "9000"]));
    assert!(refused.contains("all nodes having the same"), "{refused}");
    let refused = error(nodes[1].ask(&["CONFIG", "SET", "cluster-announce-ip", "a b"]));
    assert!(refused.contains("nor the name of a host"), "{refused}");
    let port = nodes[1].port.to_string();
    let bus = (nodes[1].port + BUS).to_string();
    let shown = |host: &str, port: &str| {
        let line = format!(" {host}:{port}@{bus} ");
        nodes.iter().all(|node| {
            node.ask::<String>(&["CLUSTER", "NODES"]).is_ok_and(|nodes| nodes.contains(&line))
        })
    };
    let _: () = nodes[1].ask(&["CONFIG", "SET", "cluster-announce-ip", "localhost"]).unwrap();
    let _: () = nodes[1].ask(&["CONFIG", "SET", "cluster-announce-port", "7777"]).unwrap();
    until("all know it under another address", || shown("localhost", "7777"));
    let _: () = nodes[1].ask(&["CONFIG", "SET", "cluster-announce-ip", ""]).unwrap();
    let _: () = nodes[1].ask(&["CONFIG", "SET", "cluster-announce-port", "0"]).unwrap();
    until("all know it under its own", || shown("127.0.0.1", &port));
}

#[test]
fn a_node_that_is_forgotten_belongs_no_longer_and_slots_are_given_once() {
    let nodes = three(CALM_MS);
    let id: String = nodes[2].ask(&["CLUSTER", "MYID"]).unwrap();
    let leader = format!("127.0.0.1:{}", nodes[0].port);
    until("another node says who can", || {
        let refused = error(nodes[1].ask(&["CLUSTER", "FORGET", &id]));
        assert!(refused.contains("Only the leader"), "{refused}");
        refused.contains(&leader)
    });
    let _: () = nodes[0].ask(&["CLUSTER", "FORGET", &id]).unwrap();
    until("two are left", || nodes[0].info("varve_cluster_voters") == "2");
    until("it is forgotten everywhere", || {
        let nodes: String = nodes[1].ask(&["CLUSTER", "NODES"]).expect("it answers");
        !nodes.contains(&id)
    });
    run_by_leader::<()>(&nodes, &["SET", "key", "1"]);
    // Of two that are there, one can go: both agree to it.
    let other: String = nodes[1].ask(&["CLUSTER", "MYID"]).unwrap();
    let _: () = nodes[0].ask(&["CLUSTER", "FORGET", &other]).unwrap();
    until("one is left", || nodes[0].info("varve_cluster_voters") == "1");
    run_by_leader::<()>(&nodes[..1], &["SET", "key", "2"]);
    let refused = error(nodes[0].ask(&["CLUSTER", "FORGET", &id]));
    assert!(refused.contains("Unknown node"), "{refused}");
    let refused = error(nodes[0].ask(&["CLUSTER", "ADDSLOTS", "7"]));
    assert!(refused.contains("Slot 7 is already busy"), "{refused}");
    for (words, why) in [
        (&["DELSLOTS", "7"][..], "The groups of a cluster have all slots"),
        (&["FLUSHSLOTS"], "DB must be empty"),
        (&["RESET"], "master nodes containing keys"),
    ] {
        let refused = error(nodes[0].ask(&[&["CLUSTER"], words].concat()));
        assert!(refused.contains(why), "{refused}");
    }
    let _: () = nodes[0].ask(&["FLUSHALL"]).unwrap();
    for (word, why) in [
        ("FLUSHSLOTS", "The groups of a cluster have all slots"),
        ("RESET", "A node does not leave its group by itself"),
    ] {
        let refused = error(nodes[0].ask(&["CLUSTER", word]));
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn who_joins_late_gets_all_there_is_and_everybody_may_be_killed() {
    let mut nodes = [(); 2].map(|()| TestNode::new(ELECTION_MS));
    let _: () = nodes[0].ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).unwrap();
    let mut client = nodes[0].running().connect();
    until("it serves", || ask::<()>(&mut client, &["SET", "key:0", "v"]).is_ok());
    let value = "v".repeat(20_000);
    for number in 0..200 {
        let _: () = ask(&mut client, &["SET", &format!("key:{number}"), &value]).unwrap();
    }
    let port = nodes[1].port.to_string();
    let _: () = nodes[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &port]).unwrap();
    until("both vote", || nodes[0].info("varve_cluster_voters") == "2");
    let has_all = |node: &TestNode| node.ask::<u64>(&["DBSIZE"]).is_ok_and(|keys| keys == 200);
    until("it has everything", || has_all(&nodes[1]));
    let mut reader = nodes[1].running().connect();
    let _: () = ask(&mut reader, &["READONLY"]).unwrap();
    let got: String = ask(&mut reader, &["GET", "key:199"]).unwrap();
    assert_eq!(got, value);
    nodes.iter_mut().for_each(TestNode::kill);
    nodes.iter_mut().for_each(TestNode::restart);
    let got: String = run_by_leader(&nodes, &["GET", "key:7"]);
    assert_eq!(got, value);
    until("it has everything again", || nodes.iter().all(has_all));
}

/// The command line of a node that shows a certificate of this authority, and trusts others of it.
fn certified(authority: &Authority, folder: &Path) -> Vec<String> {
    std::fs::create_dir_all(folder).expect("a folder");
    let files = authority.certify(folder, "node", |_| {});
    let certificate = ["--tls-cert-file".into(), files.certificate];
    let key = ["--tls-key-file".into(), files.key];
    let trusted = ["--tls-ca-cert-file".into(), files.authorities];
    let wanted = ["--tls-cluster".into(), "yes".into()];
    [certificate, key, trusted, wanted].concat()
}

#[test]
fn nodes_that_show_no_certificate_of_the_authority_are_kept_out() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let nodes = [(); 2].map(|()| TestNode::with(CALM_MS, |folder| certified(&ours, folder)));
    let mut strangers =
        [TestNode::with(CALM_MS, |folder| certified(&theirs, folder)), TestNode::new(CALM_MS)];
    let _: () = nodes[0].ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).unwrap();
    let port = nodes[0].port.to_string();
    let _: () = nodes[1].ask(&["CLUSTER", "MEET", "127.0.0.1", &port]).unwrap();
    until("both vote", || nodes[0].info("varve_cluster_voters") == "2");
    run_by_leader::<()>(&nodes, &["SET", "key", "1"]);
    for stranger in &strangers {
        let refused = || nodes[0].info("varve_cluster_messages_refused").parse::<u64>().unwrap();
        let before = refused();
        let _: () = stranger.ask(&["CLUSTER", "MEET", "127.0.0.1", &port]).unwrap();
        until("it is refused, again and again", || refused() > before + 1);
        assert_eq!(stranger.info("cluster_known_nodes"), "1");
    }
    assert_eq!(nodes[0].info("cluster_known_nodes"), "2");
    strangers.iter_mut().for_each(TestNode::kill);
    let [mut first, _second] = nodes;
    let ended = first.varve.take().expect("it runs").stop();
    let said = [ended.stdout, ended.stderr].concat();
    assert_eq!(said.matches("no certificate of a trusted authority").count(), 1, "{said}");
}

#[test]
fn a_cluster_to_be_tried_is_there_with_one_command_and_goes_with_it() {
    let mut process = command(&["cluster", "try"]).spawn().expect("it starts");
    let mut line = String::new();
    let output = process.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut line).expect("it says where it is");
    let ports: Vec<u16> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert_eq!(ports.len(), 3, "{line}");
    until("somebody takes a write", || {
        ports.iter().any(|port| {
            let written = ask(&mut connect(([127, 0, 0, 1], *port).into()), &["SET", "k", "v"]);
            written.is_ok_and(|(): ()| true)
        })
    });
    // SAFETY: kill takes two integers; the process is our child and not yet waited for.
    assert_eq!(unsafe { libc::kill(process.id() as libc::pid_t, libc::SIGINT) }, 0);
    let status = until_some("it ends", || process.try_wait().expect("our child"));
    assert!(status.success(), "{status}");
    for port in ports {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "{port} still listens");
    }
}

#[test]
fn servers_that_run_are_made_a_cluster_and_what_is_missing_is_added() {
    let mut nodes = vec![TestNode::new(CALM_MS), TestNode::new(CALM_MS)];
    let form = |nodes: &[TestNode]| {
        let urls = nodes.iter().map(|node| format!("redis://127.0.0.1:{}", node.port));
        let words: Vec<String> =
            ["cluster", "form"].map(String::from).into_iter().chain(urls).collect();
        run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let formed = |nodes: &[TestNode]| {
        let ended = form(nodes);
        assert!(ended.status.success(), "{}{}", ended.stdout, ended.stderr);
        let voters = nodes.len().to_string();
        assert!(nodes.iter().all(|node| node.info("varve_cluster_voters") == voters));
    };
    formed(&nodes);
    nodes.push(TestNode::new(CALM_MS));
    // Whichever is named first, the cluster that is there takes the others in.
    nodes.reverse();
    formed(&nodes);
    let epoch = nodes[0].info("cluster_current_epoch");
    formed(&nodes);
    assert_eq!(nodes[0].info("cluster_current_epoch"), epoch, "nothing is changed");
    // All begin anew, one of them with an empty folder: it takes the place of the node that is gone.
    nodes.iter_mut().for_each(TestNode::kill);
    std::fs::remove_dir_all(nodes[0].folder.1.join("cluster")).unwrap();
    nodes.iter_mut().for_each(TestNode::restart);
    formed(&nodes);
    assert!(nodes.iter().all(|node| node.info("cluster_known_nodes") == "3"));
    let other = TestNode::new(CALM_MS);
    let _: () = other.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).unwrap();
    nodes.push(other);
    let ended = form(&nodes);
    assert!(!ended.status.success());
    assert!(ended.stderr.contains("belongs to another cluster"), "{}", ended.stderr);
}

#[test]
fn what_does_not_go_together_with_a_cluster_is_refused_at_the_start() {
    let (_dir, data) = folder();
    let data = data.to_str().expect("a UTF-8 path");
    for (args, why) in [
        (&["--appendonly", "yes"][..], "the group's log takes the place"),
        (&["--storage", "fjall"], "only the storage 'memory'"),
        (&["--replicaof", "127.0.0.1", "1"], "follows who was elected"),
    ] {
        let all = [&["--cluster-enabled", "yes", "--port", "0", "--dir", data], args].concat();
        let ended = run(&all);
        assert!(!ended.status.success());
        assert!(ended.stderr.contains(why), "{args:?}: {}", ended.stderr);
    }
}
