//! The caller's side of a node's internal ports: what the command line, the demo and the operator need of them.
//!
//! Reading order: [`identity`] is the role that a certificate bears, [`issue`] makes certificates that bear one,
//! [`tls`] connects by them, [`admin`] asks a node something. Nothing here serves, and nothing knows of Kubernetes or files.

pub mod admin;
pub mod identity;
pub mod issue;
pub mod tls;
