//! The demo's DNS: the records of [`DOMAIN`], served on loopback over UDP and TCP.
//!
//! ```text
//! _xmpp-component._tcp.example.test.      86400 IN SRV 0 0 5223 xmpp1.example.test.     one a node
//! _xmpp-client._tcp.example.test.         86400 IN SRV 10 50 5222 xmpp1.example.test.   one a node
//! _xmpps-client._tcp.example.test.        86400 IN SRV 10 50 5221 xmpp1.example.test.   one a node (XEP-0368)
//! xmpp1.example.test.                     86400 IN A 127.0.0.1                          one a node
//! _xmpp-component._tcp.cb1.example.test.  86400 IN SRV 0 0 5223 xmpp1.example.test.     home of cb1
//! _xmpp-component._tcp.cb1.example.test.  86400 IN SRV 1 0 5223 xmpp2.example.test.     all other nodes
//! ```
//! Drawn from the records of the domain, three bridges would start on one node every ninth time. So each bridge of the
//! demo asks an owner name of its own, whose priorities prefer another node for each: bridge `n` starts on node `n`,
//! and goes to any other one when that is lost. Whoever asks for the domain gets those of the domain.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::rdata::{A, SOA, SRV};
use hickory_proto::rr::{LowerName, Name, RData, Record};
use hickory_server::Server;
use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use tokio::net::{TcpListener, UdpSocket};

use super::error::DemoError;
use super::site::{DOMAIN, Ports, Site};

/// A running DNS server; it ends when it is dropped.
pub struct DnsServer {
    address: SocketAddr,
    _server: Server<Catalog>,
}

impl DnsServer {
    /// Serves the records of these nodes and bridges at `address`; port 0 means any.
    ///
    /// # Errors
    /// [`DemoError::Port`]; [`DemoError::System`] if a bridge's name is no domain label.
    pub async fn start(
        address: SocketAddr,
        sites: &[Site],
        bridges: &[String],
        ports: &Ports,
    ) -> Result<Self, DemoError> {
        let catalog = zone(records(sites, bridges, ports)?)?;
        let fault = |source| DemoError::Port {
            address,
            what: "port of the demo's DNS".to_owned(),
            source,
        };
        let tcp = TcpListener::bind(address).await.map_err(fault)?;
        let address = tcp.local_addr().map_err(fault)?;
        let udp = UdpSocket::bind(address).await.map_err(fault)?;
        let mut server = Server::new(catalog);
        server.register_socket(udp);
        server.register_listener(tcp, IDLE, RESPONSES);
        Ok(Self {
            address,
            _server: server,
        })
    }

    /// Where it answers.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The SRV owner name of one bridge.
#[must_use]
pub fn bridge_owner(bridge: &str) -> String {
    format!("_xmpp-component._tcp.{bridge}.{DOMAIN}")
}

fn records(sites: &[Site], bridges: &[String], ports: &Ports) -> Result<Vec<Record>, DemoError> {
    let domain = absolute(DOMAIN)?;
    let soa = SOA::new(domain.clone(), domain.clone(), SERIAL, 3600, 600, 86400, 5);
    let mut records = vec![Record::from_rdata(domain, TTL, RData::SOA(soa))];
    let mut srv = |owner: &str, priority, weight, port, site: &Site| {
        let data = RData::SRV(SRV::new(priority, weight, port, absolute(&site.host)?));
        records.push(Record::from_rdata(absolute(owner)?, TTL, data));
        Ok::<_, DemoError>(())
    };
    for site in sites {
        let component = format!("_xmpp-component._tcp.{DOMAIN}");
        srv(&component, 0, 0, ports.component, site)?;
        let client = format!("_xmpp-client._tcp.{DOMAIN}");
        srv(&client, 10, 50, ports.client, site)?;
        let direct = format!("_xmpps-client._tcp.{DOMAIN}");
        srv(&direct, 10, 50, ports.client_direct, site)?;
    }
    for (number, bridge) in bridges.iter().enumerate() {
        for (index, site) in sites.iter().enumerate() {
            let priority = u16::from(index != number % sites.len());
            srv(&bridge_owner(bridge), priority, 0, ports.component, site)?;
        }
    }
    for site in sites {
        if let IpAddr::V4(ip) = site.component.ip() {
            let data = RData::A(A::from(ip));
            records.push(Record::from_rdata(absolute(&site.host)?, TTL, data));
        }
    }
    Ok(records)
}

fn zone(records: Vec<Record>) -> Result<Catalog, DemoError> {
    let origin = absolute(DOMAIN)?;
    let mut zone = InMemoryZoneHandler::<TokioRuntimeProvider>::empty(
        origin.clone(),
        ZoneType::Primary,
        AxfrPolicy::Deny,
    );
    for record in records {
        zone.upsert_mut(record, SERIAL);
    }
    let mut catalog = Catalog::new();
    catalog.upsert(LowerName::new(&origin), vec![Arc::new(zone)]);
    Ok(catalog)
}

fn absolute(name: &str) -> Result<Name, DemoError> {
    let mut parsed = Name::from_utf8(name)
        .map_err(|error| DemoError::System(format!("{name} is no domain name: {error}")))?;
    parsed.set_fqdn(true);
    Ok(parsed)
}

/// A day: the records name nodes, which keep their names.
const TTL: u32 = 86_400;

const SERIAL: u32 = 1;

/// A TCP connection that asks nothing for this long is closed.
const IDLE: Duration = Duration::from_secs(5);

/// Answers under way on one TCP connection.
const RESPONSES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use callbridge::discovery::{Discovery, DiscoveryError};
    use callbridge::{Config, Secret, Security, Servers};
    use std::path::Path;

    async fn served() -> DnsServer {
        let ports = Ports::shifted(0).expect("no offset");
        let sites = [0, 1, 2].map(|index| Site::new(index, &ports, Path::new("")));
        let bridges = ["cb1", "cb2", "cb3"].map(str::to_owned);
        let any = "127.0.0.1:0".parse().expect("an address");
        let started = DnsServer::start(any, &sites, &bridges, &ports).await;
        started.expect("some port is free")
    }

    async fn asked(dns: &DnsServer, owner: Option<String>) -> Result<Vec<String>, DiscoveryError> {
        let secret = Secret::text("unused");
        let mut config = Config::new("cb1", DOMAIN, secret, Security::LoopbackOnly);
        config.servers = Servers::Srv { owner };
        config.dns = Some(dns.address());
        let found = Discovery::new(&config).resolve().await?;
        let text = |server: &callbridge::status::Server| {
            format!("{} at {}", server.target, server.address)
        };
        Ok(found.iter().map(text).collect())
    }

    #[tokio::test]
    async fn the_domain_has_one_record_a_node_each_with_its_address() {
        let dns = served().await;
        let mut found = asked(&dns, None).await.expect("records");
        found.sort();
        assert_eq!(
            found,
            [
                "xmpp1.example.test:5223 at 127.0.0.1:5223",
                "xmpp2.example.test:5223 at 127.0.0.2:5223",
                "xmpp3.example.test:5223 at 127.0.0.3:5223",
            ]
        );
    }

    #[tokio::test]
    async fn clients_have_records_of_their_own() {
        let dns = served().await;
        for (service, port) in [("xmpp-client", ":5222"), ("xmpps-client", ":5221")] {
            let owner = format!("_{service}._tcp.{DOMAIN}");
            let found = asked(&dns, Some(owner)).await.expect("records");
            assert_eq!(found.len(), 3);
            assert!(found.iter().all(|line| line.ends_with(port)), "{found:?}");
        }
    }

    #[tokio::test]
    async fn every_bridge_prefers_a_node_of_its_own_and_knows_all() {
        let dns = served().await;
        for number in 1..=3 {
            let owner = bridge_owner(&format!("cb{number}"));
            let found = asked(&dns, Some(owner)).await.expect("records");
            assert_eq!(found.len(), 3);
            assert!(found[0].starts_with(&format!("xmpp{number}.")), "{found:?}");
        }
    }

    #[tokio::test]
    async fn a_name_that_is_not_there_is_said_not_to_be() {
        let dns = served().await;
        let answer = asked(&dns, Some(bridge_owner("cb9"))).await;
        assert!(
            matches!(answer, Err(DiscoveryError::NoRecords { .. })),
            "{answer:?}"
        );
    }
}
