//! The transport between nodes over real TLS on the loopback interface.

mod links;
mod node;
mod pki;
mod raw;
mod refusals;
mod traffic;
mod wire;
