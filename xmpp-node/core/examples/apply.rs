//! What it costs to take stanzas: reading and packing at the node that has the stream, applying at every node.
//!
//! `cargo run --release -p xmpp-core --example apply`

use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use xmpp_core::framer::{Frame, Framer, Limits as FramerLimits};
use xmpp_core::ns;
use xmpp_core::router::{
    BatchBuilder, ChunkHeader, Command, Limits, News, Router, SessionId, StanzaPacker,
};
use xmpp_core::stanza::Stanza;

const DOMAIN: &str = "example.test";
/// Bridges that send to each other in pairs.
const BRIDGES: u64 = 64;
/// Stanzas of one entry, from this many senders.
const STANZAS: u64 = 64;
const SENDERS: u64 = 4;
/// Bytes of one stanza.
const BYTES: usize = 300;
const ENTRIES: u64 = 20_000;

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut cluster = Cluster::new()?;
    let mut framer = Framer::new(FramerLimits::default());
    framer.buffer().extend_from_slice(
        b"<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'>",
    );
    framer.next_frame()?;
    let (mut reading, mut applying) = (Duration::ZERO, Duration::ZERO);
    for entry in 0..ENTRIES {
        let mut pieces = Vec::new();
        for sender in 0..SENDERS {
            let bridge = recipient(entry, sender) ^ 1;
            let text = message(bridge);
            for _ in 0..STANZAS / SENDERS {
                framer.buffer().extend_from_slice(text.as_bytes());
            }
            let begin = Instant::now();
            pieces.extend(read(&mut framer, bridge)?);
            reading += begin.elapsed();
        }
        let sent = pieces.len() as u64 / 2;
        // What came with the entry before is confirmed by its recipients.
        for sender in 0..SENDERS {
            let bridge = recipient(entry, sender);
            let upto = cluster.positions[usize::try_from(bridge)?];
            pieces.push(
                Command::Acknowledge {
                    session: session(bridge),
                    stream: stream(bridge),
                    upto,
                }
                .encode(),
            );
        }
        let begin = Instant::now();
        cluster.apply(&pieces, sent + SENDERS)?;
        applying += begin.elapsed();
        for sender in 0..SENDERS {
            let bridge = recipient(entry, sender);
            cluster.positions[usize::try_from(bridge)?] += STANZAS / SENDERS;
        }
    }
    let stanzas = u32::try_from(ENTRIES * STANZAS)?;
    println!("{stanzas} stanzas of {BYTES} bytes, {STANZAS} an entry from {SENDERS} senders");
    println!(
        "reading and packing: {} ns a stanza",
        (reading / stanzas).as_nanos()
    );
    println!(
        "applying:            {} ns a stanza",
        (applying / stanzas).as_nanos()
    );
    assert_eq!(cluster.router.ledger().accepted, u64::from(stanzas));
    assert_eq!(cluster.router.unaccounted(), 0);
    Ok(())
}

/// The bridge that gets what the sender of this number sends with an entry.
fn recipient(entry: u64, sender: u64) -> u64 {
    ((entry * SENDERS + sender) % BRIDGES) ^ 1
}

fn session(bridge: u64) -> SessionId {
    // Spread as random ids are.
    SessionId(u128::from(bridge + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

fn domain(bridge: u64) -> String {
    format!("bridge{bridge}.{DOMAIN}")
}

/// The number of the request that binds a bridge: configuration and bridges come before.
fn stream(bridge: u64) -> u64 {
    2 + BRIDGES + bridge
}

/// A message of a bridge to its neighbour.
fn message(bridge: u64) -> String {
    let head = format!(
        "<message from='caller@{}/line' to='callee@{}/line' id='0123456789' type='chat'><body>",
        domain(bridge),
        domain(bridge ^ 1)
    );
    let tail = "</body></message>";
    let body = "x".repeat(BYTES.saturating_sub(head.len() + tail.len()));
    format!("{head}{body}{tail}")
}

/// Reads what the framer holds, as a connection does.
fn read(framer: &mut Framer, bridge: u64) -> Result<[Bytes; 2], Box<dyn Error>> {
    let mut packer = StanzaPacker::default();
    while let Some(frame) = framer.next_frame()? {
        let Frame::Element(element) = frame else {
            continue;
        };
        let stanza = Stanza::parse(&element, None, ns::COMPONENT_ACCEPT, DOMAIN)?;
        let stanza = stanza.ok_or("no stanza")?;
        let to = stanza
            .to
            .as_ref()
            .ok_or("no recipient")?
            .domain()
            .to_owned();
        packer.push(&stanza, &to, stanza.reject());
    }
    let (command, raw) = packer.finish(session(bridge), stream(bridge));
    Ok([command, raw])
}

struct Cluster {
    router: Router,
    index: u64,
    next_request: u64,
    news: Vec<News>,
    /// Stanzas that each bridge was sent before the entry at hand.
    positions: Vec<u64>,
}

impl Cluster {
    fn new() -> Result<Self, Box<dyn Error>> {
        let mut cluster = Self {
            router: Router::new(),
            index: 0,
            next_request: 1,
            news: Vec::new(),
            positions: vec![0; usize::try_from(BRIDGES)?],
        };
        let configure = Command::Configure {
            cluster: "cluster",
            domain: DOMAIN,
            limits: Limits::default(),
            expected: 0,
        };
        cluster.apply(&[configure.encode()], 1)?;
        for bridge in 0..BRIDGES {
            let domain = &domain(bridge);
            cluster.apply(
                &[Command::PutBridge {
                    domain,
                    sealed: b"s",
                }
                .encode()],
                1,
            )?;
        }
        for bridge in 0..BRIDGES {
            let bind = Command::Bind {
                session: session(bridge),
                domain: &domain(bridge),
                generation: 1,
                managed: true,
            };
            cluster.apply(&[bind.encode()], 1)?;
        }
        Ok(cluster)
    }

    fn apply(&mut self, pieces: &[Bytes], count: u64) -> Result<(), Box<dyn Error>> {
        let mut batch = BatchBuilder::new(self.index, 32 * 1024);
        let header = ChunkHeader {
            node: 1,
            incarnation: 1,
            first: self.next_request,
            count: u32::try_from(count)?,
        };
        batch.chunk(header, pieces);
        self.index += 1;
        self.next_request += count;
        self.news.clear();
        self.router
            .apply(self.index, &batch.finish(), &mut self.news)?;
        Ok(())
    }
}
