//! The other end of a connection played by hand, byte by byte, from what the module documentation
//! says of the wire.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use xmpp_node::peer::PeerTls;

use crate::node::PATIENCE;
use crate::pki::NodeTls;

pub(crate) const HELLO: u8 = 1;
pub(crate) const REFUSED: u8 = 2;
pub(crate) const PING: u8 = 3;
pub(crate) const REQUEST: u8 = 5;
pub(crate) const ANSWER: u8 = 6;

/// A TLS connection that is read and written by hand.
pub(crate) struct Raw(TlsStream<TcpStream>);

impl Raw {
    /// Dials and says hello, without waiting for an answer.
    pub(crate) async fn dial(address: SocketAddr, tls: &Arc<NodeTls>, hello: &[u8]) -> Self {
        let tcp = TcpStream::connect(address).await.expect("connects");
        let name = ServerName::from(address.ip());
        let stream = TlsConnector::from(tls.client(None))
            .connect(name, tcp)
            .await
            .expect("TLS");
        let mut raw = Self(stream.into());
        raw.write(HELLO, 0, 0, hello).await;
        raw
    }

    /// Accepts, reads a hello and answers with one.
    pub(crate) async fn accept(listener: &TcpListener, tls: &Arc<NodeTls>, hello: &[u8]) -> Self {
        let (tcp, _) = listener.accept().await.expect("accepts");
        let stream = TlsAcceptor::from(tls.server())
            .accept(tcp)
            .await
            .expect("TLS");
        let mut raw = Self(stream.into());
        assert_eq!(raw.read().await.0, HELLO);
        raw.write(HELLO, 0, 0, hello).await;
        raw
    }

    pub(crate) async fn write(&mut self, tag: u8, kind: u8, id: u64, body: &[u8]) {
        let mut frame = Vec::new();
        frame.extend_from_slice(&u32::try_from(10 + body.len()).expect("short").to_be_bytes());
        frame.extend_from_slice(&[tag, kind]);
        frame.extend_from_slice(&id.to_be_bytes());
        frame.extend_from_slice(body);
        self.write_bytes(&frame).await;
    }

    pub(crate) async fn write_bytes(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("writes");
        self.0.flush().await.expect("flushes");
    }

    /// The next frame: tag, kind, id, body.
    pub(crate) async fn read(&mut self) -> (u8, u8, u64, Vec<u8>) {
        let reading = async {
            let length = self.0.read_u32().await?;
            let (tag, kind) = (self.0.read_u8().await?, self.0.read_u8().await?);
            let id = self.0.read_u64().await?;
            let mut body = vec![0; length as usize - 10];
            self.0.read_exact(&mut body).await?;
            Ok::<_, std::io::Error>((tag, kind, id, body))
        };
        timeout(PATIENCE, reading)
            .await
            .expect("a frame in time")
            .expect("a frame")
    }

    /// Reads until the other side closes.
    pub(crate) async fn read_to_end(&mut self) {
        let mut sink = [0; 4096];
        let closed = async { while self.0.read(&mut sink).await.is_ok_and(|count| count > 0) {} };
        timeout(PATIENCE, closed).await.expect("closed in time");
    }
}

/// A hello of version 1: cluster id, node id, name, incarnation, and the id wanted at the other
/// end. Numbers below 128.
pub(crate) fn hello(cluster_id: Option<&str>, id: u8, name: &str, incarnation: u8) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    let cluster_id = cluster_id.map_or_else(|| vec![0], |id| [vec![1], text(id)].concat());
    [
        vec![0, 1],
        cluster_id,
        vec![id],
        text(name),
        vec![incarnation, 0],
    ]
    .concat()
}
