//! What node, operator and command line agree on: configuration, admin requests, status. Values and serde only.
//!
//! Reading order: [`config`] is the file a node starts from, [`admin`] what can be asked of a running node,
//! [`status`] what it answers about itself. [`time`] and [`address`] hold the small value types all three use.
//! Nothing here opens a file or a socket; the operator writes the very types that the node reads.

pub mod address;
pub mod admin;
pub mod config;
pub mod status;
pub mod time;
