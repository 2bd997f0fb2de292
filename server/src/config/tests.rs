//! Tests of the layers together.

use super::*;
use engine::config::Id;
use std::path::PathBuf;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn read(args: &[&str], environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    load(&args, environment.collect::<Vec<_>>())
}

fn error(args: &[&str]) -> String {
    match read(args, &[]) {
        Ok(_) => panic!("{args:?} accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn without_anything_the_defaults_hold() {
    let loaded = read(&[], &[]).unwrap();
    assert_eq!(loaded.store.integer(Id::Port), 6379);
    assert!(loaded.store.boolean(Id::Appendonly));
    assert_eq!(&*loaded.store.text(Id::Dir), "./varve-data");
    assert_eq!(loaded.file, None);
    assert!(loaded.warnings.is_empty());
}

#[test]
fn later_layers_win() {
    let place = Place::new();
    let file = place.file("a.conf", "port 1\nhz 20\nmaxmemory 1mb\nsave 1 1\nsave 2 2\n");
    let environment = [("VARVE_MAXMEMORY", "2mb"), ("VARVE_PORT", "2")];
    let loaded = read(&[&file, "--port", "3", "--save", "9", "9"], &environment).unwrap();
    assert_eq!(loaded.store.integer(Id::Port), 3);
    assert_eq!(loaded.store.memory(Id::Maxmemory), 2 << 20);
    assert_eq!(loaded.store.integer(Id::Hz), 20);
    assert_eq!(&*loaded.store.text(Id::Save), "9 9");
    assert_eq!(loaded.file, Some(PathBuf::from(file)));
}

#[test]
fn a_file_that_is_too_long_is_refused_as_a_whole() {
    let place = Place::new();
    let file = place.file("long.conf", "hz 20\n");
    // A comment of 64 MiB, of which no byte is written to the disk.
    let long = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    long.set_len((64 << 20) + 1).unwrap();
    assert!(error(&[&file]).contains("longer than 64 MiB"), "{}", error(&[&file]));
}

#[test]
fn save_lines_of_a_layer_add_up() {
    let place = Place::new();
    let file = place.file("a.conf", "save 1 1\nsave 2 2\n");
    assert_eq!(&*read(&[&file], &[]).unwrap().store.text(Id::Save), "1 1 2 2");
    let file = place.file("b.conf", "save 1 1\nsave \"\"\nsave 3 3\n");
    assert_eq!(&*read(&[&file], &[]).unwrap().store.text(Id::Save), "3 3");
    let loaded = read(&[&file, "--save", ""], &[]).unwrap();
    assert_eq!(&*loaded.store.text(Id::Save), "");
    let loaded = read(&["--save", "1", "1", "--save", "2", "2"], &[]).unwrap();
    assert_eq!(&*loaded.store.text(Id::Save), "1 1 2 2");
}

#[test]
fn errors_say_where_what_and_why() {
    let place = Place::new();
    let file = place.file("a.conf", "# x\nport 1\n\nmaxmemry 1gb\n");
    let expected = format!("{file}:4: 'maxmemry': unknown directive; did you mean 'maxmemory'?");
    assert_eq!(error(&[&file]), expected);
    let file = place.file("b.conf", "maxmemory lots\n");
    let expected = format!("{file}:1: 'maxmemory': argument must be a memory value");
    assert_eq!(error(&[&file]), expected);
    let file = place.file("c.toml", "[limits]\nmaxclients = 0\n");
    assert!(error(&[&file]).starts_with(&format!("{file}:2: 'maxclients': argument must be b")));
    let file = place.file("d.yaml", "appendnly: yes\n");
    assert!(error(&[&file]).ends_with("did you mean 'appendonly'?"));
    for (args, expected) in [
        (&["--prot", "1"][..], "command line: 'prot': unknown directive; did you mean 'port'?"),
        (&["--port"], "command line: 'port': it has no value"),
        (&["--port", "1", "2"], "command line: 'port': wrong number of arguments"),
        (&["--port", "x"], "command line: 'port': argument couldn't be parsed into an integer"),
    ] {
        assert_eq!(error(args), expected);
    }
    let wrong = read(&[], &[("VARVE_APPENDFSYNC", "often")]).err().unwrap().to_string();
    assert_eq!(
        wrong,
        "environment variable VARVE_APPENDFSYNC: 'appendfsync': argument(s) must be one of the \
         following: everysec, always, no"
    );
    assert!(error(&["/nonexistent.conf"]).starts_with("/nonexistent.conf: can't read"));
}

#[test]
fn harmless_directives_warn_once_and_dangerous_ones_are_refused() {
    let place = Place::new();
    let text = "activedefrag yes\nio-threads 4\nio-threads 8\nhz 10\ndynamic-hz yes\n\
                repl-timeout 9\nrepl-timeout 60\nlua-replicate-commands yes\n";
    let loaded = read(&[&place.file("a.conf", text)], &[]).unwrap();
    assert_eq!(loaded.warnings.len(), 2);
    assert!(loaded.warnings[0].contains("lua-replicate-commands"));
    assert_eq!(loaded.warnings[1], "kept, but without effect in Varve: activedefrag, io-threads");
    assert_eq!(loaded.store.integer(Id::IoThreads), 8);
    for line in ["loadmodule /x.so", "redisearch.timeout 5", "sentinel monitor m 1.2.3.4 1 1"] {
        let message = error(&[&place.file("b.conf", line)]);
        assert!(message.contains("b.conf:1: '") && message.contains("Varve"), "{message}");
    }
}

#[test]
fn users_and_renamed_commands_are_handed_on() {
    let place = Place::new();
    let text = "user alice on >pw ~* +@all\nrename-command FLUSHALL \"\"\nrename-command KEYS K\n";
    let loaded = read(&[&place.file("a.conf", text)], &[]).unwrap();
    assert_eq!(loaded.users, [["alice", "on", ">pw", "~*", "+@all"]]);
    let renamed = [("FLUSHALL".into(), String::new()), ("KEYS".into(), "K".into())];
    assert_eq!(loaded.renamed_commands, renamed);
    let message = error(&[&place.file("b.conf", "rename-command KEYS\n")]);
    assert!(message.ends_with("wrong number of arguments"), "{message}");
}

#[test]
fn rewriting_keeps_the_file_loadable() {
    let place = Place::new();
    let file = place.file("a.conf", "# mine\nport 7000\n");
    let loaded = read(&[&file, "--port", "7001", "--maxmemory", "1gb"], &[]).unwrap();
    rewrite(loaded.file.as_deref().unwrap(), &loaded.store, &[], false).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, "# mine\nport 7001\n# Generated by CONFIG REWRITE\nmaxmemory 1gb\n");
    assert_eq!(read(&[&file], &[]).unwrap().store.integer(Id::Port), 7001);
}
