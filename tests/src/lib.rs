//! Helpers of the tests that need more than one part, and the benches.
//!
//! - [`lab`]: a cluster of real processes in a temporary directory, and what must be true of it at the end.
//! - [`proxy`]: TCP between a bridge and a node that can be cut.
//! - [`measure`]: CPU time and memory of processes.
//! - [`load`], [`mod@bench`]: pairs of bridges whose throughput and latency are measured; `xmpp-bench`.
//! - [`client`], [`crowd`]: thousands of light clients: what they cost, and how they come back from a killed node; `xmpp-bench`.
//! - [`failover`]: the gaps of pairs of bridges when nodes die or freeze; `xmpp-bench-failover`.
//! - [`mod@fuzz`]: what the fuzzer calls with whatever it likes; its finds are tests.
//! - [`report`]: how benches print what they found.

pub mod bench;
pub mod client;
pub mod crowd;
pub mod failover;
pub mod fuzz;
pub mod lab;
pub mod load;
pub mod measure;
pub mod proxy;
pub mod report;
