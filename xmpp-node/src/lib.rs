//! The server: everything that awaits. Listeners, streams, consensus, admin API, metrics and the `xmpp` command line.

pub mod admin;
pub mod metrics;
pub mod settings;
pub mod tls;
