//! Persistence: the append-only file, snapshots, and where they lie.

use super::bounds::{INT_MAX, INT_MIN, LONG_MAX, MB, NATURAL};
use crate::config::directive::{choice, grammar, integer, memory, text, yes_no};
use crate::config::{Directive, Grammar, Id, Initial};

const FSYNC: &[(&str, i64)] = &[("everysec", 1), ("always", 2), ("no", 0)];

/// The append-only file, snapshots, and where they lie.
pub(super) static ROWS: &[Directive] = &[
    text(Id::Dir, "dir", "./varve-data", "Folder of all data files")
        .protected()
        .denied_while_loading()
        .checked(directory),
    yes_no(Id::Appendonly, "appendonly", true, "Log every write").denied_while_loading(),
    choice(Id::Appendfsync, "appendfsync", FSYNC, 1, "When the log reaches the disk"),
    text(
        Id::Appendfilename,
        "appendfilename",
        "appendonly.aof",
        "First part of the names of the log's files",
    )
    .immutable()
    .checked(append_file),
    text(Id::Appenddirname, "appenddirname", "appendonlydir", "Folder of the log, inside `dir`")
        .immutable()
        .checked(append_folder),
    integer(
        Id::AutoAofRewritePercentage,
        "auto-aof-rewrite-percentage",
        NATURAL,
        100,
        "Growth at which the log is rewritten; 0: never",
    ),
    memory(
        Id::AutoAofRewriteMinSize,
        "auto-aof-rewrite-min-size",
        (0, LONG_MAX),
        64 * MB,
        "Size below which it is not",
    ),
    yes_no(
        Id::AofLoadTruncated,
        "aof-load-truncated",
        true,
        "Start although the log ends in the middle of a command",
    ),
    yes_no(
        Id::AofUseRdbPreamble,
        "aof-use-rdb-preamble",
        true,
        "Begin a rewritten log with a snapshot",
    ),
    yes_no(Id::AofTimestampEnabled, "aof-timestamp-enabled", false, "Note the time in the log"),
    yes_no(
        Id::NoAppendfsyncOnRewrite,
        "no-appendfsync-on-rewrite",
        false,
        "Do not sync during a rewrite (Varve always does)",
    )
    .kept(),
    yes_no(
        Id::AofRewriteIncrementalFsync,
        "aof-rewrite-incremental-fsync",
        true,
        "Sync a rewrite piece by piece",
    )
    .kept(),
    yes_no(
        Id::AofDisableAutoGc,
        "aof-disable-auto-gc",
        false,
        "Keep files that a rewrite has replaced",
    )
    .kept(),
    grammar(
        Id::Save,
        "save",
        Grammar::Save,
        Initial::Text(""),
        "Snapshot after <seconds> with <changes>, any number of pairs",
    ),
    text(Id::Dbfilename, "dbfilename", "dump.rdb", "File of snapshots, inside `dir`")
        .protected()
        .checked(snapshot_file),
    yes_no(Id::Rdbcompression, "rdbcompression", true, "Compress long strings in snapshots"),
    yes_no(Id::Rdbchecksum, "rdbchecksum", true, "Checksum snapshots").immutable(),
    yes_no(
        Id::StopWritesOnBgsaveError,
        "stop-writes-on-bgsave-error",
        true,
        "Refuse writes after a failed snapshot",
    ),
    yes_no(
        Id::RdbSaveIncrementalFsync,
        "rdb-save-incremental-fsync",
        true,
        "Sync a snapshot piece by piece",
    )
    .kept(),
    yes_no(
        Id::RdbDelSyncFiles,
        "rdb-del-sync-files",
        false,
        "Delete snapshots used to feed replicas",
    )
    .kept(),
    integer(
        Id::RdbKeySaveDelay,
        "rdb-key-save-delay",
        (INT_MIN, INT_MAX),
        0,
        "Microseconds to wait per key saved (Redis's own tests)",
    )
    .kept()
    .hidden(),
    integer(
        Id::KeyLoadDelay,
        "key-load-delay",
        (INT_MIN, INT_MAX),
        0,
        "Microseconds to wait per key loaded (Redis's own tests)",
    )
    .kept()
    .hidden(),
    integer(
        Id::LoadingProcessEventsIntervalBytes,
        "loading-process-events-interval-bytes",
        (1024, INT_MAX),
        2097152,
        "Bytes loaded between looks at clients",
    )
    .kept()
    .hidden(),
];

/// File names that stay inside `dir`.
fn is_base_name(name: &str) -> bool {
    !name.contains(['/', '\\'])
}

fn directory(path: &str) -> Result<(), &'static str> {
    if path.is_empty() { Err("dir can't be empty") } else { Ok(()) }
}

fn snapshot_file(name: &str) -> Result<(), &'static str> {
    if is_base_name(name) { Ok(()) } else { Err("dbfilename can't be a path, just a filename") }
}

fn append_file(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("appendfilename can't be empty"),
        name if is_base_name(name) => Ok(()),
        _ => Err("appendfilename can't be a path, just a filename"),
    }
}

fn append_folder(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("appenddirname can't be empty"),
        name if is_base_name(name) => Ok(()),
        _ => Err("appenddirname can't be a path, just a dirname"),
    }
}
