//! Operators' tasks: checking a configuration, reloading it, supervision, looking at the machine.

use crate::support::{Varve, folder, free_port, run};
use redis::cmd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use storage::testing::until;

fn setting(varve: &Varve, name: &str) -> String {
    let pair: (String, String) =
        cmd("CONFIG").arg("GET").arg(name).query(&mut varve.connect()).unwrap();
    pair.1
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_configuration_is_checked_and_shown() {
    let (folder, _) = folder();
    let good = file(folder.path(), "good.conf", "port 7000\nmaxmemory 1gb\n");
    let checked = run(&["config", "check", &good]);
    assert!(checked.status.success(), "{}", checked.stderr);
    assert_eq!(checked.stdout, format!("{good}: good\n"));
    let shown = run(&["config", "show", &good, "--timeout", "5"]).stdout;
    assert!(shown.contains("timeout 5 ") && shown.contains(&format!("# {good}:2")), "{shown}");

    let wrong = file(folder.path(), "wrong.conf", "port 7000\nmaxmemry 1gb\n");
    let checked = run(&["config", "check", &wrong]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(checked.stderr.contains("wrong.conf:2: 'maxmemry'"), "{}", checked.stderr);
    let broken = file(folder.path(), "tls.conf", "tls-port 7001\ntls-cert-file /none.crt\n");
    let checked = run(&["config", "check", &broken]);
    assert_eq!(checked.status.code(), Some(1), "{}", checked.stdout);
}

/// The check, which the upgrade by SIGUSR2 relies on, refuses what the start would refuse.
#[test]
fn what_would_stop_the_start_is_found_by_the_check() {
    let (folder, data) = folder();
    let users = file(folder.path(), "users.acl", "user a on nonsense\n");
    let twice = file(folder.path(), "twice.toml", "port = 7001\n[tls]\nport = 7002\n");
    let data = data.to_str().unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["--admin-port", "7003", "--admin-bind", "0.0.0.0"], "set admin-token"),
        (&["--cluster-enabled", "yes", "--bind", "0.0.0.0"], "cluster-secret"),
        (&["--aclfile", "/none/users.acl"], "/none/users.acl"),
        (&["--aclfile", &users], "users.acl:1"),
        (&["--logfile", "/none/log"], "/none/log"),
        (&["--bind", "no.such.host.invalid"], "no.such.host.invalid"),
        (&["--server_cpulist", "1-"], "server_cpulist"),
        (&["--bio-cpulist", "1023"], "none of these cores can be used"),
        (&[&twice], "'port': it is given twice"),
    ];
    for (words, reason) in cases {
        let checked = run(&[&["config", "check"], *words].concat());
        assert_eq!(checked.status.code(), Some(1), "{words:?}: {}", checked.stdout);
        assert!(checked.stderr.contains(reason), "{words:?}: {}", checked.stderr);
        let port = free_port().to_string();
        let more = ["--dir", data, "--appendonly", "no", "--port", &port];
        let started = run(&[*words, &more].concat());
        assert_eq!(started.status.code(), Some(1), "{words:?}: {}", started.stdout);
        assert!(started.stderr.contains(reason), "{words:?}: {}", started.stderr);
    }
    let users = file(folder.path(), "good.acl", "user default on nopass ~* &* +@all\n");
    let log = folder.path().join("new.log").display().to_string();
    let admin = ["--admin-port", "7003", "--admin-bind", "0.0.0.0", "--admin-token", "secret"];
    let more =
        ["--aclfile", &users, "--logfile", &log, "--bind", "* -::*", "--server-cpulist", "0-1023"];
    let checked = run(&[&["config", "check"], &admin[..], &more[..]].concat());
    assert!(checked.status.success(), "{}", checked.stderr);
    assert!(!Path::new(&log).exists(), "the check leaves nothing behind");
}

#[test]
fn a_running_server_reads_its_configuration_again() {
    let (folder, data) = folder();
    let pid = folder.path().join("pid").display().to_string();
    let text = |more: &str| format!("pidfile {pid}\nappendonly no\n{more}");
    let path = file(folder.path(), "a.conf", &text("timeout 100\n"));
    let log = folder.path().join("log").display().to_string();
    let varve = Varve::start_from(Path::new(&path), &data, &["--logfile", &log]);
    assert_eq!(setting(&varve, "timeout"), "100");
    file(folder.path(), "a.conf", &text("timeout 200\nmaxclients 50\ndatabases 3\n"));
    let told = run(&["config", "reload", &path]);
    assert!(told.status.success(), "{}", told.stderr);
    until("the change is applied", || setting(&varve, "timeout") == "200");
    assert_eq!(setting(&varve, "maxclients"), "50");
    let logged = || std::fs::read_to_string(&log).unwrap();
    until("the log says what waits", || logged().contains("after the next start only: databases"));
    // Whoever has the number of a server that was killed is left alone.
    let other = file(folder.path(), "other.pid", &std::process::id().to_string());
    let told = run(&["config", "reload", "--pidfile", &other]);
    assert_eq!(told.status.code(), Some(1), "{}", told.stdout);
    file(folder.path(), "a.conf", &text("timeout x\n"));
    varve.signal(libc::SIGHUP);
    until("the log says what is wrong", || logged().contains("the configuration stays as it was"));
    assert_eq!(setting(&varve, "timeout"), "200");
}

#[test]
fn secrets_come_from_files() {
    let (folder, data) = folder();
    let secret = file(folder.path(), "secret", "from a file\n");
    let varve =
        Varve::start_with(&data, &["--appendonly", "no"], &[("VARVE_REQUIREPASS_FILE", &secret)]);
    let mut client = varve.connect();
    let refused = cmd("GET").arg("k").query::<()>(&mut client).unwrap_err().to_string();
    assert!(refused.contains("NOAUTH"), "{refused}");
    let () = cmd("AUTH").arg("from a file").query(&mut client).unwrap();
}

#[test]
fn a_supervisor_hears_when_it_is_ready_and_when_it_ends() {
    let (folder, data) = folder();
    let path = folder.path().join("notify").display().to_string();
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let notified = || {
        let mut buffer = [0; 1024];
        let len = socket.recv(&mut buffer).expect("the server says something");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    };
    // A pid file that cannot be written is no reason not to serve.
    let args = ["--supervised", "systemd", "--pidfile", "/none/pid", "--appendonly", "no"];
    let varve = Varve::start_with(&data, &args, &[("NOTIFY_SOCKET", &path)]);
    assert!(notified().contains("READY=1"));
    let info: String = cmd("INFO").arg("server").query(&mut varve.connect()).unwrap();
    assert!(info.contains("process_supervised:systemd"));
    assert!(varve.stop().status.success());
    assert!(notified().contains("STOPPING=1"));
}

#[test]
fn it_goes_into_the_background() {
    let (folder, data) = folder();
    let (port, pid) = (free_port(), folder.path().join("pid").display().to_string());
    let log = folder.path().join("log").display().to_string();
    let port_text = port.to_string();
    let args = ["--port", &port_text, "--dir", data.to_str().unwrap(), "--daemonize", "yes"];
    let more = ["--pidfile", &pid, "--logfile", &log, "--appendonly", "no"];
    let ended = run(&[&args[..], &more].concat());
    assert!(ended.status.success(), "{}", ended.stderr);
    until("it serves", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    until("its number is known", || {
        std::fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n'))
    });
    let number = std::fs::read_to_string(&pid).unwrap();
    let number = number.trim();
    let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap();
    // Behind the name in parentheses: state, parent, group, session.
    let session = stat.rsplit(')').next().unwrap().split_whitespace().nth(3);
    assert_eq!(session, Some(number), "a session of its own: {stat}");
    let stopped = Command::new("kill").arg(number).status().unwrap();
    assert!(stopped.success());
    until("it has ended", || !Path::new(&pid).exists());
}

#[test]
fn the_doctor_says_what_to_do() {
    let (_folder, data) = folder();
    let port = free_port();
    let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let port = port.to_string();
    let data = data.to_str().unwrap();
    let told = run(&["doctor", "--dir", data, "--port", &port, "--maxmemory", "1mb"]);
    assert_eq!(told.status.code(), Some(1));
    assert!(told.stdout.contains(&format!("{port} is taken by ")), "{}", told.stdout);
    assert!(told.stdout.contains("ok   memory"), "{}", told.stdout);
    drop(taken);
    let told = run(&["doctor", "--dir", data, "--port", &port, "--maxmemory", "1mb"]);
    assert!(told.stdout.contains(&format!("{port} is free")), "{}", told.stdout);
}

/// The folders are those that the start would write to; the check makes none of them.
#[test]
fn folders_that_cannot_be_written_are_found_by_the_check() {
    let (folder, data) = folder();
    let blocked = file(folder.path(), "blocked", "");
    let (inside, log) = (format!("{blocked}/data"), format!("{blocked}/log"));
    let data = data.to_str().unwrap();
    file(folder.path(), "logdir", "");
    let parent = folder.path().to_str().unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["--dir", &blocked], &blocked),
        (&["--dir", &inside], &inside),
        (&["--dir", parent, "--appendonly", "yes", "--appenddirname", "logdir"], "/logdir"),
        (&["--dir", data, "--logfile", &log], &log),
    ];
    for (words, reason) in cases {
        let checked = run(&[&["config", "check"], *words].concat());
        assert_eq!(checked.status.code(), Some(1), "{words:?}: {}", checked.stdout);
        assert!(checked.stderr.contains(reason), "{words:?}: {}", checked.stderr);
        let started = run(&[*words, &["--port", "0"]].concat());
        assert_eq!(started.status.code(), Some(1), "{words:?}: {}", started.stdout);
    }
    let new = folder.path().join("new/data").display().to_string();
    let checked = run(&["config", "check", "--dir", &new, "--appendonly", "yes"]);
    assert!(checked.status.success(), "{}", checked.stderr);
    assert!(!Path::new(&new).exists(), "the check leaves nothing behind");
    let unused = ["config", "check", "--dir", parent, "--appendonly", "no"];
    let checked = run(&[&unused[..], &["--appenddirname", "logdir"]].concat());
    assert!(checked.status.success(), "no log, no folder for it: {}", checked.stderr);
}
