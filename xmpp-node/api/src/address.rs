//! Addresses as people write them: a host (name or IP literal) and a port.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A host and a port: `xmpp1.example.test:7222`, `192.0.2.1:7222` or `[2001:db8::1]:7222`.
///
/// The host is never empty and at most 253 bytes; an IPv6 address is kept without its brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// Puts an address together.
    ///
    /// # Errors
    /// [`AddressError`] if the host is neither a name of letters, digits, `-`, `_` and `.`, nor an IP address,
    /// or if the port is 0.
    pub fn new(host: &str, port: u16) -> Result<Self, AddressError> {
        let named = !host.is_empty()
            && host.len() <= MAX_HOST_BYTES
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        if !named && host.parse::<IpAddr>().is_err() {
            return Err(AddressError::Host);
        }
        if port == 0 {
            return Err(AddressError::Port);
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }

    /// Reads `host:port`; where no port is given, `default_port` is taken.
    ///
    /// # Errors
    /// [`AddressError`], as for [`Self::new`].
    pub fn parse_or_port(text: &str, default_port: u16) -> Result<Self, AddressError> {
        let (host, port) = split(text)?;
        Self::new(host, port.unwrap_or(default_port))
    }

    /// The host: a DNS name or an IP address, the latter without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, never 0.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The same host with another port, as `xmpp cluster status` prints peers.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        Self {
            host: self.host.clone(),
            port,
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = split(text)?;
        Self::new(host, port.ok_or(AddressError::NoPort)?)
    }
}

impl Serialize for HostPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// Why a text is not an address; the caller's input is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// The host is empty, too long, or holds characters that no name has.
    Host,
    /// The port is missing.
    NoPort,
    /// The port is not a number from 1 to 65535.
    Port,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "not a host name or IP address (write host:port, IPv6 in brackets)",
            Self::NoPort => "the port is missing (write host:port)",
            Self::Port => "the port is not a number from 1 to 65535",
        })
    }
}

impl std::error::Error for AddressError {}

/// Host and port of a text; a bare IPv6 address has no port.
fn split(text: &str) -> Result<(&str, Option<u16>), AddressError> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(AddressError::Host)?;
        host.parse::<Ipv6Addr>().map_err(|_| AddressError::Host)?;
        match after.strip_prefix(':') {
            None if !after.is_empty() => return Err(AddressError::Host),
            port => (host, port),
        }
    } else if text.parse::<Ipv6Addr>().is_ok() {
        (text, None)
    } else {
        text.rsplit_once(':')
            .map_or((text, None), |(host, port)| (host, Some(port)))
    };
    let port = port
        .map(|port| port.parse().map_err(|_| AddressError::Port))
        .transpose()?;
    Ok((host, port))
}

/// RFC 1035, 2.3.4: 255 octets on the wire are 253 characters of text.
const MAX_HOST_BYTES: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_literals_of_both_families_are_read_and_printed_alike() {
        for text in [
            "xmpp1.example.test:7222",
            "192.0.2.1:1",
            "[2001:db8::1]:65535",
        ] {
            let address: HostPort = text.parse().expect("the address is well formed");
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn the_default_port_is_taken_only_where_none_is_given() {
        let parse = |text| {
            HostPort::parse_or_port(text, 7222)
                .expect("well formed")
                .to_string()
        };
        assert_eq!(parse("xmpp1"), "xmpp1:7222");
        assert_eq!(parse("::1"), "[::1]:7222");
        assert_eq!(parse("[::1]"), "[::1]:7222");
        assert_eq!(parse("xmpp1:9"), "xmpp1:9");
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_reason() {
        for (text, reason) in [
            ("", AddressError::NoPort),
            (":7222", AddressError::Host),
            ("a b:7222", AddressError::Host),
            ("[::1:7222", AddressError::Host),
            ("[x]:7222", AddressError::Host),
            ("xmpp1", AddressError::NoPort),
            ("xmpp1:0", AddressError::Port),
            ("xmpp1:65536", AddressError::Port),
            ("xmpp1:", AddressError::Port),
        ] {
            assert_eq!(text.parse::<HostPort>(), Err(reason), "{text:?}");
        }
    }
}
