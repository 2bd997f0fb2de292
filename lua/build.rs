//! Compiles the C sources.

use std::path::{Path, PathBuf};

fn main() {
    // Where they are now, not where this program was compiled: target folders are moved and copied.
    let root = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where");
    let folder = Path::new(&root).join("csrc");
    println!("cargo:rerun-if-changed={}", folder.display());
    let entries = std::fs::read_dir(&folder).expect("the sources are in csrc").flatten();
    let mut sources: Vec<PathBuf> =
        entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "c")).collect();
    sources.sort();
    let mut build = cc::Build::new();
    build.include(&folder).files(&sources).warnings(false).flag_if_supported("-fno-common");
    // `longjmp` that leaves the mask of signals alone: a protected call then makes no system call.
    build.define("LUA_USE_ULONGJMP", None);
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "debug") {
        // Wrong use of the interface is found where it happens.
        build.define("LUA_USE_APICHECK", None);
    }
    build.compile("varve_lua51");
}
