//! The server: everything that awaits. Listeners, streams, consensus, admin API, metrics and the `xmpp` command line.
//!
//! In reading order: [`settings`] and [`tls`] (what the node is told), [`node`] (how it is wired),
//! [`listener`], [`admission`] and [`throttle`] (who comes in), [`connection`],
//! [`ingress`], [`consensus`], [`applied`] and [`egress`] (the path of a stanza), [`peer`] (between nodes).

pub mod admin;
pub mod cli;
pub mod demo;
pub mod metrics;
pub mod settings;
pub mod tls;

pub mod control;
pub mod node;
pub mod status;

pub use node::run;

pub mod admission;
pub mod connection;
pub mod listener;
pub mod refusals;
pub mod throttle;

pub mod ingress;

pub mod consensus;

pub mod applied;
pub mod contact;
pub mod egress;

pub mod identity;
mod passwords;
pub mod peer;
pub mod sealing;
