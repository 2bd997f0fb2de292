//! Tests of the log.

mod crash;
mod damage;
mod faults;
mod image;
mod oracle;
mod rewrite;
mod round_trip;
mod seal;
mod toy;

use std::fs;
use std::path::{Path, PathBuf};

/// The path of a file of the log in `dir`.
fn part(dir: &Path, name: &str) -> PathBuf {
    dir.join("appendonlydir").join(format!("appendonly.aof.{name}"))
}

/// The names of the files of the log, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join("appendonlydir")).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Copies a data directory as it is now, as a crash would leave it.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let target = to.path().join("appendonlydir");
    fs::create_dir(&target).unwrap();
    for name in names(from) {
        // A file may be renamed or deleted between listing and copying.
        let _ = fs::copy(from.join("appendonlydir").join(&name), target.join(&name));
    }
    to
}

mod suite {
    use crate::Options;
    use crate::tests::toy::Toy;
    use storage::Durability;
    use storage::testing::journals::journals;

    fn open(durability: Durability) -> (std::sync::Arc<crate::Aof>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { durability, ..Options::new(dir.path()) };
        (Toy::open_with(options).unwrap().1, dir)
    }

    journals!(always, || open(Durability::Always));
    journals!(every_second, || open(Durability::EverySecond));
    journals!(never, || open(Durability::Never));
}
