//! The built-in commands: one folder or file per family, with its handlers and its rows.
//!
//! Promises: every command that `COMMAND` lists is a row of [`all`]; a handler touches only the
//! keys that its row declares, and tells every change it made through [`engine::Cx`].
//!
//! Must not know: sockets, threads, clocks, any particular backend. Nothing in `engine` depends on
//! this crate; a server may leave families out, or add its own.
//!
//! | module | what |
//! | --- | --- |
//! | [`acl`] | `ACL`: users seen and changed by commands |
//! | [`auth`] | who a client is: AUTH, HELLO, RESET |
//! | [`bitmap`] | bitmap commands: strings seen as bits, numbered from each byte's highest |
//! | [`client`] | `CLIENT`: connections seen from inside |
//! | `client_rows` | the rows of `CLIENT`, and its help |
//! | `client_tracking` | `CLIENT TRACKING` and its kin: a client's cache, seen from its connection |
//! | [`cluster`] | `CLUSTER`, `READONLY`, `READWRITE`, `ASKING`: commands that show and change the cluster |
//! | [`connection`] | connection commands: PING, ECHO, SELECT, QUIT |
//! | [`element_scan`] | the shared part of `SSCAN`, `HSCAN` and `ZSCAN`: the cursor, the options, the reply's shape |
//! | [`generic`] | commands for keys of any type, and for whole databases |
//! | [`geo`] | geospatial commands: sorted sets whose scores are geohashes |
//! | [`hash`] | hash commands: fields and their values |
//! | [`hyperloglog`] | hyperLogLog commands: how many distinct elements there were, in 12 kilobytes |
//! | [`list`] | list commands |
//! | `members` | `Members`: elements of collections outside of storage, for set algebra and sorting: packed in one buffer, in the order they came |
//! | [`pubsub`] | publish and subscribe: SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE and their opposites, PUBLISH, PUBSUB |
//! | [`sampling`] | random elements of a collection, as `SRANDMEMBER`, `HRANDFIELD` and `ZRANDMEMBER` pick them: how many are asked for, and which |
//! | `reading` | the frame of commands that read one collection |
//! | [`scripting`] | scripts and functions: EVAL, SCRIPT, FCALL, FUNCTION. How a script runs is `engine::scripting` |
//! | [`server`] | commands about the server itself: its figures, its configuration, its commands, its end |
//! | [`set`] | set commands |
//! | [`sort`] | SORT and SORT_RO: the elements of a list, set or sorted set in another order, by themselves or by other keys' values |
//! | [`sorted_set`] | sorted set commands: members ordered by score, then by bytes |
//! | [`stream`] | stream commands |
//! | [`string`] | string commands |
//! | [`transactions`] | transactions: MULTI, EXEC, DISCARD, WATCH, UNWATCH |
//! | [`waiting`] | the shared parts of commands that can block until a key has data (`BLPOP`, `BZPOPMIN` …): the timeout, the number of keys, and the treatment of a key of another type |

pub mod acl;
pub mod auth;
pub mod bitmap;
pub mod client;
mod client_rows;
mod client_tracking;
pub mod cluster;
pub mod connection;
pub mod element_scan;
pub mod generic;
pub mod geo;
pub mod hash;
pub mod hyperloglog;
pub mod list;
pub(crate) mod members;
pub mod pubsub;
mod reading;
pub mod sampling;
pub mod scripting;
pub mod server;
pub mod set;
pub mod sort;
pub mod sorted_set;
pub mod stream;
pub mod string;
pub mod transactions;
pub mod waiting;

use engine::command::Spec;

/// Every family's rows but those of [`server`].
pub const ALL: &[&[Spec]] = &[
    acl::COMMANDS,
    auth::COMMANDS,
    bitmap::COMMANDS,
    client::COMMANDS,
    cluster::COMMANDS,
    connection::COMMANDS,
    generic::COMMANDS,
    geo::COMMANDS,
    hash::COMMANDS,
    hyperloglog::COMMANDS,
    list::COMMANDS,
    pubsub::COMMANDS,
    scripting::COMMANDS,
    sorted_set::update::COMMANDS,
    sorted_set::read::COMMANDS,
    sorted_set::range::COMMANDS,
    sorted_set::pop::COMMANDS,
    sorted_set::combine::COMMANDS,
    set::COMMANDS,
    sort::COMMANDS,
    stream::COMMANDS,
    string::COMMANDS,
    transactions::COMMANDS,
];

/// Every row: the command table of a server with nothing left out.
pub fn all() -> Vec<&'static [Spec]> {
    ALL.iter().chain(server::ALL).copied().collect()
}
