//! An unmodified component: plain XEP-0114, written by hand.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use xmpp_core::framer::{Element, Frame, Framer, Limits};
use xmpp_core::{handshake, ns};

use super::SECRET;

pub struct Component {
    stream: TcpStream,
    framer: Framer,
    /// Whether pings are answered, by an error as a component that knows none would.
    pub answers: bool,
}

impl Component {
    /// Connects and shows the secret.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut component = Self::connect_as(address, "cb1.example.test", SECRET).await;
        assert!(
            component
                .element()
                .await
                .is("handshake", ns::COMPONENT_ACCEPT)
        );
        component
    }

    /// The same, without waiting for the answer.
    pub async fn connect_as(address: SocketAddr, to: &str, secret: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("connected");
        let mut component = Self {
            stream,
            framer: Framer::new(Limits::default()),
            answers: true,
        };
        let (accept, streams) = (ns::COMPONENT_ACCEPT, ns::STREAMS);
        component
            .send(&format!(
                "<stream:stream xmlns='{accept}' xmlns:stream='{streams}' to='{to}'>"
            ))
            .await;
        let Some(Frame::Open(header)) = component.frame().await else {
            panic!("no header")
        };
        assert_eq!(header.from.as_deref(), Some("cb1.example.test"));
        let digest = handshake::digest(&header.id.expect("an id"), secret.as_bytes());
        component
            .send(&format!("<handshake>{digest}</handshake>"))
            .await;
        component
    }

    pub async fn send(&mut self, text: &str) {
        self.stream
            .write_all(text.as_bytes())
            .await
            .expect("written");
    }

    /// The id of the next stanza that is no ping of the side-car.
    pub async fn next_id(&mut self) -> String {
        loop {
            let element = self.element().await;
            if let Some(reply) = pong(&element) {
                if self.answers {
                    self.send(&reply).await;
                }
                continue;
            }
            return element.attribute("id").expect("an id").into_owned();
        }
    }

    /// Reads until the next ping of the side-car, and answers it or not.
    pub async fn next_ping(&mut self) {
        loop {
            let element = self.element().await;
            if let Some(reply) = pong(&element) {
                if self.answers {
                    self.send(&reply).await;
                }
                return;
            }
        }
    }

    /// The condition of the stream error that ends the stream.
    pub async fn stream_error(&mut self) -> String {
        let element = self.element().await;
        assert!(element.is("error", ns::STREAMS), "{:?}", element.bytes());
        let (name, _) = element.children().next().expect("a condition");
        let condition = name.to_owned();
        assert_eq!(self.frame().await, Some(Frame::Close));
        assert_eq!(self.frame().await, None);
        condition
    }

    pub async fn element(&mut self) -> Element {
        match self.frame().await {
            Some(Frame::Element(element)) => element,
            other => panic!("unexpected {other:?}"),
        }
    }

    /// The next frame; `None` when the connection is closed.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.framer.next_frame().expect("XML") {
                return Some(frame);
            }
            if self
                .stream
                .read_buf(self.framer.buffer())
                .await
                .expect("read")
                == 0
            {
                return None;
            }
        }
    }
}

fn pong(element: &Element) -> Option<String> {
    let ping = element
        .children()
        .any(|(name, namespace)| name == "ping" && namespace == ns::PING);
    let id = element.attribute("id").filter(|_| ping)?;
    Some(format!(
        "<iq type='error' id='{id}' from='cb1.example.test' to='example.test'/>"
    ))
}
