//! Watches the asyncio task graphs of running Python processes from outside, by reading their
//! memory: no code injected, no restart, no Python needed on the reader's side.
//!
//! Data flows from memory up to the binaries. Imports follow it, with one exception made on
//! purpose: the readers import the graph, the graph imports nothing of the readers.
//!
//! ```text
//! bins     asyncio-agent                              agentctl
//!             |                                           |
//! shell    agent  tokio sockets clock tracing          cli  clap stdout
//!             |                                           |
//!             +---- diagnosis ----------------------------+     what stands in the way of one process
//!             +---- targets ------------------------------+     pure: which process is whose
//!             +---- config ---- protocol ----+------------+     edges: serde lives here only
//!             |                    |         |            |
//!             +---- export         |       render --------+     bytes and text out, pure
//!             |       |            |         |            |
//!             |    metrics spans   |         |            |     pure
//!             |        \   |       |         |            |
//!             |         analysis <-+---------+            |     pure
//!             |            |                              |
//!             |          graph   the model, imports only words
//!             |            ^                              |
//!             +------> process  (closed enum) <-----------+     readers: fill the graph
//!                          |
//!                       asyncio          tasks, awaited_by, walk
//!                          |
//!                       cpython          offsets, objects, code, frames, threads
//!                      /   |   \
//!                   elf  procfs  memory                         access to a process
//!                      \   |   /
//!                    ids limits sanitize time                   words: no I/O, no clock
//! ```
//!
//! Reading order for a newcomer: [`graph`], [`asyncio::walk`](asyncio), [`memory`],
//! [`graph::forest`], [`render`], then `agent`. `tests/architecture.rs` keeps the layers.

#[cfg(feature = "agent")]
pub mod agent;
pub mod analysis;
pub mod asyncio;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "edges")]
pub mod config;
pub mod cpython;
#[cfg(feature = "edges")]
pub mod diagnosis;
pub mod elf;
#[cfg(feature = "agent")]
pub mod export;
pub mod graph;
pub mod ids;
pub mod limits;
pub mod memory;
pub mod metrics;
pub mod process;
pub mod procfs;
#[cfg(feature = "edges")]
pub mod protocol;
pub mod render;
pub mod sanitize;
pub mod spans;
#[cfg(feature = "edges")]
pub mod targets;
pub mod time;
