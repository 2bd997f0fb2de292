//! Where the project is, where a bench finds the server's binary, and where its data go.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's folder. Under `cargo xtask` that is cargo's word; a binary that is started by itself
/// works where it was built.
pub fn project_root() -> Result<PathBuf> {
    let crate_folder = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let crate_folder = crate_folder.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    crate_folder.parent().map(Path::to_path_buf).context("the xtask crate has no parent folder")
}

/// The server's binary, built when it is needed and none was given.
pub fn server_binary(given: Option<&Path>, needed: bool) -> Result<PathBuf> {
    if let Some(binary) = given {
        return binary.canonicalize().with_context(|| binary.display().to_string());
    }
    let root = project_root()?;
    if needed {
        eprintln!("building the server");
        let status = Command::new("cargo")
            .args(["build", "--quiet", "--release", "--package", "server", "--bin", "varve"])
            .current_dir(&root)
            .status()?;
        if !status.success() {
            bail!("the server does not build");
        }
    }
    Ok(root.join("target/release/varve"))
}

/// A folder, created if there is none: on the project's disk, not in /tmp, which may be memory and
/// make every sync free.
pub fn folder(dir: &Path) -> Result<PathBuf> {
    let dir = if dir.is_relative() { project_root()?.join(dir) } else { dir.to_owned() };
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}
