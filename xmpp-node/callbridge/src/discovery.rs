//! Where servers are: SRV records with all addresses of their targets, or a given list (RFC 6120, 3.2; RFC 2782).
//!
//! Asks DNS again for every round of attempts; nothing is cached but the last answer, which serves when DNS fails while a
//! bridge must find another server. An answer that says "no such service" is believed.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::task::JoinSet;
use xmpp_core::srv::{self, Target};

use crate::config::{Config, HostPort, Servers};
use crate::random::Random;
use crate::status::Server;

/// Finds the servers of one bridge.
#[derive(Debug)]
pub struct Discovery {
    owner: String,
    servers: Servers,
    dns: Option<SocketAddr>,
    resolver: Option<TokioResolver>,
    last: Vec<Server>,
    random: Random,
}

impl Discovery {
    /// A discovery that has not asked yet.
    pub fn new(config: &Config) -> Self {
        Self {
            owner: config.srv_owner(),
            servers: config.servers.clone(),
            dns: config.dns,
            resolver: None,
            last: Vec::new(),
            random: Random::from_system(),
        }
    }

    /// The addresses to try in this round, in order: those of one target stand together.
    ///
    /// # Errors
    /// [`DiscoveryError`]; a failure of DNS itself only when there is no former answer.
    pub async fn resolve(&mut self) -> Result<Vec<Server>, DiscoveryError> {
        match self.ask().await {
            Ok(servers) => {
                self.last = servers.clone();
                Ok(servers)
            }
            Err(error) if error.is_transient() && !self.last.is_empty() => {
                tracing::warn!(%error, "DNS failed, using its former answer");
                Ok(self.last.clone())
            }
            Err(error) => Err(error),
        }
    }

    /// The same, with the former answer when DNS takes longer than `patience`.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub async fn resolve_within(
        &mut self,
        patience: Duration,
    ) -> Result<Vec<Server>, DiscoveryError> {
        if self.last.is_empty() {
            return self.resolve().await;
        }
        match tokio::time::timeout(patience, self.resolve()).await {
            Ok(result) => result,
            Err(_) => Ok(self.last.clone()),
        }
    }

    async fn ask(&mut self) -> Result<Vec<Server>, DiscoveryError> {
        let targets = match &self.servers {
            Servers::List(list) => list.clone(),
            Servers::Srv { .. } => self.ask_srv().await?,
        };
        if let Some(servers) = literal_addresses(&targets) {
            return Ok(servers);
        }
        let resolver = self.resolver()?;
        let absolute = matches!(self.servers, Servers::Srv { .. });
        let mut lookups = JoinSet::new();
        for (index, target) in targets.into_iter().enumerate() {
            let resolver = resolver.clone();
            lookups.spawn(async move { (index, addresses(&resolver, target, absolute).await) });
        }
        let mut found = lookups.join_all().await;
        found.sort_by_key(|(index, _)| *index);
        let mut servers = Vec::new();
        let mut failure = None;
        for (_, result) in found {
            match result {
                Ok(some) => servers.extend(some),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if servers.is_empty() => Err(error),
            _ => Ok(servers),
        }
    }

    /// The targets of the SRV records in the order of this round's draw.
    async fn ask_srv(&mut self) -> Result<Vec<HostPort>, DiscoveryError> {
        let resolver = self.resolver()?;
        let owner = absolute_name(&self.owner)?;
        let answer = resolver
            .lookup(owner, RecordType::SRV)
            .await
            .map_err(|error| DiscoveryError::from_net(error, &self.owner))?;
        let mut targets = Vec::new();
        let mut refused = false;
        for record in answer.answers() {
            let RData::SRV(srv) = &record.data else {
                continue;
            };
            if srv.target.is_root() {
                refused = true;
                continue;
            }
            targets.push(Target {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                host: srv.target.to_utf8().trim_end_matches('.').to_owned(),
            });
        }
        if targets.is_empty() {
            let owner = self.owner.clone();
            return Err(match refused {
                true => DiscoveryError::NoService { owner },
                false => DiscoveryError::NoRecords { owner },
            });
        }
        targets.truncate(MAX_TARGETS);
        let random = &mut self.random;
        // RFC 2782 leaves open how targets of weight 0 stand among themselves, and the records of the cluster all have it
        // (S24): shuffled, they share the load even if DNS always answers in the same order.
        for last in (1..targets.len()).rev() {
            targets.swap(last, random.up_to(last as u32) as usize);
        }
        let ordered = srv::order(targets, &mut |max| random.up_to(max));
        Ok(ordered
            .into_iter()
            .map(|target| HostPort {
                host: target.host,
                port: target.port,
            })
            .collect())
    }

    fn resolver(&mut self) -> Result<TokioResolver, DiscoveryError> {
        if let Some(resolver) = &self.resolver {
            return Ok(resolver.clone());
        }
        let resolver =
            build_resolver(self.dns).map_err(|source| DiscoveryError::Resolver { source })?;
        Ok(self.resolver.insert(resolver).clone())
    }
}

/// Why no server was found.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DiscoveryError {
    /// There is no such name, or it has no SRV record.
    #[error("No DNS A or AAAA records for {owner} (it has no SRV record)")]
    NoRecords {
        /// The name asked for.
        owner: String,
    },
    /// The only record says that there is no such service: target `.` (RFC 2782).
    #[error("DNS says that there is no service at {owner}")]
    NoService {
        /// The name asked for.
        owner: String,
    },
    /// A target has no address.
    #[error("No DNS A or AAAA records for {host}")]
    NoAddress {
        /// The target.
        host: String,
    },
    /// DNS did not answer, or refused to.
    #[error("DNS did not answer for {name}: {source}")]
    Unanswered {
        /// The name asked for.
        name: String,
        /// What happened.
        source: NetError,
    },
    /// Not a domain name.
    #[error("{0:?} is not a domain name")]
    InvalidName(String),
    /// The system's DNS configuration cannot be used.
    #[error("DNS configuration: {source}")]
    Resolver {
        /// What is wrong.
        source: NetError,
    },
}

impl DiscoveryError {
    fn from_net(source: NetError, owner: &str) -> Self {
        if source.is_nx_domain() || source.is_no_records_found() {
            return Self::NoRecords {
                owner: owner.to_owned(),
            };
        }
        Self::Unanswered {
            name: owner.to_owned(),
            source,
        }
    }

    /// Whether DNS failed, as opposed to said no.
    fn is_transient(&self) -> bool {
        matches!(self, Self::Unanswered { .. } | Self::Resolver { .. })
    }
}

/// All addresses of one target.
async fn addresses(
    resolver: &TokioResolver,
    target: HostPort,
    absolute: bool,
) -> Result<Vec<Server>, DiscoveryError> {
    if let Some(servers) = literal_addresses(std::slice::from_ref(&target)) {
        return Ok(servers);
    }
    // Names out of DNS are complete; names a person wrote may be short.
    let name = match absolute {
        true => absolute_name(&target.host)?,
        false => parse_name(&target.host)?,
    };
    match resolver.lookup_ip(name).await {
        Ok(found) => {
            let port = target.port;
            Ok(found
                .iter()
                .map(|ip| Server {
                    target: target.clone(),
                    address: SocketAddr::new(ip, port),
                })
                .collect())
        }
        Err(error) if error.is_nx_domain() || error.is_no_records_found() => {
            Err(DiscoveryError::NoAddress { host: target.host })
        }
        Err(source) => Err(DiscoveryError::Unanswered {
            name: target.host,
            source,
        }),
    }
}

/// The servers, when every host is an IP address and DNS need not be asked.
fn literal_addresses(targets: &[HostPort]) -> Option<Vec<Server>> {
    targets
        .iter()
        .map(|target| {
            let address = SocketAddr::new(target.host.parse().ok()?, target.port);
            Some(Server {
                target: target.clone(),
                address,
            })
        })
        .collect()
}

fn parse_name(name: &str) -> Result<Name, DiscoveryError> {
    Name::from_utf8(name).map_err(|_| DiscoveryError::InvalidName(name.to_owned()))
}

/// The name as it stands, not completed by any search domain.
fn absolute_name(name: &str) -> Result<Name, DiscoveryError> {
    let mut name = parse_name(name)?;
    name.set_fqdn(true);
    Ok(name)
}

fn build_resolver(dns: Option<SocketAddr>) -> Result<TokioResolver, NetError> {
    let mut builder = match dns {
        None => TokioResolver::builder_tokio()?,
        Some(address) => {
            let connections =
                [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = address.port();
                    connection
                });
            let server = NameServerConfig::new(address.ip(), true, connections.into());
            let config = ResolverConfig::from_name_servers(vec![server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let options = builder.options_mut();
    options.cache_size = 0;
    options.timeout = Duration::from_secs(1);
    options.attempts = 2;
    builder.build()
}

/// Targets looked at: more than any cluster has nodes, so that a hostile answer causes no flood of lookups.
const MAX_TARGETS: usize = 32;
