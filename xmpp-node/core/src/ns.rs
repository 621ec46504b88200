//! XML namespaces, the only place where their names are written.

/// Content namespace of a component stream (XEP-0114).
pub const COMPONENT_ACCEPT: &str = "jabber:component:accept";
/// Content namespace of a client stream (RFC 6120, 4.8.2).
pub const CLIENT: &str = "jabber:client";
/// Content namespace of a stream between servers; known only to be refused.
pub const SERVER: &str = "jabber:server";
/// Namespace of the stream header, of features and of stream errors (RFC 6120, 4.8.1).
pub const STREAMS: &str = "http://etherx.jabber.org/streams";
/// Namespace of stream error conditions (RFC 6120, 4.9.2).
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// Namespace of stanza error conditions (RFC 6120, 8.3.2).
pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// STARTTLS negotiation (RFC 6120, 5).
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// SASL negotiation (RFC 6120, 6).
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// Resource binding (RFC 6120, 7).
pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// Stream management (XEP-0198).
pub const SM: &str = "urn:xmpp:sm:3";
/// Ping (XEP-0199).
pub const PING: &str = "urn:xmpp:ping";
/// Unique stanza ids (XEP-0359).
pub const STANZA_ID: &str = "urn:xmpp:sid:0";
/// Delayed delivery (XEP-0203).
pub const DELAY: &str = "urn:xmpp:delay";
/// Advertised limits of a stream (XEP-0478).
pub const STREAM_LIMITS: &str = "urn:xmpp:stream-limits:0";
/// Service discovery, identity and features (XEP-0030).
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// Service discovery, items (XEP-0030).
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// Software version (XEP-0092).
pub const VERSION: &str = "jabber:iq:version";
/// Entity capabilities (XEP-0115).
pub const CAPABILITIES: &str = "http://jabber.org/protocol/caps";
/// Sessions of clients, needed no longer (RFC 3921, 3).
pub const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
/// Types of channel binding on offer (XEP-0440).
pub const CHANNEL_BINDING: &str = "urn:xmpp:sasl-cb:0";
/// Our own: names the software in entity capabilities.
pub const SOFTWARE: &str = "urn:xmppcluster:node";
/// Contact list (RFC 6121, 2).
pub const ROSTER: &str = "jabber:iq:roster";
/// Server dialback; many peers declare its prefix `db` although they never use it (XEP-0220).
pub const DIALBACK: &str = "jabber:server:dialback";
/// Our own: a component asks in its stream header for XEP-0198 before it is bound.
pub const MANAGEMENT: &str = "urn:xmppcluster:management:0";
/// Bound to the prefix `xml` for ever (Namespaces in XML 1.0, 3).
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// Bound to the prefix `xmlns` for ever (Namespaces in XML 1.0, 3).
pub const XMLNS: &str = "http://www.w3.org/2000/xmlns/";
