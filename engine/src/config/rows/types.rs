//! Data types: when small collections become large ones.

use super::bounds::{INT_MAX, INT_MIN, LONG_MAX, NATURAL, NATURAL_LONG};
use crate::config::directive::{integer, memory};
use crate::config::{Directive, Id};

/// The directives about the sizes of data types, such as those up to which collections are compact.
pub(super) static ROWS: &[Directive] = &[
    integer(
        Id::HashMaxListpackEntries,
        "hash-max-listpack-entries",
        NATURAL_LONG,
        512,
        "Fields of a compact hash",
    )
    .alias(&["hash-max-ziplist-entries"]),
    memory(
        Id::HashMaxListpackValue,
        "hash-max-listpack-value",
        (0, LONG_MAX),
        64,
        "Bytes of a field or value of a compact hash",
    )
    .alias(&["hash-max-ziplist-value"]),
    integer(
        Id::SetMaxIntsetEntries,
        "set-max-intset-entries",
        NATURAL_LONG,
        512,
        "Members of a set of integers",
    ),
    integer(
        Id::SetMaxListpackEntries,
        "set-max-listpack-entries",
        NATURAL_LONG,
        128,
        "Members of a compact set",
    ),
    memory(
        Id::SetMaxListpackValue,
        "set-max-listpack-value",
        (0, LONG_MAX),
        64,
        "Bytes of a member of a compact set",
    ),
    integer(
        Id::ZsetMaxListpackEntries,
        "zset-max-listpack-entries",
        NATURAL_LONG,
        128,
        "Members of a compact sorted set",
    )
    .alias(&["zset-max-ziplist-entries"]),
    memory(
        Id::ZsetMaxListpackValue,
        "zset-max-listpack-value",
        (0, LONG_MAX),
        64,
        "Bytes of a member of a compact sorted set",
    )
    .alias(&["zset-max-ziplist-value"]),
    integer(
        Id::ListMaxListpackSize,
        "list-max-listpack-size",
        (INT_MIN, INT_MAX),
        -2,
        "Elements of a list node, or its size class when negative",
    )
    .alias(&["list-max-ziplist-size"]),
    integer(
        Id::ListCompressDepth,
        "list-compress-depth",
        NATURAL,
        0,
        "Nodes at each end of a list that stay uncompressed; 0: all",
    )
    .kept(),
    memory(
        Id::HllSparseMaxBytes,
        "hll-sparse-max-bytes",
        (0, LONG_MAX),
        3000,
        "Bytes of a sparse HyperLogLog",
    ),
    memory(
        Id::StreamNodeMaxBytes,
        "stream-node-max-bytes",
        (0, LONG_MAX),
        4096,
        "Bytes of a stream node; 0: no limit",
    ),
    integer(
        Id::StreamNodeMaxEntries,
        "stream-node-max-entries",
        NATURAL_LONG,
        100,
        "Entries of a stream node; 0: no limit",
    ),
];
