//! Who may have a connection to the component ports, and a place among those that have not proved a secret yet.
//!
//! Knows no socket: a *source* asks, and gets a [`Place`] that it gives back by dropping it.
//!
//! | bound | setting | past it |
//! |---|---|---|
//! | connections | `limits.connections` | closed at once |
//! | connections of a source | `limits.connections_per_address` | closed at once |
//! | unproved connections of a source | `limits.unauthenticated_per_address` | closed at once |
//! | unproved connections | `limits.unauthenticated` | the source that has the most of them loses its oldest |
//!
//! So a source with few unproved connections comes in at once whatever others do, unless there are as many sources as places:
//! then the next one waits for a place, and with it, in the kernel's bounded backlog, all that come after it. Bridges behind
//! one address need few places: a handshake takes milliseconds, and whoever is closed tries again, elsewhere first.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What counts as one address: an IPv4 address, also where a socket for both families shows it as IPv6, or an IPv6 network
/// of 64 bits, of which whoever has one address has them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// Bounds of all component ports together.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections.
    pub connections: usize,
    /// Connections of a source.
    pub connections_per_source: usize,
    /// Unproved connections, at least 1.
    pub unproved: usize,
    /// Unproved connections of a source.
    pub unproved_per_source: usize,
}

/// Why a connection gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// This limit of the configuration is reached.
    Limit(&'static str),
    /// Others have one place each: there may be one after the next [`Admission::freed`].
    Wait,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Admission {
    bounds: Bounds,
    table: Mutex<Table>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    connections: usize,
    per_source: HashMap<Source, usize>,
    unproved: usize,
    /// In the order of their coming, with what tells them that they are displaced.
    places: HashMap<Source, BTreeMap<u64, CancellationToken>>,
    next: u64,
}

impl Admission {
    /// With these bounds.
    #[must_use]
    pub fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            table: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// Takes a connection in.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn admit(self: &Arc<Self>, source: Source) -> Result<(Place, Unproved), Refused> {
        let (number, displaced) = self.table().admit(source, &self.bounds)?;
        let place = Place {
            admission: Arc::clone(self),
            source,
        };
        let unproved = Unproved {
            admission: Arc::clone(self),
            source,
            number,
            displaced,
        };
        Ok((place, unproved))
    }

    /// Waits until an unproved connection is gone. Cancel-safe.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Connections that have not proved a secret.
    #[must_use]
    pub fn unproved(&self) -> usize {
        self.table().unproved
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn admit(
        &mut self,
        source: Source,
        bounds: &Bounds,
    ) -> Result<(u64, CancellationToken), Refused> {
        if self.connections >= bounds.connections {
            return Err(Refused::Limit("connections"));
        }
        let connections = self.per_source.get(&source).copied().unwrap_or_default();
        if connections >= bounds.connections_per_source {
            return Err(Refused::Limit("connections_per_address"));
        }
        let own = self.places.get(&source).map_or(0, BTreeMap::len);
        if own >= bounds.unproved_per_source {
            return Err(Refused::Limit("unauthenticated_per_address"));
        }
        if self.unproved >= bounds.unproved {
            self.displace(own)?;
        }
        self.connections += 1;
        *self.per_source.entry(source).or_default() += 1;
        self.next += 1;
        let displaced = CancellationToken::new();
        let places = self.places.entry(source).or_default();
        places.insert(self.next, displaced.clone());
        self.unproved += 1;
        Ok((self.next, displaced))
    }

    /// Makes room for a source that has `own` places.
    fn displace(&mut self, own: usize) -> Result<(), Refused> {
        let fullest = self.places.iter().max_by_key(|(_, places)| places.len());
        let oldest = fullest
            .filter(|(_, places)| places.len() > own + 1)
            .and_then(|(source, places)| Some((*source, *places.keys().next()?)));
        match oldest {
            Some((source, number)) => {
                self.remove(source, number)
                    .inspect(CancellationToken::cancel);
                Ok(())
            }
            None if own == 0 => Err(Refused::Wait),
            None => Err(Refused::Limit("unauthenticated")),
        }
    }

    fn remove(&mut self, source: Source, number: u64) -> Option<CancellationToken> {
        let places = self.places.get_mut(&source)?;
        let removed = places.remove(&number)?;
        if places.is_empty() {
            self.places.remove(&source);
        }
        self.unproved -= 1;
        Some(removed)
    }
}

/// A connection under the bounds, until it is dropped.
#[derive(Debug)]
pub struct Place {
    admission: Arc<Admission>,
    source: Source,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.admission.table();
        table.connections -= 1;
        if let Some(count) = table.per_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                table.per_source.remove(&self.source);
            }
        }
    }
}

/// A connection's place among the unproved. Dropped once a secret is proved.
#[derive(Debug)]
pub struct Unproved {
    admission: Arc<Admission>,
    source: Source,
    number: u64,
    displaced: CancellationToken,
}

impl Unproved {
    /// Who has it.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// Waits until the place is needed for somebody else: the connection must end. Cancel-safe.
    pub async fn displaced(&self) {
        self.displaced.cancelled().await;
    }
}

impl Drop for Unproved {
    fn drop(&mut self) {
        let removed = self.admission.table().remove(self.source, self.number);
        if removed.is_some() {
            self.admission.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
