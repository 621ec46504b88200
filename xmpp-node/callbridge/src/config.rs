//! What a bridge is told: who it is, where servers are found, how much it may hold, how long it waits.
//!
//! Checked once by [`Config::check`]; knows neither sockets nor XML.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use xmpp_core::framer::Limits;
use xmpp_core::jid::{Jid, JidError};

/// Everything a bridge needs; [`Config::new`] gives each field its default.
#[derive(Debug, Clone)]
pub struct Config {
    /// Unique name of the bridge, e.g. `cb1`: one domain label.
    pub name: String,
    /// The XMPP domain; also the name the server's certificate must bear.
    pub domain: String,
    /// Secret of the bridge.
    pub secret: Secret,
    /// Where servers are found; by default SRV records below the domain.
    pub servers: Servers,
    /// DNS server to ask, port included; by default the system's configuration.
    pub dns: Option<SocketAddr>,
    /// How the connection is secured.
    pub security: Security,
    /// Whether acknowledgement and resumption (XEP-0198) are asked for; by default they are. Without them a stanza counts
    /// as accepted when it was written, a silent server is not noticed, and what was under way when a stream ends is lost.
    pub management: bool,
    /// When a received stanza counts as taken; by default when it is handed over.
    pub confirmation: Confirmation,
    /// How much may be submitted and not yet accepted.
    pub window: Window,
    /// Received stanzas held for the application, at least 1, by default 1024. When it is full, reading stops.
    pub inbox: usize,
    /// Bounds on what the server may send.
    pub limits: Limits,
    /// Every duration.
    pub timing: Timing,
}

impl Config {
    /// A bridge that finds servers by SRV and asks for XEP-0198.
    pub fn new(
        name: impl Into<String>,
        domain: impl Into<String>,
        secret: Secret,
        security: Security,
    ) -> Self {
        Self {
            name: name.into(),
            domain: domain.into(),
            secret,
            servers: Servers::Srv { owner: None },
            dns: None,
            security,
            management: true,
            confirmation: Confirmation::OnHandover,
            window: Window::default(),
            inbox: 1024,
            limits: Limits::default(),
            timing: Timing::default(),
        }
    }

    /// Address of the bridge: `<name>.<domain>`.
    pub fn jid(&self) -> String {
        format!("{}.{}", self.name, self.domain)
    }

    /// The SRV owner name that is asked for when no addresses are given.
    pub fn srv_owner(&self) -> String {
        match &self.servers {
            Servers::Srv { owner: Some(owner) } => owner.clone(),
            _ => format!("_xmpp-component._tcp.{}", self.domain),
        }
    }

    /// Checks what can be checked without network.
    ///
    /// # Errors
    /// [`ConfigError`] names the field.
    pub fn check(&self) -> Result<(), ConfigError> {
        let plain_label = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || self.name.len() > 63 || !self.name.chars().all(plain_label) {
            return Err(ConfigError::Name(self.name.clone()));
        }
        Jid::parse(&self.jid())?;
        if matches!(&self.servers, Servers::List(list) if list.is_empty()) {
            return Err(ConfigError::NoServers);
        }
        if self.inbox == 0 {
            return Err(ConfigError::Zero("inbox"));
        }
        if self.window.stanzas == 0 || self.window.bytes == 0 {
            return Err(ConfigError::Zero("window"));
        }
        if self.timing.ask_when_idle >= self.timing.silence {
            return Err(ConfigError::SilenceTooShort);
        }
        Ok(())
    }
}

/// Where the secret comes from. Neither form is ever printed.
#[derive(Debug, Clone)]
pub enum Secret {
    /// The secret itself.
    Text(SecretString),
    /// A file that holds it, line end ignored; read again for every connection, so a rotated secret is found.
    File(PathBuf),
}

impl Secret {
    /// A secret given as text.
    pub fn text(secret: impl Into<String>) -> Self {
        Self::Text(SecretString::from(secret.into()))
    }

    /// The secret as it is now.
    ///
    /// # Errors
    /// When the file cannot be read or is empty.
    pub async fn load(&self) -> std::io::Result<SecretString> {
        let path = match self {
            Self::Text(secret) => return Ok(secret.clone()),
            Self::File(path) => path,
        };
        let text = SecretString::from(tokio::fs::read_to_string(path).await?);
        let trimmed = text.expose_secret().trim_end_matches(['\r', '\n']);
        if trimmed.is_empty() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                format!("{} holds no secret", path.display()),
            ));
        }
        Ok(SecretString::from(trimmed.to_owned()))
    }
}

/// Where servers are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Servers {
    /// By SRV records of `owner`, by default `_xmpp-component._tcp.<domain>`. The name in the certificate stays the domain.
    Srv {
        /// Owner name of the records.
        owner: Option<String>,
    },
    /// By these, in this order; no SRV record is asked for. One alone means that there is no failover.
    List(Vec<HostPort>),
}

/// A host name or IP address with a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Host name, or an IP address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl std::str::FromStr for HostPort {
    type Err = ConfigError;

    /// Reads `host:port`, `address:port` or `[address]:port`; without a port it is 5223.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let invalid = || ConfigError::HostPort(text.to_owned());
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::from(address));
        }
        let bracketed = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        let bare = bracketed.unwrap_or(text);
        if bare.parse::<std::net::IpAddr>().is_ok() {
            return Ok(Self {
                host: bare.to_owned(),
                port: COMPONENT_PORT,
            });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| invalid())?),
            None => (text, COMPONENT_PORT),
        };
        if host.is_empty() || host.contains([':', '[', ']', ' ']) {
            return Err(invalid());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// How the connection is secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// TLS 1.2 or later; the server's certificate must be issued for the domain by a CA of this PEM file, which is
    /// read again when it changes.
    Tls {
        /// PEM file of trusted CAs.
        ca: PathBuf,
    },
    /// No TLS: only towards loopback addresses, for tests and benchmarks. Other addresses are not connected to.
    LoopbackOnly,
}

/// When a received stanza counts as taken, so that the server may forget it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// When it is handed over to the [`Receiver`](crate::Receiver).
    OnHandover,
    /// When [`Bridge::confirm`](crate::Bridge::confirm) says so.
    Explicit,
}

/// How much may be submitted and not yet accepted; when it is full, sending waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Stanzas, at least 1, by default 1024.
    pub stanzas: usize,
    /// Bytes, at least 1, by default 4 MiB. One stanza is taken even if it alone is larger.
    pub bytes: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            stanzas: 1024,
            bytes: 4 * 1024 * 1024,
        }
    }
}

/// Every duration a bridge waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Nothing was received for this long: ask with `<r/>`; by default 500 ms.
    pub ask_when_idle: Duration,
    /// Nothing was received for this long: the stream is given up; more than `ask_when_idle`, by default 1.5 s.
    pub silence: Duration,
    /// Written stanzas wait at most this long to be asked for with `<r/>`; by default 50 ms.
    pub ask_after: Duration,
    /// Written stanzas after which `<r/>` is sent at once; by default 64.
    pub ask_every: u32,
    /// Taken stanzas wait at most this long to be acknowledged; by default 50 ms.
    pub acknowledge_after: Duration,
    /// Taken stanzas after which they are acknowledged at once; by default 16.
    pub acknowledge_every: u32,
    /// A connection attempt gets this much time before the next address is tried beside it; by default 150 ms.
    pub next_address: Duration,
    /// One TCP connection attempt; by default 3 s.
    pub connect: Duration,
    /// TLS, stream header and handshake together; by default 2 s.
    pub authenticate: Duration,
    /// `<enable/>` or `<resume/>`, which wait for a majority of servers; by default 3 s.
    pub bind: Duration,
    /// On the first retry, how long DNS may take before the former answer is used; by default 150 ms.
    pub resolve_patience: Duration,
    /// First wait between rounds of attempts; later ones double, with jitter; by default 100 ms.
    pub retry_first: Duration,
    /// Longest wait between rounds of attempts; by default 3 s.
    pub retry_longest: Duration,
    /// How long a stop waits for acceptance of what was sent; by default 5 s.
    pub stop: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ask_when_idle: Duration::from_millis(500),
            silence: Duration::from_millis(1500),
            ask_after: Duration::from_millis(50),
            ask_every: 64,
            acknowledge_after: Duration::from_millis(50),
            acknowledge_every: 16,
            next_address: Duration::from_millis(150),
            connect: Duration::from_secs(3),
            authenticate: Duration::from_secs(2),
            bind: Duration::from_secs(3),
            resolve_patience: Duration::from_millis(150),
            retry_first: Duration::from_millis(100),
            retry_longest: Duration::from_secs(3),
            stop: Duration::from_secs(5),
        }
    }
}

/// What is wrong with a [`Config`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The name is no domain label.
    #[error("bridge name {0:?} must be 1 to 63 letters, digits, '-' or '_'")]
    Name(String),
    /// Name and domain make no address.
    #[error("name and domain make no XMPP address: {0}")]
    Address(#[from] JidError),
    /// An empty address list.
    #[error("the list of servers is empty")]
    NoServers,
    /// Not a host with a port.
    #[error("{0:?} is not a host with a port")]
    HostPort(String),
    /// A bound of zero.
    #[error("{0} must not be zero")]
    Zero(&'static str),
    /// `silence` not longer than `ask_when_idle`.
    #[error("a server must be asked before it can be called silent")]
    SilenceTooShort,
    /// The domain cannot be the name in a certificate.
    #[error("domain {0:?} cannot be the name in a certificate")]
    CertificateName(String),
    /// A side-car that would listen where others can reach it.
    #[error("{0} is not a loopback address: the side-car speaks without TLS")]
    NotLoopback(SocketAddr),
}

/// Port of components when none is given.
const COMPONENT_PORT: u16 = 5223;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_read_with_and_without_a_port() {
        for (text, host, port) in [
            ("n1.example.test:7000", "n1.example.test", 7000),
            ("n1.example.test", "n1.example.test", 5223),
            ("127.0.0.2:5223", "127.0.0.2", 5223),
            ("127.0.0.2", "127.0.0.2", 5223),
            ("[::1]:9", "::1", 9),
            ("::1", "::1", 5223),
        ] {
            let read: HostPort = text.parse().expect(text);
            assert_eq!((read.host.as_str(), read.port), (host, port));
        }
        for text in ["", ":5", "a:b", "a b:1", "[::1:9"] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let config = Config::new(
            "cb1",
            "example.test",
            Secret::text("hidden-word"),
            Security::LoopbackOnly,
        );
        assert!(!format!("{config:?}").contains("hidden-word"));
    }

    #[test]
    fn a_name_with_a_dot_is_refused() {
        let config = Config::new(
            "cb.1",
            "example.test",
            Secret::text("s"),
            Security::LoopbackOnly,
        );
        assert_eq!(config.check(), Err(ConfigError::Name("cb.1".to_owned())));
    }
}
