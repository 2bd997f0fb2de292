//! Where a bench finds the server's binary, and where its data go.

use crate::project_root;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

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
