//! A client by tokio-xmpp that sends each text back. Argument: JSON of domain, user, password, nodes (host:port each, of which it
//! knows the first only). Says `online JID` and `heard TEXT`.

use futures::StreamExt;
use tokio_xmpp::jid::BareJid;
use tokio_xmpp::parsers::message::{Message, MessageType};
use tokio_xmpp::parsers::presence::Presence;
use tokio_xmpp::xmlstream::Timeouts;
use tokio_xmpp::{Client, Event, connect::DnsConfig};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    rustls::crypto::ring::default_provider().install_default().expect("the first provider");
    let argument = std::env::args().nth(1).expect("an argument");
    let spec: serde_json::Value = serde_json::from_str(&argument).expect("JSON");
    let text = |key: &str| spec[key].as_str().expect("a text").to_owned();
    let jid: BareJid = format!("{}@{}", text("user"), text("domain")).parse().expect("an address");
    let node = DnsConfig::addr(spec["nodes"][0].as_str().expect("a node"));
    let mut bot = Client::new_starttls(jid, text("password"), node, Timeouts::default());
    while let Some(event) = bot.next().await {
        match event {
            Event::Online { bound_jid, resumed, .. } => {
                println!("{} {bound_jid}", if resumed { "resumed" } else { "online" });
                bot.send_stanza(Presence::available().into()).await.expect("presence is sent");
            }
            Event::Stanza(stanza) => {
                let Ok(message) = Message::try_from(stanza) else { continue };
                let (Some(from), Some(body)) = (message.from, message.bodies.values().next()) else { continue };
                if message.type_ == MessageType::Error {
                    continue;
                }
                println!("heard {body}");
                let answer = Message::chat(from).with_body(Default::default(), body.clone());
                let _ = bot.send_stanza(answer.into()).await; // it is kept for the next stream
            }
            Event::Disconnected(error) => eprintln!("{error}"),
        }
    }
}
