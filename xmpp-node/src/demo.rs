//! `xmpp demo`.

pub mod accounts;
pub mod cluster;
pub mod dns;
pub mod error;
pub mod files;
pub mod gaps;
pub mod histogram;
pub mod manifest;
pub mod message;
pub mod pki;
pub mod process;
pub mod settled;
pub mod site;
pub mod traffic;

pub use self::cluster::{Cluster, Plan};
pub use self::error::DemoError;

use ring::rand::{SecureRandom, SystemRandom};

/// A random number below `bound`, which must not be 0.
fn random_below(bound: u32) -> Result<u32, DemoError> {
    let mut bytes = [0; 4];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| DemoError::System("the system gives no random numbers".to_owned()))?;
    Ok(u32::from_le_bytes(bytes) % bound.max(1))
}
