//! Helpers of the tests that need more than one part.
//!
//! - [`lab`]: a cluster of real processes in a temporary directory, and what must be true of it at the end.
//! - [`proxy`]: TCP between a bridge and a node that can be cut.
//! - [`load`]: pairs of bridges whose throughput and latency are measured.
//! - [`measure`]: CPU time and memory of processes.

pub mod lab;
pub mod load;
pub mod measure;
pub mod proxy;
