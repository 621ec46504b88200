//! One node of the miniature cluster: XEP-0114 with the XEP-0198 opt-in.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use xmpp_core::error::{StreamCondition, StreamError};
use xmpp_core::framer::{Element, Frame, Framer, Limits};
use xmpp_core::{handshake, ns};

use super::{Cluster, SECRET, Session};

/// How a node treats its streams from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    Normal,
    /// Keeps every connection and neither reads nor writes.
    Frozen,
    /// Answers a header with this error.
    Refuse(StreamCondition),
    /// Knows no XEP-0198.
    Plain,
}

/// A node that runs until it is killed or dropped.
pub struct Node {
    pub address: SocketAddr,
    pub conduct: watch::Sender<Conduct>,
    cluster: Arc<Cluster>,
    tls: Option<TlsAcceptor>,
    alive: CancellationToken,
}

impl Node {
    pub async fn start(cluster: &Arc<Cluster>) -> Self {
        Self::start_with(cluster, None).await
    }

    pub async fn start_with(cluster: &Arc<Cluster>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let node = Self {
            address: listener.local_addr().expect("an address"),
            conduct: watch::Sender::new(Conduct::Normal),
            cluster: cluster.clone(),
            tls,
            alive: CancellationToken::new(),
        };
        node.serve(listener);
        node
    }

    /// Cuts every connection and listens no more.
    pub fn kill(&mut self) {
        self.alive.cancel();
        self.alive = CancellationToken::new();
    }

    /// Listens again at the same address.
    pub async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address)
            .await
            .expect("the same port");
        self.serve(listener);
    }

    fn serve(&self, listener: TcpListener) {
        let (cluster, alive, tls) = (self.cluster.clone(), self.alive.clone(), self.tls.clone());
        let conduct = self.conduct.subscribe();
        tokio::spawn(async move {
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted.expect("a connection").0,
                    () = alive.cancelled() => return,
                };
                let (cluster, alive, tls) = (cluster.clone(), alive.clone(), tls.clone());
                let conduct = conduct.clone();
                tokio::spawn(async move {
                    let serving = async {
                        stream.set_nodelay(true).expect("an option");
                        match tls {
                            None => serve(stream, &cluster, conduct).await,
                            Some(tls) => serve(tls.accept(stream).await?, &cluster, conduct).await,
                        }
                    };
                    tokio::select! {
                        _ = serving => (),
                        () = alive.cancelled() => (),
                    }
                });
            }
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.alive.cancel();
    }
}

async fn serve(
    io: impl AsyncRead + AsyncWrite,
    cluster: &Cluster,
    mut conduct: watch::Receiver<Conduct>,
) -> std::io::Result<()> {
    let (reader, writer) = tokio::io::split(io);
    let mut stream = Stream {
        reader: Box::pin(reader),
        writer: Box::pin(writer),
        framer: Framer::new(Limits::default()),
        cluster,
        session: None,
        sent: 0,
        told: 0,
    };
    loop {
        let news = cluster.news.notified();
        let now = *conduct.borrow_and_update();
        if now == Conduct::Frozen {
            let _ = conduct.changed().await;
            continue;
        }
        while let Some(frame) = stream.framer.next_frame().expect("a bridge sends XML") {
            if !stream.take(frame, now).await? {
                stream.writer.shutdown().await?;
                return Ok(());
            }
        }
        stream.deliver().await?;
        tokio::select! {
            read = stream.reader.read_buf(stream.framer.buffer()) => if read? == 0 { return Ok(()) },
            () = news => (),
            _ = conduct.changed() => (),
        }
    }
}

struct Stream<'a, R, W> {
    reader: R,
    writer: W,
    framer: Framer,
    cluster: &'a Cluster,
    /// The id of the bound session.
    session: Option<String>,
    /// Deliveries written on this stream, acknowledged ones of the session included.
    sent: u32,
    told: u32,
}

impl<R, W: AsyncWrite + Unpin> Stream<'_, R, W> {
    /// `false`: the stream ends.
    async fn take(&mut self, frame: Frame, conduct: Conduct) -> std::io::Result<bool> {
        match frame {
            Frame::Close => {
                self.cluster.lock().closed += 1;
                self.write("</stream:stream>").await?;
                Ok(false)
            }
            Frame::Open(header) => {
                let to = header.to.unwrap_or_default();
                let granted = header.management && conduct != Conduct::Plain;
                let management = match granted {
                    true => format!(" xmlns:xc='{}' xc:management='1'", ns::MANAGEMENT),
                    false => String::new(),
                };
                self.write(&format!(
                    "<?xml version='1.0'?><stream:stream xmlns='{}' xmlns:stream='{}' from='{to}' id='x&amp;1' xml:lang='en'{management}>",
                    ns::COMPONENT_ACCEPT,
                    ns::STREAMS
                ))
                .await?;
                match conduct {
                    Conduct::Refuse(condition) => self.refuse(condition).await,
                    _ => Ok(true),
                }
            }
            Frame::Element(element) => self.take_element(element, conduct).await,
        }
    }

    async fn take_element(&mut self, element: Element, conduct: Conduct) -> std::io::Result<bool> {
        match (element.name(), element.ns()) {
            ("handshake", _) => {
                if !handshake::verify("x&1", SECRET.as_bytes(), &element.text()) {
                    return self.refuse(StreamCondition::NotAuthorized).await;
                }
                if conduct == Conduct::Plain {
                    let mut state = self.cluster.lock();
                    state
                        .sessions
                        .insert("plain".to_owned(), Session::default());
                    self.session = Some("plain".to_owned());
                }
                self.write("<handshake/>").await?;
            }
            ("enable", ns::SM) => {
                let id = {
                    let mut state = self.cluster.lock();
                    state.sessions_made += 1;
                    let id = format!("s{}", state.sessions_made);
                    state.sessions.insert(id.clone(), Session::default());
                    id
                };
                self.write(&format!(
                    "<enabled xmlns='{}' id='{id}' resume='true' max='30'/>",
                    ns::SM
                ))
                .await?;
                self.session = Some(id);
            }
            ("resume", ns::SM) => return self.resume(&element).await.map(|()| true),
            ("r", ns::SM) => self.tell(true).await?,
            ("a", ns::SM) => self.acknowledge(&element),
            (_, ns::COMPONENT_ACCEPT) => return self.accept(&element).await,
            other => panic!("unexpected {other:?}"),
        }
        Ok(true)
    }

    async fn resume(&mut self, element: &Element) -> std::io::Result<()> {
        let previd = element.attribute("previd").expect("an id").into_owned();
        let known = {
            let state = self.cluster.lock();
            match state.sessions.get(&previd) {
                Some(session) => Ok(session.accepted),
                None => Err(state
                    .forgotten
                    .get(&previd)
                    .copied()
                    .filter(|_| state.remembers_counts)),
            }
        };
        match known {
            Ok(h) => {
                self.session = Some(previd.clone());
                self.acknowledge(element);
                self.sent = self.cluster.lock().sessions[&previd].acknowledged;
                self.told = h;
                self.write(&format!(
                    "<resumed xmlns='{}' previd='{previd}' h='{h}'/>",
                    ns::SM
                ))
                .await
            }
            Err(h) => {
                let h = h.map(|h| format!(" h='{h}'")).unwrap_or_default();
                let (sm, stanzas) = (ns::SM, ns::STANZA_ERRORS);
                self.write(&format!(
                    "<failed xmlns='{sm}'{h}><item-not-found xmlns='{stanzas}'/></failed>"
                ))
                .await
            }
        }
    }

    async fn accept(&mut self, element: &Element) -> std::io::Result<bool> {
        let id = element.attribute("id").expect("an id").into_owned();
        if self.cluster.lock().poison.as_ref() == Some(&id) {
            return self.refuse(StreamCondition::InvalidFrom).await;
        }
        {
            let mut state = self.cluster.lock();
            state.accepted.push(id);
            let echo = state.echo;
            let session = self.session.as_ref().expect("bound before stanzas");
            let Some(session) = state.sessions.get_mut(session) else {
                return Ok(false);
            };
            session.accepted += 1;
            if echo {
                session.queue.push(Bytes::copy_from_slice(element.bytes()));
            }
        }
        self.tell(false).await?;
        Ok(true)
    }

    /// Tells what is accepted: when asked, or every sixteenth.
    async fn tell(&mut self, asked: bool) -> std::io::Result<()> {
        let Some(session) = self.session.clone().filter(|session| session != "plain") else {
            return Ok(());
        };
        let accepted = self
            .cluster
            .lock()
            .sessions
            .get(&session)
            .map_or(0, |session| session.accepted);
        if asked || accepted - self.told >= 16 {
            self.told = accepted;
            self.write(&format!("<a xmlns='{}' h='{accepted}'/>", ns::SM))
                .await?;
        }
        Ok(())
    }

    fn acknowledge(&mut self, element: &Element) {
        let h: u32 = element
            .attribute("h")
            .and_then(|h| h.parse().ok())
            .expect("a count");
        let mut state = self.cluster.lock();
        let Some(session) = self
            .session
            .as_ref()
            .and_then(|id| state.sessions.get_mut(id))
        else {
            return;
        };
        let newly = (h - session.acknowledged) as usize;
        session.queue.drain(..newly);
        session.acknowledged = h;
        state.confirmed = state.confirmed.max(h);
    }

    /// Writes what the session's queue holds and this stream has not written.
    async fn deliver(&mut self) -> std::io::Result<()> {
        let Some(id) = self.session.clone() else {
            return Ok(());
        };
        let due: Vec<Bytes> = {
            let state = self.cluster.lock();
            let Some(session) = state.sessions.get(&id) else {
                return Ok(());
            };
            session
                .queue
                .iter()
                .skip((self.sent - session.acknowledged) as usize)
                .cloned()
                .collect()
        };
        self.sent += due.len() as u32;
        self.writer.write_all(&due.concat()).await?;
        self.writer.flush().await
    }

    async fn refuse(&mut self, condition: StreamCondition) -> std::io::Result<bool> {
        let error = StreamError::new(condition).to_xml();
        self.write(&format!("{error}</stream:stream>")).await?;
        Ok(false)
    }

    async fn write(&mut self, text: &str) -> std::io::Result<()> {
        self.writer.write_all(text.as_bytes()).await?;
        self.writer.flush().await
    }
}
