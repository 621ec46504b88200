//! Addresses of the network: `local@domain/resource` (RFC 7622).
//!
//! A [`Jid`] is normalised once, when it is parsed, so that comparing two is comparing bytes. Knows
//! nothing of who is served or routed where.

mod parts;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most bytes a localpart, a domainpart or a resourcepart may have (RFC 7622, 3.1).
pub const MAX_PART_BYTES: usize = 1023;

/// A normalised address. Cloning copies no text.
///
/// Ordered by its text, so a bare JID stands directly before the full JIDs that belong to it or
/// further ahead.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Jid {
    text: Arc<str>,
    /// Where the domainpart begins: 0, or one more than the position of `@`.
    domain_start: u16,
    /// Where the domainpart ends: `domain_start < domain_end <= text.len()`.
    domain_end: u16,
}

impl Jid {
    /// Reads and normalises an address: PRECIS profiles for localpart and resourcepart, IDNA for
    /// the domainpart, whose trailing dot is dropped. IPv4 addresses and IPv6 addresses in brackets
    /// are domainparts too.
    ///
    /// # Errors
    /// [`JidError`] names the part that is missing, too long or holds what it may not.
    pub fn parse(text: &str) -> Result<Self, JidError> {
        let (local, domain, resource) = split(text);
        let local = local.map(parts::local).transpose()?;
        let domain = parts::domain(domain)?;
        let resource = resource.map(parts::resource).transpose()?;
        Ok(Self::join(local.as_deref(), &domain, resource.as_deref()))
    }

    /// Normalises the localpart of an address alone: a user's name.
    ///
    /// # Errors
    /// [`JidError`] if it is empty, too long or holds what it may not.
    pub fn localpart(text: &str) -> Result<std::borrow::Cow<'_, str>, JidError> {
        parts::local(text)
    }

    /// Normalises the resourcepart of an address alone.
    ///
    /// # Errors
    /// [`JidError`] if it is empty, too long or holds what it may not.
    pub fn resourcepart(text: &str) -> Result<std::borrow::Cow<'_, str>, JidError> {
        parts::resource(text)
    }

    /// Takes an address that was normalised before, e.g. by another node: it is only taken apart.
    ///
    /// # Errors
    /// [`JidError`] when a part is empty or too long.
    pub fn from_normalized(text: &str) -> Result<Self, JidError> {
        let (local, domain, resource) = split(text);
        for (part, text) in [
            (Part::Local, local),
            (Part::Domain, Some(domain)),
            (Part::Resource, resource),
        ] {
            match text.map(str::len) {
                Some(0) => return Err(JidError::Empty(part)),
                Some(length) if length > MAX_PART_BYTES => return Err(JidError::TooLong(part)),
                _ => {}
            }
        }
        Ok(Self::join(local, domain, resource))
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before `@`.
    pub fn local(&self) -> Option<&str> {
        self.domain_start
            .checked_sub(1)
            .map(|end| &self.text[..usize::from(end)])
    }

    /// The domainpart, without a trailing dot; internationalised labels are in Unicode.
    pub fn domain(&self) -> &str {
        &self.text[usize::from(self.domain_start)..usize::from(self.domain_end)]
    }

    /// The part after the first `/`.
    pub fn resource(&self) -> Option<&str> {
        self.text.get(usize::from(self.domain_end) + 1..)
    }

    /// Whether there is no resourcepart.
    pub fn is_bare(&self) -> bool {
        usize::from(self.domain_end) == self.text.len()
    }

    /// The address without its resourcepart.
    pub fn bare(&self) -> Self {
        if self.is_bare() {
            return self.clone();
        }
        Self {
            text: self.bare_str().into(),
            ..*self
        }
    }

    /// The text of [`bare`](Self::bare), borrowed.
    pub fn bare_str(&self) -> &str {
        &self.text[..usize::from(self.domain_end)]
    }

    /// The bare address with the given resourcepart.
    ///
    /// # Errors
    /// [`JidError`] when `resource` is empty, too long or holds what it may not.
    pub fn with_resource(&self, resource: &str) -> Result<Self, JidError> {
        let resource = parts::resource(resource)?;
        Ok(Self::join(self.local(), self.domain(), Some(&resource)))
    }

    /// Joins normalised parts, each at most [`MAX_PART_BYTES`] long, so that offsets fit into 16
    /// bits.
    fn join(local: Option<&str>, domain: &str, resource: Option<&str>) -> Self {
        let mut text = String::with_capacity(
            local.map_or(0, |local| local.len() + 1)
                + domain.len()
                + resource.map_or(0, |resource| resource.len() + 1),
        );
        if let Some(local) = local {
            text.push_str(local);
            text.push('@');
        }
        let domain_start = offset(&text);
        text.push_str(domain);
        let domain_end = offset(&text);
        if let Some(resource) = resource {
            text.push('/');
            text.push_str(resource);
        }
        Self {
            text: text.into(),
            domain_start,
            domain_end,
        }
    }
}

impl FromStr for Jid {
    type Err = JidError;

    fn from_str(text: &str) -> Result<Self, JidError> {
        Self::parse(text)
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jid({})", self.text)
    }
}

impl Serialize for Jid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// Takes the text as normalised: what one node wrote must read the same on every other, whatever
/// Unicode it knows.
impl<'de> Deserialize<'de> for Jid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::from_normalized(&text).map_err(serde::de::Error::custom)
    }
}

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum JidError {
    /// A part is there but empty; the domainpart is always there.
    #[error("{0} is empty")]
    Empty(Part),
    /// A part, normalised, has more than [`MAX_PART_BYTES`] bytes, or a domain label more than 63.
    #[error("{0} is too long")]
    TooLong(Part),
    /// A part holds characters that it may not hold.
    #[error("{0} has characters that are not allowed")]
    Disallowed(Part),
}

/// A part of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Before `@`.
    Local,
    /// Between the two others.
    Domain,
    /// After `/`.
    Resource,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "localpart",
            Self::Domain => "domainpart",
            Self::Resource => "resourcepart",
        })
    }
}

/// Takes an address apart as RFC 7622, 3.2 says: first the resourcepart goes, then the localpart.
fn split(text: &str) -> (Option<&str>, &str, Option<&str>) {
    let (bare, resource) = match text.split_once('/') {
        Some((bare, resource)) => (bare, Some(resource)),
        None => (text, None),
    };
    match bare.split_once('@') {
        Some((local, domain)) => (Some(local), domain, resource),
        None => (None, bare, resource),
    }
}

fn offset(text: &str) -> u16 {
    u16::try_from(text.len()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
