//! From a TCP connection to two nodes that accepted each other: TLS, then one hello frame from each
//! side.
//!
//! The dialling side speaks first. The accepting side answers with its own hello only after it
//! accepted, so a hello is also consent; otherwise it sends a refusal that names the reason.

use std::io;
use std::sync::Arc;

use rustls::CommonState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::connection::{CLOSE_TIMEOUT, Opened};
use super::frame::{
    Decoder, Frame, FrameError, HEADER_BYTES, Header, MAX_BODY_BYTES, MAX_HELLO_BYTES, Tag,
};
use super::hello::{Hello, Refusal};
use super::identity::PeerTls;
use super::outbox::WRITE_BYTES;

/// Why two nodes did not come together.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address is not `host:port`, or its host has no address.
    #[error("cannot resolve '{address}'")]
    Resolve {
        /// As configured.
        address: String,
        /// The resolver's error; `None`: no addresses.
        source: Option<io::Error>,
    },
    /// No TCP connection.
    #[error("cannot connect to {address}")]
    Connect {
        /// The resolved address.
        address: std::net::SocketAddr,
        /// The socket's error.
        source: io::Error,
    },
    /// TLS failed, or the connection broke during the handshake.
    #[error("the handshake failed: {0}")]
    Handshake(#[from] io::Error),
    /// It took too long.
    #[error("the handshake took too long")]
    Timeout,
    /// What came was not our protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The first frame was no hello.
    #[error("the peer did not begin with a hello frame")]
    NoHello,
    /// We refuse the peer.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The peer refuses us.
    #[error("the peer refused: {0}")]
    RefusedByPeer(String),
    /// This node is shutting down.
    #[error("this node is shutting down")]
    ShuttingDown,
}

impl DialError {
    /// The reason, if it is a refusal by either side: trying again at once is of no use.
    pub(super) fn refusal(&self) -> Option<String> {
        match self {
            Self::Refused(refusal) => Some(refusal.to_string()),
            Self::RefusedByPeer(reason) => Some(reason.clone()),
            _ => None,
        }
    }
}

/// Who is looked for at an address.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) id: u64,
    pub(super) name: Arc<str>,
}

impl Wanted {
    fn check(&self, found: &Hello) -> Result<(), Refusal> {
        if found.node_id == self.id && found.name == *self.name {
            return Ok(());
        }
        let wanted = format!("{} ('{}')", self.id, self.name);
        Err(Refusal::NotWanted {
            found: found.node_id,
            name: found.name.clone(),
            wanted,
        })
    }
}

/// The dialling side. `host` is what was configured, without the port.
pub(super) async fn dial(
    tcp: TcpStream,
    host: &str,
    tls: &dyn PeerTls,
    mut local: watch::Receiver<Arc<Hello>>,
    wanted: Option<&Wanted>,
) -> Result<Opened, DialError> {
    let ours = local.borrow_and_update().clone();
    tcp.set_nodelay(true)?;
    let server_name = tls
        .server_name(host)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut stream = TlsConnector::from(tls.client(wanted.map(|wanted| &*wanted.name)))
        .connect(server_name, tcp)
        .await?;
    stream.get_mut().1.set_buffer_limit(Some(WRITE_BYTES));
    let certified = certified_name(stream.get_ref().1, tls);
    let mut stream = TlsStream::from(stream);
    let mut decoder = Decoder::new(MAX_HELLO_BYTES);

    write(
        &mut stream,
        Tag::Hello,
        &ours.encode(wanted.map(|wanted| wanted.id)),
    )
    .await?;
    let checked = match read(&mut stream, &mut decoder).await? {
        Frame {
            header: Header {
                tag: Tag::Hello, ..
            },
            body,
        } => check(&body, &ours, certified, wanted),
        Frame {
            header: Header {
                tag: Tag::Refused, ..
            },
            body,
        } => {
            return Err(DialError::RefusedByPeer(
                String::from_utf8_lossy(&body).into_owned(),
            ));
        }
        _ => return Err(DialError::NoHello),
    };
    match checked {
        Ok(hello) => {
            decoder.allow(MAX_BODY_BYTES);
            Ok(Opened {
                stream,
                decoder,
                hello: Arc::new(hello),
                local,
            })
        }
        Err(refusal) => Err(refuse(stream, refusal).await),
    }
}

/// An accepted connection whose hello is good, before our own hello consents to it.
pub(super) struct Guest {
    opened: Opened,
    /// What we say, and checked it against.
    ours: Arc<Hello>,
}

/// The accepting side, up to the decision.
pub(super) async fn receive(
    tcp: TcpStream,
    tls: &dyn PeerTls,
    mut local: watch::Receiver<Arc<Hello>>,
) -> Result<Guest, DialError> {
    let ours = local.borrow_and_update().clone();
    tcp.set_nodelay(true)?;
    let mut stream = TlsAcceptor::from(tls.server()).accept(tcp).await?;
    stream.get_mut().1.set_buffer_limit(Some(WRITE_BYTES));
    let certified = certified_name(stream.get_ref().1, tls);
    let mut stream = TlsStream::from(stream);
    let mut decoder = Decoder::new(MAX_HELLO_BYTES);

    let frame = read(&mut stream, &mut decoder).await?;
    if frame.header.tag != Tag::Hello {
        return Err(DialError::NoHello);
    }
    match check(&frame.body, &ours, certified, None) {
        Ok(hello) => {
            decoder.allow(MAX_BODY_BYTES);
            Ok(Guest {
                opened: Opened {
                    stream,
                    decoder,
                    hello: Arc::new(hello),
                    local,
                },
                ours,
            })
        }
        Err(refusal) => Err(refuse(stream, refusal).await),
    }
}

impl Guest {
    /// Who it is.
    pub(super) fn hello(&self) -> &Arc<Hello> {
        &self.opened.hello
    }

    /// Consents: sends our hello.
    pub(super) async fn welcome(mut self) -> Result<Opened, DialError> {
        write(&mut self.opened.stream, Tag::Hello, &self.ours.encode(None)).await?;
        Ok(self.opened)
    }

    /// Refuses it.
    pub(super) async fn refuse(self, refusal: Refusal) -> DialError {
        refuse(self.opened.stream, refusal).await
    }
}

fn certified_name(session: &CommonState, tls: &dyn PeerTls) -> Option<String> {
    tls.node_name(session.peer_certificates()?)
}

fn check(
    body: &[u8],
    local: &Hello,
    certified: Option<String>,
    wanted: Option<&Wanted>,
) -> Result<Hello, Refusal> {
    let (hello, wants) = Hello::decode(body)?;
    local.check(&hello, &certified.ok_or(Refusal::NoRole)?)?;
    if let Some(wanted) = wanted {
        wanted.check(&hello)?;
    }
    match wants {
        Some(id) if id != local.node_id => Err(Refusal::NotWanted {
            found: local.node_id,
            name: local.name.clone(),
            wanted: id.to_string(),
        }),
        _ => Ok(hello),
    }
}

/// Tells the other side why, and waits a little until it has closed, so that the text is not lost
/// by a reset.
async fn refuse(mut stream: TlsStream<TcpStream>, refusal: Refusal) -> DialError {
    let telling = async {
        write(&mut stream, Tag::Refused, refusal.to_wire().as_bytes()).await?;
        stream.shutdown().await?;
        let mut sink = [0; 256];
        while stream.read(&mut sink).await? > 0 {}
        Ok::<(), io::Error>(())
    };
    // The refusal stands whether or not the peer stays to hear it.
    let _ = timeout(CLOSE_TIMEOUT, telling).await;
    refusal.into()
}

async fn write(stream: &mut TlsStream<TcpStream>, tag: Tag, body: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&Header::bare(tag).encode(body.len()));
    bytes.extend_from_slice(body);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

async fn read(
    stream: &mut TlsStream<TcpStream>,
    decoder: &mut Decoder,
) -> Result<Frame, DialError> {
    loop {
        if let Some(frame) = decoder.next_frame()? {
            return Ok(frame);
        }
        if stream.read_buf(decoder.buffer()).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}
