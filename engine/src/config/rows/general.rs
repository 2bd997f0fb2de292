//! General: the process, its log and how it ends.

use super::bounds::{INT_MAX, NATURAL};
use crate::config::cores::check as check_cores;
use crate::config::directive::{choice, flags, grammar, integer, text, yes_no};
use crate::config::{Directive, Grammar, Id, Initial};

const SUPERVISED: &[(&str, i64)] = &[("upstart", 3), ("systemd", 2), ("auto", 1), ("no", 0)];
const LOG_LEVELS: &[(&str, i64)] =
    &[("debug", 0), ("verbose", 1), ("notice", 2), ("warning", 3), ("nothing", 4)];
const SYSLOG_FACILITIES: &[(&str, i64)] = &[
    ("user", 8),
    ("local0", 0),
    ("local1", 1),
    ("local2", 2),
    ("local3", 3),
    ("local4", 4),
    ("local5", 5),
    ("local6", 6),
    ("local7", 7),
];
const SHUTDOWN: &[(&str, i64)] =
    &[("default", 0), ("save", 1), ("nosave", 2), ("now", 4), ("force", 8)];
/// `yes` is the old name of `relative`, and the one Redis shows.
const OOM_SCORE_ADJ: &[(&str, i64)] = &[("no", 0), ("yes", 1), ("relative", 1), ("absolute", 2)];

/// Cores to which threads are pinned when they start. The second name is Redis's since 7.2.
const fn cores(
    id: Id,
    name: &'static str,
    since_7_2: &'static [&'static str],
    summary: &'static str,
) -> Directive {
    text(id, name, "", summary).checked(check_cores).alias(since_7_2).immutable()
}

/// The process, its log and how it ends.
pub(super) static ROWS: &[Directive] = &[
    yes_no(Id::Daemonize, "daemonize", false, "Run in the background").immutable(),
    choice(Id::Supervised, "supervised", SUPERVISED, 0, "Tell systemd when ready, and when ending")
        .immutable(),
    text(Id::Pidfile, "pidfile", "", "File for the process id").immutable(),
    choice(Id::Loglevel, "loglevel", LOG_LEVELS, 2, "Least important log lines to write"),
    text(Id::Logfile, "logfile", "", "File for the log; empty: standard output").immutable(),
    yes_no(Id::SyslogEnabled, "syslog-enabled", false, "Log to syslog").kept().immutable(),
    text(Id::SyslogIdent, "syslog-ident", "redis", "Name in syslog").kept().immutable(),
    choice(Id::SyslogFacility, "syslog-facility", SYSLOG_FACILITIES, 0, "Facility of syslog")
        .kept()
        .immutable(),
    integer(Id::Databases, "databases", (1, INT_MAX), 16, "Number of databases").immutable(),
    yes_no(Id::AlwaysShowLogo, "always-show-logo", false, "Show the logo in the log")
        .kept()
        .immutable(),
    yes_no(Id::SetProcTitle, "set-proc-title", true, "Show address and state in the process title")
        .kept()
        .immutable(),
    text(
        Id::ProcTitleTemplate,
        "proc-title-template",
        "{title} {listen-addr} {server-mode}",
        "Form of the process title",
    )
    .kept(),
    text(Id::LocaleCollate, "locale-collate", "", "Locale in which SORT ALPHA compares").kept(),
    text(Id::IgnoreWarnings, "ignore-warnings", "", "Start-up warnings to leave out").kept(),
    integer(
        Id::ShutdownTimeout,
        "shutdown-timeout",
        NATURAL,
        10,
        "Seconds to wait for replicas before stopping",
    ),
    integer(
        Id::ShutdownDrainTimeout,
        "shutdown-drain-timeout",
        (0, 3600),
        5,
        "Seconds that clients have to read their last replies when the server stops",
    ),
    flags(Id::ShutdownOnSigint, "shutdown-on-sigint", SHUTDOWN, "What SIGINT does"),
    flags(Id::ShutdownOnSigterm, "shutdown-on-sigterm", SHUTDOWN, "What SIGTERM does"),
    choice(
        Id::OomScoreAdj,
        "oom-score-adj",
        OOM_SCORE_ADJ,
        0,
        "Hint for the kernel's out-of-memory killer",
    )
    .kept(),
    grammar(
        Id::OomScoreAdjValues,
        "oom-score-adj-values",
        Grammar::OomScores,
        Initial::Text("0 200 800"),
        "Scores of master, replica and child processes",
    )
    .kept(),
    yes_no(
        Id::DisableThp,
        "disable-thp",
        true,
        "Switch transparent huge pages off for the process",
    )
    .kept()
    .immutable(),
    yes_no(Id::CrashLogEnabled, "crash-log-enabled", true, "Write a report when crashing").kept(),
    yes_no(
        Id::CrashMemcheckEnabled,
        "crash-memcheck-enabled",
        true,
        "Test the memory when crashing",
    )
    .kept(),
    yes_no(
        Id::UseExitOnPanic,
        "use-exit-on-panic",
        false,
        "Exit instead of aborting (Redis's own tests)",
    )
    .kept()
    .hidden(),
    integer(
        Id::WatchdogPeriod,
        "watchdog-period",
        NATURAL,
        0,
        "Log a trace of commands slower than this many milliseconds",
    )
    .kept()
    .hidden(),
    yes_no(
        Id::EnableDebugAssert,
        "enable-debug-assert",
        false,
        "Debug assertions (Redis's own tests)",
    )
    .kept()
    .immutable()
    .hidden(),
    cores(
        Id::ServerCpulist,
        "server_cpulist",
        &["server-cpulist"],
        "Cores of the threads that serve clients, such as 0-2,4 or 0-7:2",
    ),
    cores(
        Id::BioCpulist,
        "bio_cpulist",
        &["bio-cpulist"],
        "Cores of background threads: syncing the log, housekeeping, snapshots, rewrites",
    ),
    cores(
        Id::AofRewriteCpulist,
        "aof_rewrite_cpulist",
        &["aof-rewrite-cpulist"],
        "Cores of the thread that rewrites the log, instead of bio_cpulist",
    ),
    cores(
        Id::BgsaveCpulist,
        "bgsave_cpulist",
        &["bgsave-cpulist"],
        "Cores of the thread that writes a snapshot, instead of bio_cpulist",
    ),
    integer(
        Id::IoThreads,
        "io-threads",
        (1, 128),
        1,
        "Redis's input/output threads (Varve: `threads`)",
    )
    .kept()
    .immutable(),
    yes_no(Id::IoThreadsDoReads, "io-threads-do-reads", false, "Let them read, too")
        .kept()
        .immutable(),
    integer(Id::Hz, "hz", NATURAL, 10, "Redis's background ticks per second").kept(),
    yes_no(Id::DynamicHz, "dynamic-hz", true, "More ticks with more clients").kept(),
];
