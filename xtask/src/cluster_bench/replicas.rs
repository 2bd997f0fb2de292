//! `cargo xtask bench replicas`: a master with two replicas, of Varve and of Redis.

use super::comparison::{GET, Line, SET, Subject, Windows, fill, measure as compare};
use super::replicated::{REDIS, has_redis, with_replicas};
use crate::bench::report::Grid;
use anyhow::Result;
use std::path::Path;

/// All replicas have everything.
const SETTLING: &[&str] = &["WAIT", "2", "10000"];

/// The options of all servers.
const OPTIONS: &[&str] = &["--appendonly", "no"];

/// Measures, and makes the table.
pub fn measure(windows: &Windows, binary: &Path, dir: &Path) -> Result<Grid> {
    let mut servers = vec![with_replicas(binary, dir, OPTIONS)?];
    if has_redis() {
        servers.push(with_replicas(Path::new(REDIS), dir, OPTIONS)?);
    }
    let names = [["Varve", "Varve, WAIT 1"], ["Redis", "Redis, WAIT 1"]];
    let mut subjects = Vec::new();
    for (all, [plain, waiting]) in servers.iter().zip(names) {
        let of = |name| Subject { settling: SETTLING, ..Subject::new(name, all[0].addr()) };
        let waiting = Subject { closing: &["WAIT", "1", "0"], ..of(waiting) };
        subjects.extend([of(plain), waiting]);
    }
    for (at, subject) in subjects.iter().enumerate().step_by(2) {
        fill(subject, windows, at)?;
    }
    compare(&lines(windows.connections), &subjects, windows)
}

/// The comparisons of Varve, at positions 0 and 1, with Redis, at 2 and 3.
fn lines(connections: usize) -> Vec<Line> {
    let (p1, p16) = ((connections, 1), (connections, 16));
    vec![
        Line::new("SET p1", SET, p1, (0, 2), "≥ 1.0"),
        Line::new("SET p16", SET, p16, (0, 2), "≥ 1.0"),
        Line::new("SET p1", SET, p1, (1, 3), "≥ 1.0"),
        Line::new("SET p16", SET, p16, (1, 3), "≥ 1.0"),
        Line::new("SET, one connection", SET, (1, 1), (1, 3), ""),
        Line::new("GET p16", GET, p16, (0, 2), ""),
    ]
}
