//! Helpers of the tests that need more than one part, and the benches.
//!
//! - [`lab`]: a cluster of real processes in a temporary directory, and what must be true of it at the end.
//! - [`proxy`]: TCP between a bridge and a node that can be cut.
//! - [`measure`]: CPU time and memory of processes.
//! - [`load`], [`mod@bench`]: pairs of bridges whose throughput and latency are measured; `xmpp-bench`.
//! - [`failover`]: the gaps of pairs of bridges when nodes die or freeze; `xmpp-bench-failover`.
//! - [`report`]: how benches print what they found.

pub mod bench;
pub mod failover;
pub mod lab;
pub mod load;
pub mod measure;
pub mod proxy;
pub mod report;
