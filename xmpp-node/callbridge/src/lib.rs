//! The bridge's end of a component stream (XEP-0114 with the XEP-0198 opt-in): finds a server, keeps a stream to it, loses
//! nothing when the server dies.
//!
//! Deliberately knows nothing of Raft or Kubernetes. Modules in reading order:
//!
//! | Module | Is |
//! |---|---|
//! | [`config`] | who the bridge is, where servers are, bounds and durations |
//! | [`discovery`] | SRV and addresses of the servers |
//! | [`session`] | what is not accepted and not confirmed, from one connection to the next; pure |
//! | `tls`, `connect` | one connection: happy eyeballs, TLS, stream header, handshake, resumption |
//! | `outbox`, `connection` | the task that reads and writes one connection |
//! | `supervisor`, [`bridge`] | rounds of attempts and back-off; the handles an application holds |
//! | [`sidecar`] | serves an unmodified component on loopback |
//! | [`responder`] | what a bridge without an application answers |
//! | [`status`], [`error`] | what is going on, and why not |
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use callbridge::{Bridge, Config, Secret, Security};
//!
//! let security = Security::Tls { ca: "ca.crt".into() };
//! let config = Config::new("cb1", "example.test", Secret::File("secret".into()), security);
//! let (bridge, mut receiver) = Bridge::start(config)?;
//! let stanza = "<message from='cb1.example.test' to='cb2.example.test'><body>hello</body></message>";
//! let id = bridge.send(stanza.into()).await?;
//! bridge.accepted(id).await?;
//! while let Some(incoming) = receiver.recv().await {
//!     println!("{:?} from {:?}", incoming.kind, incoming.from());
//! }
//! # Ok(()) }
//! ```

pub mod config;

pub mod discovery;

pub mod session;

mod tls;

mod connect;

mod outbox;

mod connection;

mod supervisor;

pub mod bridge;

pub mod sidecar;

pub mod responder;

pub mod status;

pub mod error;

mod backoff;
mod random;

pub use bridge::{Bridge, Incoming, Receiver};
pub use config::{Config, Confirmation, HostPort, Secret, Security, Servers, Timing, Window};
pub use error::{Failure, Stopped, TrySendError};
pub use outbox::SendId;
pub use session::Receipt;
pub use status::{Counters, Event, State, Status};
