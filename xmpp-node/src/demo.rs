//! `xmpp demo`: a whole deployment on one machine, with real processes, real certificates, real DNS and real bridges.
//!
//! Three nodes run as on three machines, each on a loopback address of its own. Three bridges in this process send one
//! another numbered messages, and keep books of what became of each. Nodes are killed if one likes; at the end the books
//! must be even, and every node's ledger must say the same.
//!
//! In reading order:
//!
//! | Module | Is |
//! |---|---|
//! | [`stage`] | one demo from beginning to end |
//! | [`cluster`] | the processes and what they need; also for tests and benchmarks |
//! | [`site`], [`files`], [`pki`], [`dns`], [`process`], [`manifest`] | addresses, files, certificates, records, one process, `demo.json` |
//! | [`settled`] | whether a cluster is whole |
//! | [`traffic`], [`message`] | bridges that send one another messages; also for tests and benchmarks |
//! | [`accounts`], [`gaps`], [`histogram`] | the books; pure |
//! | [`faults`] | who is killed when; pure |
//! | [`report`], [`reckoning`] | the figures, and books against ledgers: pure, and asked of the nodes |
//! | [`view`] | what is shown |
//!
//! Only Linux answers on all of 127.0.0.0/8 without being told to.

pub mod stage;

pub mod cluster;

pub mod dns;
pub mod files;
pub mod manifest;
pub mod pki;
pub mod process;
pub mod site;

pub mod settled;

pub mod message;
pub mod traffic;

pub mod accounts;
pub mod gaps;
pub mod histogram;

pub mod faults;
pub mod report;

pub mod reckoning;
pub mod view;

pub mod error;

use ring::rand::{SecureRandom, SystemRandom};

pub use self::cluster::{Cluster, Plan};
pub use self::error::DemoError;
pub use self::faults::Fault;
pub use self::stage::{Options, Outcome, run};
pub use self::traffic::Run;
pub use self::view::View;

/// A random number below `bound`, which must not be 0.
fn random_below(bound: u32) -> Result<u32, DemoError> {
    let mut bytes = [0; 4];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| DemoError::System("the system gives no random numbers".to_owned()))?;
    Ok(u32::from_le_bytes(bytes) % bound.max(1))
}
