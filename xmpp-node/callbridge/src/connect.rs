//! One connection, from addresses to a bound stream: happy eyeballs, TLS, stream header, handshake, `<enable/>` or `<resume/>`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use xmpp_core::error::StreamCondition;
use xmpp_core::framer::{Element, Frame, Framer, Limits};
use xmpp_core::text::escape;
use xmpp_core::{handshake, ns};

use crate::config::Timing;
use crate::error::Failure;
use crate::session::{Opening, Session};
use crate::status::Server;

/// What a stream runs over.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// An authenticated stream.
pub(crate) struct Connection {
    pub(crate) io: Box<dyn Io>,
    pub(crate) framer: Framer,
    /// Whether the server granted XEP-0198.
    pub(crate) managed: bool,
}

/// Connects to the first of `servers` that answers; each gets `timing.next_address` before the next is tried beside it.
/// The winner and those that failed are taken out of `servers`.
pub(crate) async fn race(
    servers: &mut Vec<Server>,
    timing: &Timing,
) -> Result<(Server, TcpStream), (Server, Failure)> {
    let mut attempts = JoinSet::new();
    let mut started: Vec<Server> = Vec::new();
    let mut last = None;
    let mut waiting = std::mem::take(servers).into_iter();
    let next_at = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(next_at);
    loop {
        let more = waiting.len() > 0;
        let attempt = tokio::select! {
            biased;
            Some(joined) = attempts.join_next(), if !attempts.is_empty() => joined,
            () = &mut next_at, if more => {
                if let Some(server) = waiting.next() {
                    let limit = timing.connect;
                    let address = server.address;
                    started.push(server.clone());
                    attempts.spawn(async move { (server, connect(address, limit).await) });
                }
                next_at.as_mut().reset(Instant::now() + timing.next_address);
                continue;
            }
            else => {
                let nobody = io::Error::new(io::ErrorKind::NotFound, "no address to connect to");
                return Err(last.unwrap_or_else(|| (nowhere(), Failure::Connect(Arc::new(nobody)))));
            }
        };
        // A task that was aborted or panicked leaves its server in `started`: it is tried again in this round.
        let Ok((server, result)) = attempt else {
            continue;
        };
        started.retain(|other| *other != server);
        match result {
            Ok(stream) => {
                servers.append(&mut started);
                servers.extend(waiting);
                return Ok((server, stream));
            }
            Err(error) => {
                last = Some((server, Failure::Connect(Arc::new(error))));
                next_at.as_mut().reset(Instant::now());
            }
        }
    }
}

/// Secures the connection, exchanges stream headers and shows the secret (XEP-0114, 3).
pub(crate) async fn authenticate(
    tcp: TcpStream,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    hello: Hello<'_>,
    mut on_secured: impl FnMut(),
) -> Result<Connection, Failure> {
    let io: Box<dyn Io> = match tls {
        None => Box::new(tcp),
        Some((connector, name)) => {
            let stream = connector.connect(name, tcp).await;
            Box::new(stream.map_err(|error| Failure::Tls(Arc::new(error)))?)
        }
    };
    on_secured();
    greet(io, hello).await
}

/// Who we are, towards the server.
pub(crate) struct Hello<'a> {
    pub(crate) jid: &'a str,
    pub(crate) secret: &'a SecretString,
    pub(crate) management: bool,
    pub(crate) limits: Limits,
}

async fn greet(mut io: Box<dyn Io>, hello: Hello<'_>) -> Result<Connection, Failure> {
    let mut framer = Framer::new(hello.limits);
    let management = match hello.management {
        true => format!(" xmlns:xc='{}' xc:management='1'", ns::MANAGEMENT),
        false => String::new(),
    };
    let header = format!(
        "<?xml version='1.0'?><stream:stream xmlns='{}' xmlns:stream='{}'{management} to='{}'>",
        ns::COMPONENT_ACCEPT,
        ns::STREAMS,
        escape(hello.jid),
    );
    send(&mut io, &header).await?;
    let header = match next_frame(&mut io, &mut framer).await? {
        Frame::Open(header) => header,
        Frame::Element(_) | Frame::Close => return Err(Failure::Unexpected("no stream header")),
    };
    if header.content_ns != ns::COMPONENT_ACCEPT {
        return Err(Failure::Unexpected("not a stream for components"));
    }
    // A header-level error comes right after the header, which then may lack an id (RFC 6120, 4.9.1.2).
    let Some(id) = header.id else {
        let failure = expect_element(&mut io, &mut framer).await.err();
        return Err(failure.unwrap_or(Failure::Unexpected("stream header without id")));
    };
    let digest = handshake::digest(&id, hello.secret.expose_secret().as_bytes());
    send(&mut io, &format!("<handshake>{digest}</handshake>")).await?;
    let answer = expect_element(&mut io, &mut framer)
        .await
        .map_err(|failure| match failure {
            Failure::Stream(StreamCondition::NotAuthorized) => Failure::Authentication,
            other => other,
        })?;
    if !answer.is("handshake", ns::COMPONENT_ACCEPT) {
        return Err(Failure::Unexpected("no handshake"));
    }
    let managed = hello.management && header.management;
    Ok(Connection {
        io,
        framer,
        managed,
    })
}

/// How a stream was bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound {
    /// The former session goes on.
    pub(crate) resumed: bool,
    /// The former session is not known any more; whether the server said how far it had got.
    pub(crate) resumption_failed: Option<bool>,
}

/// Takes up the former session, or begins a new one (XEP-0198, 3 and 5).
pub(crate) async fn bind(
    connection: &mut Connection,
    session: &mut Session,
) -> Result<Bound, Failure> {
    let mut resumption_failed = None;
    if !connection.managed {
        session.plain();
        return Ok(Bound {
            resumed: false,
            resumption_failed,
        });
    }
    let Connection { io, framer, .. } = connection;
    if let Opening::Resume { previd, h } = session.opening() {
        let resume = format!(
            "<resume xmlns='{}' previd='{}' h='{h}'/>",
            ns::SM,
            escape(previd)
        );
        send(io, &resume).await?;
        let answer = expect_element(io, framer).await?;
        if answer.is("resumed", ns::SM) {
            let h = count(&answer).ok_or(Failure::Unexpected("resumed without h"))?;
            session.resumed(h, now())?;
            return Ok(Bound {
                resumed: true,
                resumption_failed,
            });
        }
        if !answer.is("failed", ns::SM) {
            return Err(Failure::Unexpected("neither resumed nor failed"));
        }
        let h = count(&answer);
        session.resume_failed(h);
        resumption_failed = Some(h.is_some());
    }
    send(io, &format!("<enable xmlns='{}' resume='true'/>", ns::SM)).await?;
    let answer = expect_element(io, framer).await?;
    if !answer.is("enabled", ns::SM) {
        return Err(Failure::Unexpected("not enabled"));
    }
    let resumable = matches!(answer.attribute("resume").as_deref(), Some("true" | "1"));
    let id = answer.attribute("id").filter(|_| resumable);
    session.enabled(id.as_deref(), now());
    Ok(Bound {
        resumed: false,
        resumption_failed,
    })
}

/// The `h` of an element.
pub(crate) fn count(element: &Element) -> Option<u32> {
    element.attribute("h")?.parse().ok()
}

/// The failure a `<stream:error/>` tells; `None` when the element is none.
pub(crate) fn stream_error(element: &Element) -> Option<Failure> {
    if !element.is("error", ns::STREAMS) {
        return None;
    }
    let named = element
        .children()
        .find(|(_, namespace)| namespace == ns::STREAM_ERRORS);
    let known = |name: &str| {
        let mut conditions = StreamCondition::ALL.iter().copied();
        conditions.find(|condition| condition.as_str() == name)
    };
    let condition = named.and_then(|(name, _)| known(name));
    Some(Failure::Stream(
        condition.unwrap_or(StreamCondition::UndefinedCondition),
    ))
}

/// The runtime's clock as the session wants it.
pub(crate) fn now() -> std::time::Instant {
    Instant::now().into_std()
}

async fn connect(address: std::net::SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let stream = match tokio::time::timeout(limit, TcpStream::connect(address)).await {
        Ok(result) => result?,
        Err(elapsed) => return Err(io::Error::new(io::ErrorKind::TimedOut, elapsed)),
    };
    // Small writes must not wait for the peer's delayed acknowledgement.
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn send(io: &mut Box<dyn Io>, text: &str) -> Result<(), Failure> {
    io.write_all(text.as_bytes()).await?;
    io.flush().await?;
    Ok(())
}

async fn expect_element(io: &mut Box<dyn Io>, framer: &mut Framer) -> Result<Element, Failure> {
    match next_frame(io, framer).await? {
        Frame::Element(element) => match stream_error(&element) {
            Some(failure) => Err(failure),
            None => Ok(element),
        },
        Frame::Close => Err(Failure::Closed),
        Frame::Open(_) => Err(Failure::Unexpected("second stream header")),
    }
}

async fn next_frame(io: &mut Box<dyn Io>, framer: &mut Framer) -> Result<Frame, Failure> {
    loop {
        if let Some(frame) = framer.next_frame()? {
            return Ok(frame);
        }
        let buffer: &mut BytesMut = framer.buffer();
        buffer.reserve(4096);
        if io.read_buf(buffer).await? == 0 {
            return Err(Failure::Closed);
        }
    }
}

/// Stands in where no server was known.
fn nowhere() -> Server {
    let address = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
    Server {
        target: address.into(),
        address,
    }
}
