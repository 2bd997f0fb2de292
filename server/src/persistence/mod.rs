//! Data on disk: the folder, snapshots, the append-only file, and their order in time.
//!
//! Promises: only one server uses a folder. What was logged or saved is loaded at the next start,
//! or the start fails with the reason. Snapshots and rewrites of the log are written one at a time,
//! while commands go on.
//!
//! The module knows nothing of the formats of the files (`storage-rdb` and `storage-aof`), clients
//! and sockets.
//!
//! | module | what |
//! | --- | --- |
//! | `data_dir` | the data folder, locked against a second server |
//! | `target`, `loading` | loading at start: the destination of the data, and their sources |
//! | `replacing` | deleting or replacing the data of a serving engine |
//! | `snapshot` | writing the data to a file, and reading them |
//! | `journal` | the append-only file as the server's log |
//! | `log_switch` | beginning and ending the log while the server runs |
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
