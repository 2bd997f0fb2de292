//! Data on disk: the folder, snapshots, the append-only file, and who may write when.
//!
//! Promises: one server works in a folder; what was logged or saved is loaded at the next start, or the start fails
//! and says why; snapshots and rewrites of the log are written one at a time, beside the commands.
//!
//! Must not know: the formats of the files (`storage-rdb` and `storage-aof`), clients, sockets.
//!
//! | module | what |
//! | --- | --- |
//! | `data_dir` | the data folder, locked against a second server |
//! | `target`, `loading` | what data are loaded into at start, and from what |
//! | `replacing` | the data of an engine that serves, removed or read anew |
//! | `snapshot` | the data set in a file: written, read |
//! | `journal` | the append-only file as the server's log |
//! | `log_switch` | the log that begins and ends while the server runs |
//! | `background`, `scheduled` | snapshots and rewrites in the background, one after the other |

mod background;
pub(crate) mod data_dir;
pub(crate) mod journal;
pub(crate) mod loading;
pub(crate) mod log_switch;
pub(crate) mod replacing;
pub(crate) mod scheduled;
pub(crate) mod snapshot;
pub(crate) mod target;
