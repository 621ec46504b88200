//! Where everything of a demo is: addresses and ports, files below one directory.
//!
//! Node `n` is `xmpp<n>` on `127.0.0.<n>`, so all nodes have the same ports, as on three machines. An offset moves
//! every port, so that several demos can run side by side. DNS is on `127.0.0.1:5300`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use super::error::DemoError;
use super::manifest::ManifestNode;

/// The domain of every demo.
pub const DOMAIN: &str = "example.test";

/// Every port, the offset added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// XMPP clients, as published by DNS.
    pub client: u16,
    /// XMPP clients, direct TLS.
    pub client_direct: u16,
    /// Components, direct TLS.
    pub component: u16,
    /// DNS, UDP and TCP.
    pub dns: u16,
    /// Other nodes.
    pub peer: u16,
    /// Admin API.
    pub admin: u16,
    /// Health and metrics.
    pub metrics: u16,
}

impl Ports {
    const BASE: Self = Self {
        client: 5222,
        client_direct: 5221,
        component: 5223,
        dns: 5300,
        peer: 7222,
        admin: 8443,
        metrics: 9090,
    };

    /// The ports, each moved by `offset`.
    ///
    /// # Errors
    /// [`DemoError::Offset`] if one would be above 65535.
    pub fn shifted(offset: u16) -> Result<Self, DemoError> {
        let base = Self::BASE;
        let most = u16::MAX - base.metrics;
        if offset > most {
            return Err(DemoError::Offset { offset, most });
        }
        Ok(Self {
            client: base.client + offset,
            client_direct: base.client_direct + offset,
            component: base.component + offset,
            dns: base.dns + offset,
            peer: base.peer + offset,
            admin: base.admin + offset,
            metrics: base.metrics + offset,
        })
    }

    /// The address of the DNS server.
    #[must_use]
    pub const fn dns_address(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.dns)
    }
}

/// One node: its addresses and files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Name, `xmpp1` for the first.
    pub name: String,
    /// Host name in the demo's DNS.
    pub host: String,
    /// Client port, STARTTLS.
    pub client: SocketAddr,
    /// Client port, direct TLS.
    pub client_direct: SocketAddr,
    /// Component port.
    pub component: SocketAddr,
    /// Peer port.
    pub peer: SocketAddr,
    /// Admin port.
    pub admin: SocketAddr,
    /// Metrics port.
    pub metrics: SocketAddr,
    /// State directory.
    pub dir: PathBuf,
    /// Unix socket of the admin API.
    pub socket: PathBuf,
    /// Configuration file.
    pub config: PathBuf,
    /// What the process prints.
    pub log: PathBuf,
}

impl Site {
    /// The node of this number, counted from 0, below `dir`.
    #[must_use]
    pub fn new(index: u8, ports: &Ports, dir: &Path) -> Self {
        let name = format!("xmpp{}", u16::from(index) + 1);
        let ip = IpAddr::V4(Ipv4Addr::new(127, 0, 0, index.saturating_add(1)));
        let at = |port| SocketAddr::new(ip, port);
        let state = dir.join(&name);
        Self {
            host: format!("{name}.{DOMAIN}"),
            client: at(ports.client),
            client_direct: at(ports.client_direct),
            component: at(ports.component),
            peer: at(ports.peer),
            admin: at(ports.admin),
            metrics: at(ports.metrics),
            socket: state.join("admin.sock"),
            dir: state,
            config: dir.join(format!("{name}.toml")),
            log: dir.join(format!("{name}.log")),
            name,
        }
    }

    /// This node in `demo.json`.
    #[must_use]
    pub fn entry(&self, pid: u32, role: &str) -> ManifestNode {
        ManifestNode {
            name: self.name.clone(),
            pid,
            role: role.to_owned(),
            dir: self.dir.clone(),
            client: self.client,
            client_direct: self.client_direct,
            component: self.component,
            peer: self.peer,
            admin: self.admin,
            metrics: self.metrics,
            socket: self.socket.clone(),
        }
    }

    fn listeners(&self) -> [(SocketAddr, &'static str); 6] {
        [
            (self.client, "client port"),
            (self.client_direct, "direct client port"),
            (self.component, "component port"),
            (self.peer, "peer port"),
            (self.admin, "admin port"),
            (self.metrics, "metrics port"),
        ]
    }
}

/// Finds out before anything is started whether every port is free.
///
/// # Errors
/// [`DemoError::Port`] names the first that is not.
pub fn check_free(dns: SocketAddr, sites: &[Site]) -> Result<(), DemoError> {
    let fault = |address, what: String| {
        move |source| DemoError::Port {
            address,
            what,
            source,
        }
    };
    UdpSocket::bind(dns).map_err(fault(dns, "UDP port of the demo's DNS".to_owned()))?;
    TcpListener::bind(dns).map_err(fault(dns, "TCP port of the demo's DNS".to_owned()))?;
    for site in sites {
        for (address, what) in site.listeners() {
            let what = format!("{what} of {}", site.name);
            TcpListener::bind(address).map_err(fault(address, what))?;
        }
    }
    Ok(())
}

/// An offset with which `nodes` nodes find every port free, for tests that run side by side. Another process may take a
/// port before it is used; different callers look in different places first.
///
/// # Errors
/// [`DemoError::System`] if there is none.
pub fn free_offset(nodes: u8) -> Result<u16, DemoError> {
    let first = 500 + super::random_below(400)? * 60;
    (0..400_u32)
        .map(|step| 500 + (first - 500 + step * 60) % 24_000)
        .filter_map(|offset| u16::try_from(offset).ok())
        .find(|&offset| {
            Ports::shifted(offset).is_ok_and(|ports| {
                let sites: Vec<Site> = (0..nodes)
                    .map(|index| Site::new(index, &ports, Path::new("")))
                    .collect();
                check_free(ports.dns_address(), &sites).is_ok()
            })
        })
        .ok_or_else(|| DemoError::System("no free ports were found".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_the_ports_of_the_seed_on_addresses_of_their_own() {
        let ports = Ports::shifted(0).expect("no offset");
        let site = Site::new(1, &ports, Path::new("/d"));
        assert_eq!(site.name, "xmpp2");
        assert_eq!(site.host, "xmpp2.example.test");
        assert_eq!(site.component.to_string(), "127.0.0.2:5223");
        assert_eq!(site.peer.to_string(), "127.0.0.2:7222");
        assert_eq!(site.admin.to_string(), "127.0.0.2:8443");
        assert_eq!(site.metrics.to_string(), "127.0.0.2:9090");
        assert_eq!(site.socket, Path::new("/d/xmpp2/admin.sock"));
    }

    #[test]
    fn an_offset_moves_every_port_and_none_out_of_range() {
        let ports = Ports::shifted(1000).expect("a small offset");
        assert_eq!(
            (ports.client, ports.component, ports.dns),
            (6222, 6223, 6300)
        );
        assert_eq!(
            (ports.peer, ports.admin, ports.metrics),
            (8222, 9443, 10090)
        );
        assert!(Ports::shifted(56_445).is_ok());
        let error = Ports::shifted(56_446).expect_err("9090 would be above 65535");
        assert!(error.to_string().contains("at most 56445"), "{error}");
    }

    #[test]
    fn a_port_in_use_is_named_with_its_owner() {
        let offset = free_offset(2).expect("some ports are free");
        let ports = Ports::shifted(offset).expect("in range");
        let sites = [0, 1].map(|index| Site::new(index, &ports, Path::new("")));
        let taken = TcpListener::bind(sites[1].admin).expect("it was free");
        let error = check_free(ports.dns_address(), &sites).expect_err("one port is taken");
        let text = error.to_string();
        assert!(text.contains("admin port of xmpp2"), "{text}");
        assert!(text.contains(&sites[1].admin.to_string()), "{text}");
        assert!(text.contains("--port-offset"), "{text}");
        drop(taken);
    }
}
