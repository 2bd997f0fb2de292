//! Memory: how much memory, and what gives way when it is full.

use super::bounds::{INT_MAX, LONG_MAX, MB, NATURAL};
use crate::config::directive::{choice, integer, memory, yes_no};
use crate::config::{Directive, Id};

const EVICTION: &[(&str, i64)] = &[
    ("volatile-lru", 0),
    ("volatile-lfu", 1),
    ("volatile-random", 2),
    ("volatile-ttl", 3),
    ("allkeys-lru", 4),
    ("allkeys-lfu", 5),
    ("allkeys-random", 6),
    ("noeviction", 7),
];

/// Directives about memory, and eviction.
pub(super) static ROWS: &[Directive] = &[
    memory(
        Id::Maxmemory,
        "maxmemory",
        (0, u64::MAX),
        0,
        "Bytes the data set may take; 0: no limit",
    ),
    choice(
        Id::MaxmemoryPolicy,
        "maxmemory-policy",
        EVICTION,
        7,
        "What is evicted when memory is full",
    ),
    integer(
        Id::MaxmemorySamples,
        "maxmemory-samples",
        (1, INT_MAX),
        5,
        "Keys compared to find a victim",
    ),
    integer(
        Id::MaxmemoryEvictionTenacity,
        "maxmemory-eviction-tenacity",
        (0, 100),
        10,
        "How long one command may evict",
    )
    .kept(),
    integer(
        Id::LfuLogFactor,
        "lfu-log-factor",
        NATURAL,
        10,
        "How slowly the LFU counter saturates",
    ),
    integer(
        Id::LfuDecayTime,
        "lfu-decay-time",
        NATURAL,
        1,
        "Minutes after which the LFU counter is decremented",
    ),
    integer(
        Id::ActiveExpireEffort,
        "active-expire-effort",
        (1, 10),
        1,
        "How much work goes into finding expired keys",
    ),
    yes_no(
        Id::LazyfreeLazyEviction,
        "lazyfree-lazy-eviction",
        false,
        "Free evicted values in the background",
    )
    .kept(),
    yes_no(
        Id::LazyfreeLazyExpire,
        "lazyfree-lazy-expire",
        false,
        "Free expired values in the background",
    )
    .kept(),
    yes_no(
        Id::LazyfreeLazyServerDel,
        "lazyfree-lazy-server-del",
        false,
        "Free overwritten values in the background",
    )
    .kept(),
    yes_no(Id::LazyfreeLazyUserDel, "lazyfree-lazy-user-del", false, "DEL as UNLINK").kept(),
    yes_no(
        Id::LazyfreeLazyUserFlush,
        "lazyfree-lazy-user-flush",
        false,
        "FLUSHALL as FLUSHALL ASYNC",
    ),
    yes_no(Id::Activerehashing, "activerehashing", true, "Grow tables while idle").kept(),
    yes_no(Id::Activedefrag, "activedefrag", false, "Defragment memory while running").kept(),
    memory(
        Id::ActiveDefragIgnoreBytes,
        "active-defrag-ignore-bytes",
        (1, LONG_MAX),
        100 * MB,
        "Waste below which nothing is defragmented",
    )
    .kept(),
    integer(
        Id::ActiveDefragThresholdLower,
        "active-defrag-threshold-lower",
        (0, 1000),
        10,
        "Percentage of waste at which it starts",
    )
    .kept(),
    integer(
        Id::ActiveDefragThresholdUpper,
        "active-defrag-threshold-upper",
        (0, 1000),
        100,
        "Percentage of waste at which it works hardest",
    )
    .kept(),
    integer(
        Id::ActiveDefragCycleMin,
        "active-defrag-cycle-min",
        (1, 99),
        1,
        "Least CPU percentage for it",
    )
    .kept(),
    integer(
        Id::ActiveDefragCycleMax,
        "active-defrag-cycle-max",
        (1, 99),
        25,
        "Most CPU percentage for it",
    )
    .kept(),
    integer(
        Id::ActiveDefragMaxScanFields,
        "active-defrag-max-scan-fields",
        (1, i64::MAX),
        1000,
        "Fields looked at in one go",
    )
    .kept(),
    yes_no(
        Id::JemallocBgThread,
        "jemalloc-bg-thread",
        true,
        "Let the allocator purge in its own thread",
    )
    .kept(),
];
