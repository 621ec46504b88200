//! The server: everything that awaits. Listeners, streams, consensus, admin API, metrics and the `xmpp` command line.

pub mod peer;
