//! A DNS server for `example.test` on loopback whose records a test changes while it runs.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::rdata::{A, AAAA, SOA, SRV};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType, RrKey};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_server::Server;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use tokio::net::{TcpListener, UdpSocket};

pub struct Dns {
    pub address: SocketAddr,
    zone: Arc<InMemoryZoneHandler<TokioRuntimeProvider>>,
    server: Server<Catalog>,
}

impl Dns {
    pub async fn start() -> Self {
        let origin = name("example.test.");
        let zone = InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny);
        let zone = Arc::new(zone);
        let soa = SOA::new(origin.clone(), origin.clone(), 1, 60, 60, 60, 1);
        zone.upsert(Record::from_rdata(origin.clone(), 60, RData::SOA(soa)), 1)
            .await;
        let mut catalog = Catalog::new();
        catalog.upsert(LowerName::new(&origin), vec![zone.clone()]);
        let mut server = Server::new(catalog);
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        server.register_socket(socket);
        // Without it a truncated answer could not be asked for again; another test may hold the port by chance.
        if let Ok(listener) = TcpListener::bind(address).await {
            server.register_listener(listener, Duration::from_secs(5), 128);
        }
        Self {
            address,
            zone,
            server,
        }
    }

    pub async fn srv(&self, owner: &str, priority: u16, port: u16, target: &str) {
        self.put(owner, RData::SRV(SRV::new(priority, 0, port, name(target))))
            .await;
    }

    pub async fn a(&self, owner: &str, address: Ipv4Addr) {
        self.put(owner, RData::A(A(address))).await;
    }

    pub async fn aaaa(&self, owner: &str, address: Ipv6Addr) {
        self.put(owner, RData::AAAA(AAAA(address))).await;
    }

    /// Takes all SRV records of a name away.
    pub async fn remove_srv(&self, owner: &str) {
        let key = RrKey::new(LowerName::new(&name(owner)), RecordType::SRV);
        self.zone.records_mut().await.remove(&key);
    }

    pub async fn stop(&mut self) {
        self.server.shutdown_gracefully().await.expect("stopped");
    }

    async fn put(&self, owner: &str, data: RData) {
        self.zone
            .upsert(Record::from_rdata(name(owner), 86_400, data), 1)
            .await;
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}
