//! A client as light as can be, of which one process has thousands: direct TLS, SCRAM-SHA-256, a resource, XEP-0198.
//!
//! It has one message at a time in memory and counts what it handled; what a real client does, foreign software shows
//! (`tests/interop`).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::{digest, hmac, pbkdf2};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use xmpp_core::framer::{Element, Frame, Framer, Limits};
use xmpp_core::ns;
use xmpp_node::demo::site::DOMAIN;

/// Bytes asked for in one read.
const READ: usize = 4096;

/// How all clients of a process connect, and what they know of passwords.
pub struct Clients {
    tls: TlsConnector,
    password: String,
    /// PBKDF2 by user, so that the load of a bench is not its own.
    salted: Mutex<HashMap<String, [u8; 32]>>,
}

impl Clients {
    /// Clients that trust the CA in a file; all users have the same password.
    ///
    /// # Errors
    /// If the file holds no CA.
    pub fn new(ca: &Path, password: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca)? {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            password: password.to_owned(),
            salted: Mutex::default(),
        })
    }

    /// A stream whose features have come.
    ///
    /// # Errors
    /// If there is none.
    pub async fn connect(self: &Arc<Self>, to: SocketAddr) -> Result<Client> {
        let socket = TcpStream::connect(to).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from(DOMAIN)?;
        let mut client = Client {
            all: Arc::clone(self),
            stream: self.tls.connect(name, socket).await?,
            framer: Framer::new(Limits::default()),
            handled: 0,
        };
        client.open().await?;
        Ok(client)
    }

    fn salted(&self, user: &str, salt: &[u8], iterations: u32) -> Result<[u8; 32]> {
        let known = || self.salted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(salted) = known().get(user) {
            return Ok(*salted);
        }
        let iterations = iterations.try_into().context("no iterations")?;
        let (mut salted, algorithm) = ([0; 32], pbkdf2::PBKDF2_HMAC_SHA256);
        pbkdf2::derive(
            algorithm,
            iterations,
            salt,
            self.password.as_bytes(),
            &mut salted,
        );
        known().insert(user.to_owned(), salted);
        Ok(salted)
    }
}

/// One stream.
pub struct Client {
    all: Arc<Clients>,
    stream: TlsStream<TcpStream>,
    framer: Framer,
    /// Stanzas received since XEP-0198 was enabled.
    pub handled: u32,
}

impl Client {
    async fn open(&mut self) -> Result<()> {
        self.framer.reset();
        let (client, streams) = (ns::CLIENT, ns::STREAMS);
        self.send(&format!(
            "<stream:stream xmlns='{client}' xmlns:stream='{streams}' to='{DOMAIN}' version='1.0'>"
        ))
        .await?;
        let header = self.frame().await?;
        ensure!(matches!(header, Frame::Open(_)), "no header: {header:?}");
        let features = self.element().await?;
        ensure!(
            features.is("features", ns::STREAMS),
            "no features: {features:?}"
        );
        Ok(())
    }

    /// Authenticates by SCRAM-SHA-256.
    ///
    /// # Errors
    /// If the server does not let the user in.
    pub async fn log_in(&mut self, user: &str) -> Result<()> {
        let sasl = ns::SASL;
        let bare = format!("n={user},r=nonce");
        let first = BASE64_STANDARD.encode(format!("n,,{bare}"));
        self.send(&format!(
            "<auth xmlns='{sasl}' mechanism='SCRAM-SHA-256'>{first}</auth>"
        ))
        .await?;
        let challenge = self.element().await?;
        ensure!(challenge.is("challenge", sasl), "{challenge:?}");
        let challenge = String::from_utf8(BASE64_STANDARD.decode(challenge.text().as_ref())?)?;
        let field = |at: usize| {
            challenge
                .split(',')
                .nth(at)
                .and_then(|field| field.get(2..))
        };
        let [nonce, salt, iterations] = [0, 1, 2].map(|at| field(at).context("a field"));
        let salt = BASE64_STANDARD.decode(salt?)?;
        let salted = self.all.salted(user, &salt, iterations?.parse()?)?;
        let without = format!("c=biws,r={}", nonce?);
        let proof = proof(&salted, &format!("{bare},{challenge},{without}"));
        let last = BASE64_STANDARD.encode(format!("{without},p={proof}"));
        self.send(&format!("<response xmlns='{sasl}'>{last}</response>"))
            .await?;
        let success = self.element().await?;
        ensure!(success.is("success", sasl), "{success:?}");
        self.open().await
    }

    /// Binds a resource and enables XEP-0198; returns what resumes the session.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn bind(&mut self, resource: &str) -> Result<String> {
        let (bind, sm) = (ns::BIND, ns::SM);
        self.send(&format!(
            "<iq type='set' id='b'><bind xmlns='{bind}'><resource>{resource}</resource></bind></iq>\
             <enable xmlns='{sm}' resume='true'/>"
        ))
        .await?;
        let bound = self.element().await?;
        ensure!(
            bound.attribute("type").as_deref() == Some("result"),
            "{bound:?}"
        );
        let enabled = self.element().await?;
        ensure!(enabled.is("enabled", sm), "{enabled:?}");
        self.handled = 0;
        Ok(enabled.attribute("id").context("no id")?.into_owned())
    }

    /// Takes a session back, of which this many stanzas were handled.
    ///
    /// # Errors
    /// If the server does not give it.
    pub async fn resume(&mut self, id: &str, handled: u32) -> Result<()> {
        let sm = ns::SM;
        self.send(&format!(
            "<resume xmlns='{sm}' previd='{id}' h='{handled}'/>"
        ))
        .await?;
        let resumed = self.element().await?;
        ensure!(resumed.is("resumed", sm), "{resumed:?}");
        self.handled = handled;
        Ok(())
    }

    /// The body of the next message; questions of the server are answered meanwhile, all other stanzas are only counted.
    ///
    /// # Errors
    /// If the stream ends.
    pub async fn body(&mut self) -> Result<String> {
        loop {
            let element = self.element().await?;
            match element.name() {
                "r" => {
                    let (sm, h) = (ns::SM, self.handled);
                    self.send(&format!("<a xmlns='{sm}' h='{h}'/>")).await?;
                }
                "message" => {
                    self.handled = self.handled.wrapping_add(1);
                    if let Some(body) = element.text_at(&["body"]) {
                        return Ok(body.into_owned());
                    }
                }
                "iq" | "presence" => self.handled = self.handled.wrapping_add(1),
                _ => {}
            }
        }
    }

    async fn send(&mut self, text: &str) -> Result<()> {
        self.stream.write_all(text.as_bytes()).await?;
        Ok(self.stream.flush().await?)
    }

    async fn element(&mut self) -> Result<Element> {
        match self.frame().await? {
            Frame::Element(element) => Ok(element),
            other => bail!("no element: {other:?}"),
        }
    }

    async fn frame(&mut self) -> Result<Frame> {
        loop {
            if let Some(frame) = self.framer.next_frame()? {
                return Ok(frame);
            }
            let buffer = self.framer.buffer();
            buffer.reserve(READ);
            ensure!(
                self.stream.read_buf(buffer).await? > 0,
                "the connection ended"
            );
        }
    }
}

/// The client's proof (RFC 5802, 3).
fn proof(salted: &[u8], auth: &str) -> String {
    let sign = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
    };
    let key = sign(salted, "Client Key");
    let stored = digest::digest(&digest::SHA256, key.as_ref());
    let signature = sign(stored.as_ref(), auth);
    let pairs = key.as_ref().iter().zip(signature.as_ref());
    BASE64_STANDARD.encode(pairs.map(|(one, other)| one ^ other).collect::<Vec<u8>>())
}
