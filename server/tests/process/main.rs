//! The binary as its users meet it: started, stopped, killed, misconfigured.

mod acl;
#[cfg(feature = "admin")]
mod admin;
mod busy;
#[cfg(feature = "cluster")]
mod cluster;
#[cfg(feature = "cluster")]
mod cluster_groups;
#[cfg(feature = "cluster")]
mod cluster_messages;
#[cfg(feature = "cluster")]
mod cluster_moves;
mod cores;
mod data;
mod debug;
mod eviction;
mod failover;
mod failures;
mod footprint;
mod library;
mod migrate;
mod operating;
mod overload;
#[cfg(all(feature = "storage-sled", feature = "storage-fjall"))]
mod panics;
mod replication;
mod replication_peers;
mod resizing;
mod serving;
mod sockets;
mod support;
mod telling;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "otel")]
mod traces;
#[cfg(feature = "websocket")]
mod websocket;
