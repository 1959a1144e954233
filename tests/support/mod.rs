//! What several of the integration tests use. Each takes a part of it, so the rest is unused there.
#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod agent;
pub mod agentctl;
#[cfg(feature = "agent")]
pub mod answering;
pub mod churn;
pub mod judge;
pub mod place;
pub mod plain;
pub mod python;
pub mod rotel;
pub mod servers;
pub mod target;
#[cfg(feature = "agent")]
pub mod tls;
pub mod truth;
pub mod typescript;
pub mod victoria;
#[cfg(feature = "agent")]
pub mod zoo;
