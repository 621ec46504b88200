//! Real nodes, killed, frozen and cut off under load. Correctness only, with a ceiling of 10 s for everything that is
//! waited for; speed is for the benchmarks.

mod admin;
mod bridges;
mod certificates;
mod faults;
mod outages;
mod restarts;
