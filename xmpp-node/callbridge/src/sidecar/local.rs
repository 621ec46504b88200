//! The local component's stream: the server's end of XEP-0114 on loopback.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use xmpp_core::error::{StreamCondition, StreamError};
use xmpp_core::framer::{Element, Frame, Framer};
use xmpp_core::stanza::Stanza;
use xmpp_core::text::escape;
use xmpp_core::{handshake, ns};

use super::Settings;

/// A local component that has shown the secret.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) stream: TcpStream,
    pub(crate) framer: Framer,
    /// `xml:lang` of its header.
    lang: Option<String>,
}

/// Why a local stream ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    /// It closed the stream or the connection.
    #[error("the local component closed its stream")]
    Closed,
    /// It did something wrong and was told.
    #[error("the local component was refused: {0}")]
    Refused(StreamError),
    /// It did not show the secret in time.
    #[error("the local component did not authenticate in time")]
    Late,
    /// The connection broke.
    #[error("connection of the local component: {0}")]
    Io(#[from] std::io::Error),
}

impl From<StreamError> for LocalError {
    fn from(error: StreamError) -> Self {
        Self::Refused(error)
    }
}

impl From<StreamCondition> for LocalError {
    fn from(condition: StreamCondition) -> Self {
        Self::Refused(condition.into())
    }
}

impl Local {
    /// Takes a connection through header and handshake; `id` must be unpredictable. The empty `<handshake/>` that welcomes
    /// the component is left to [`welcome`](Self::welcome), as only then it may send.
    pub(crate) async fn authenticate(
        stream: TcpStream,
        settings: &Settings,
        id: &str,
    ) -> Result<Self, LocalError> {
        let mut local = Self {
            stream,
            framer: Framer::new(settings.limits),
            lang: None,
        };
        let result = match tokio::time::timeout(AUTHENTICATE, local.negotiate(settings, id)).await {
            Ok(result) => result,
            Err(_) => Err(LocalError::Late),
        };
        match result {
            Ok(()) => Ok(local),
            Err(error) => Err(local.refuse(error).await),
        }
    }

    /// Tells the component that it is served.
    pub(crate) async fn welcome(&mut self) -> std::io::Result<()> {
        self.stream.write_all(b"<handshake/>").await
    }

    /// Tells the error, if there is one to tell, and closes.
    pub(crate) async fn refuse(mut self, error: LocalError) -> LocalError {
        let farewell = match &error {
            LocalError::Refused(error) => format!("{}</stream:stream>", error.to_xml()),
            LocalError::Closed => "</stream:stream>".to_owned(),
            LocalError::Late => format!(
                "{}</stream:stream>",
                StreamError::new(StreamCondition::ConnectionTimeout).to_xml()
            ),
            LocalError::Io(_) => return error,
        };
        let closing = async {
            self.stream.write_all(farewell.as_bytes()).await?;
            self.stream.shutdown().await
        };
        let _ = tokio::time::timeout(FAREWELL, closing).await;
        error
    }

    /// What an element of the component is for the cluster: one stanza, rewritten so that it means the same in our stream.
    pub(crate) fn to_cluster(&self, element: &Element, jid: &str) -> Result<Bytes, StreamError> {
        let stanza = Stanza::parse(element, self.lang.as_deref(), ns::COMPONENT_ACCEPT, "")?;
        let stanza = stanza.ok_or(StreamCondition::UnsupportedStanzaType)?;
        // The cluster would end our stream for these, and with it everybody's traffic; so they end here.
        match &stanza.from {
            None if stanza.from_fault.is_some() => return Err(StreamCondition::InvalidFrom.into()),
            None => return Err(StreamCondition::ImproperAddressing.into()),
            Some(from) if from.domain() != jid => return Err(StreamCondition::InvalidFrom.into()),
            Some(_) => (),
        }
        match (&stanza.to, stanza.to_fault) {
            (Some(_), _) => Ok(stanza.to_routed().bytes),
            // An address that is none is answered by the cluster, which must see it.
            (None, Some(_)) => Ok(element.bytes().clone()),
            (None, None) => Err(StreamCondition::ImproperAddressing.into()),
        }
    }

    async fn negotiate(&mut self, settings: &Settings, id: &str) -> Result<(), LocalError> {
        let Frame::Open(header) = self.next_frame().await? else {
            return Err(StreamCondition::NotWellFormed.into());
        };
        let answer = format!(
            "<?xml version='1.0'?><stream:stream xmlns='{}' xmlns:stream='{}' from='{}' id='{id}' xml:lang='en'>",
            ns::COMPONENT_ACCEPT,
            ns::STREAMS,
            escape(&settings.jid),
        );
        self.stream.write_all(answer.as_bytes()).await?;
        if header.content_ns != ns::COMPONENT_ACCEPT {
            return Err(StreamCondition::InvalidNamespace.into());
        }
        if header
            .to
            .as_deref()
            .is_some_and(|to| to != settings.jid && to != settings.name)
        {
            return Err(StreamCondition::HostUnknown.into());
        }
        self.lang = header.lang;
        let Frame::Element(element) = self.next_frame().await? else {
            return Err(LocalError::Closed);
        };
        let secret = settings.secret.load().await?;
        let presented = element.text();
        let right = handshake::verify(id, secret.expose_secret().as_bytes(), presented.trim());
        if !element.is("handshake", ns::COMPONENT_ACCEPT) || !right {
            return Err(StreamCondition::NotAuthorized.into());
        }
        Ok(())
    }

    async fn next_frame(&mut self) -> Result<Frame, LocalError> {
        loop {
            if let Some(frame) = self.framer.next_frame().map_err(StreamError::from)? {
                return Ok(frame);
            }
            let buffer: &mut BytesMut = self.framer.buffer();
            buffer.reserve(1024);
            if self.stream.read_buf(buffer).await? == 0 {
                return Err(LocalError::Closed);
            }
        }
    }
}

/// How long a local component may take to show the secret.
const AUTHENTICATE: Duration = Duration::from_secs(10);
/// How long a last word may take to leave.
const FAREWELL: Duration = Duration::from_millis(200);
