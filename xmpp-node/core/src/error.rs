//! What may go wrong on a stream and with a stanza, by the names of RFC 6120.
//!
//! The only place where a fault becomes a wire condition. Knows nothing of streams, sockets or
//! routing.

use std::borrow::Cow;
use std::fmt;

use crate::framer::FrameError;
use crate::ns;
use crate::text::escape_into;

/// Declares an enum of conditions: variant and wire name side by side.
macro_rules! conditions {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $wire:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every condition, in the order of the RFC.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name of the condition's element.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $wire,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

conditions! {
    /// Why a stream is closed (RFC 6120, 4.9.3).
    StreamCondition {
        /// XML that is well-formed but no part of a stream.
        BadFormat = "bad-format",
        /// A prefix where none or another one belongs.
        BadNamespacePrefix = "bad-namespace-prefix",
        /// Another stream has this name or resource.
        Conflict = "conflict",
        /// The peer is silent for too long.
        ConnectionTimeout = "connection-timeout",
        /// The name in the header is served no longer.
        HostGone = "host-gone",
        /// The name in the header is not served.
        HostUnknown = "host-unknown",
        /// A stanza between two domains lacks `to` or `from`.
        ImproperAddressing = "improper-addressing",
        /// Our fault.
        InternalServerError = "internal-server-error",
        /// `from` is not what was authenticated.
        InvalidFrom = "invalid-from",
        /// Namespace of the stream or of its content is not supported.
        InvalidNamespace = "invalid-namespace",
        /// XML that violates XML 1.0 or Namespaces in XML.
        InvalidXml = "invalid-xml",
        /// Something was sent before authentication, or authentication failed.
        NotAuthorized = "not-authorized",
        /// XML that is not well-formed.
        NotWellFormed = "not-well-formed",
        /// A limit or a rule of this server.
        PolicyViolation = "policy-violation",
        /// Another server cannot be reached that is needed for authentication.
        RemoteConnectionFailed = "remote-connection-failed",
        /// Begin anew: certificate or features changed.
        Reset = "reset",
        /// The server lacks resources to serve the stream.
        ResourceConstraint = "resource-constraint",
        /// Comment, processing instruction, DTD or entity (RFC 6120, 11.1).
        RestrictedXml = "restricted-xml",
        /// Connect to another address; see [`StreamError::see_other_host`].
        SeeOtherHost = "see-other-host",
        /// The server stops; connect elsewhere.
        SystemShutdown = "system-shutdown",
        /// Something else, told by an element of its own namespace.
        UndefinedCondition = "undefined-condition",
        /// Not UTF-8 (RFC 6120, 11.6).
        UnsupportedEncoding = "unsupported-encoding",
        /// A mandatory feature is not supported.
        UnsupportedFeature = "unsupported-feature",
        /// A child of the stream that is neither a stanza nor known.
        UnsupportedStanzaType = "unsupported-stanza-type",
        /// `version` of the header is not supported.
        UnsupportedVersion = "unsupported-version",
    }
}

conditions! {
    /// Why a stanza was not accepted or not delivered (RFC 6120, 8.3.3).
    StanzaCondition {
        /// Not what the standard asks for.
        BadRequest = "bad-request",
        /// The name is taken.
        Conflict = "conflict",
        /// Known, but not done here.
        FeatureNotImplemented = "feature-not-implemented",
        /// No permission.
        Forbidden = "forbidden",
        /// The address is used no longer.
        Gone = "gone",
        /// The recipient's server failed.
        InternalServerError = "internal-server-error",
        /// Address or item is not there.
        ItemNotFound = "item-not-found",
        /// `to` is no JID.
        JidMalformed = "jid-malformed",
        /// Understood, but not by the recipient's criteria.
        NotAcceptable = "not-acceptable",
        /// Nobody may do this.
        NotAllowed = "not-allowed",
        /// Credentials are missing.
        NotAuthorized = "not-authorized",
        /// A limit or rule of the recipient's service.
        PolicyViolation = "policy-violation",
        /// The recipient is not there for the moment.
        RecipientUnavailable = "recipient-unavailable",
        /// Try another address.
        Redirect = "redirect",
        /// Register first.
        RegistrationRequired = "registration-required",
        /// The domain of `to` does not exist or is not served.
        RemoteServerNotFound = "remote-server-not-found",
        /// The domain of `to` is known but out of reach.
        RemoteServerTimeout = "remote-server-timeout",
        /// A queue is full.
        ResourceConstraint = "resource-constraint",
        /// The recipient does not offer this service.
        ServiceUnavailable = "service-unavailable",
        /// Subscribe first.
        SubscriptionRequired = "subscription-required",
        /// Something else.
        UndefinedCondition = "undefined-condition",
        /// Right request, wrong moment.
        UnexpectedRequest = "unexpected-request",
    }
}

/// What the sender of a stanza that got an error may do next (RFC 6120, 8.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// Retry after giving credentials.
    Auth,
    /// Do not retry.
    Cancel,
    /// Go on; it was only a warning.
    Continue,
    /// Retry after changing what was sent.
    Modify,
    /// Retry later.
    Wait,
}

impl ErrorType {
    /// Value of the attribute `type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Cancel => "cancel",
            Self::Continue => "continue",
            Self::Modify => "modify",
            Self::Wait => "wait",
        }
    }
}

impl StanzaCondition {
    /// The type RFC 6120, 8.3.3 gives to the condition; where it leaves a choice, the one that
    /// stops useless retries.
    pub const fn error_type(self) -> ErrorType {
        match self {
            Self::BadRequest
            | Self::JidMalformed
            | Self::NotAcceptable
            | Self::PolicyViolation
            | Self::Redirect => ErrorType::Modify,
            Self::Conflict
            | Self::FeatureNotImplemented
            | Self::Gone
            | Self::InternalServerError
            | Self::ItemNotFound
            | Self::NotAllowed
            | Self::RemoteServerNotFound
            | Self::ServiceUnavailable
            | Self::UndefinedCondition => ErrorType::Cancel,
            Self::Forbidden
            | Self::NotAuthorized
            | Self::RegistrationRequired
            | Self::SubscriptionRequired => ErrorType::Auth,
            Self::RecipientUnavailable
            | Self::RemoteServerTimeout
            | Self::ResourceConstraint
            | Self::UnexpectedRequest => ErrorType::Wait,
        }
    }

    /// The condition's number in the replicated log, 1 to 22. Numbers are never used anew.
    pub const fn code(self) -> u8 {
        match self {
            Self::BadRequest => 1,
            Self::Conflict => 2,
            Self::FeatureNotImplemented => 3,
            Self::Forbidden => 4,
            Self::Gone => 5,
            Self::InternalServerError => 6,
            Self::ItemNotFound => 7,
            Self::JidMalformed => 8,
            Self::NotAcceptable => 9,
            Self::NotAllowed => 10,
            Self::NotAuthorized => 11,
            Self::PolicyViolation => 12,
            Self::RecipientUnavailable => 13,
            Self::Redirect => 14,
            Self::RegistrationRequired => 15,
            Self::RemoteServerNotFound => 16,
            Self::RemoteServerTimeout => 17,
            Self::ResourceConstraint => 18,
            Self::ServiceUnavailable => 19,
            Self::SubscriptionRequired => 20,
            Self::UndefinedCondition => 21,
            Self::UnexpectedRequest => 22,
        }
    }

    /// The condition of a number written by [`code`](Self::code); `None` for a number this version
    /// does not know.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|condition| condition.code() == code)
    }
}

/// The error that ends a stream (RFC 6120, 4.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamError {
    /// The condition.
    pub condition: StreamCondition,
    /// English text for people, unescaped.
    pub text: Option<Cow<'static, str>>,
    /// Element of another namespace that tells more (RFC 6120, 4.9.4), as XML.
    pub application: Option<Cow<'static, str>>,
    /// Character data of the condition's element: where to go on `see-other-host`.
    pub value: Option<String>,
}

impl StreamError {
    /// An error without text.
    pub const fn new(condition: StreamCondition) -> Self {
        Self {
            condition,
            text: None,
            application: None,
            value: None,
        }
    }

    /// Adds a text for people.
    pub fn with_text(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Adds an application-specific condition; `xml` is written as it is.
    pub fn with_application(mut self, xml: impl Into<Cow<'static, str>>) -> Self {
        self.application = Some(xml.into());
        self
    }

    /// Sends the peer to `host`: name or address with an optional port, IPv6 in brackets (RFC 6120,
    /// 4.9.3.19).
    pub fn see_other_host(host: impl Into<String>) -> Self {
        Self {
            value: Some(host.into()),
            ..Self::new(StreamCondition::SeeOtherHost)
        }
    }

    /// `<stream:error>` with the condition and what belongs to it; the stream's end tag is not part
    /// of it.
    pub fn to_xml(&self) -> String {
        let name = self.condition.as_str();
        let mut xml = format!("<stream:error><{name} xmlns='{}'", ns::STREAM_ERRORS);
        match &self.value {
            None => xml.push_str("/>"),
            Some(value) => {
                xml.push('>');
                escape_into(&mut xml, value);
                xml.push_str("</");
                xml.push_str(name);
                xml.push('>');
            }
        }
        if let Some(text) = &self.text {
            xml.push_str("<text xmlns='");
            xml.push_str(ns::STREAM_ERRORS);
            xml.push_str("' xml:lang='en'>");
            escape_into(&mut xml, text);
            xml.push_str("</text>");
        }
        xml.push_str(self.application.as_deref().unwrap_or_default());
        xml.push_str("</stream:error>");
        xml
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{}: {text}", self.condition),
            None => self.condition.fmt(f),
        }
    }
}

impl std::error::Error for StreamError {}

impl From<StreamCondition> for StreamError {
    fn from(condition: StreamCondition) -> Self {
        Self::new(condition)
    }
}

impl From<FrameError> for StreamError {
    fn from(error: FrameError) -> Self {
        let condition = match error {
            FrameError::NotWellFormed(_) => StreamCondition::NotWellFormed,
            FrameError::BadFormat => StreamCondition::BadFormat,
            FrameError::RestrictedXml => StreamCondition::RestrictedXml,
            FrameError::LimitExceeded(_) => StreamCondition::PolicyViolation,
            FrameError::BadNamespacePrefix => StreamCondition::BadNamespacePrefix,
            FrameError::InvalidNamespace => StreamCondition::InvalidNamespace,
            FrameError::UnsupportedEncoding => StreamCondition::UnsupportedEncoding,
        };
        Self::new(condition).with_text(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_6120_4_9_2_stream_error_names_its_condition() {
        let error = StreamError::new(StreamCondition::HostUnknown);
        assert_eq!(
            error.to_xml(),
            "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
        );
    }

    #[test]
    fn rfc_6120_4_9_2_text_and_application_condition_follow_the_condition() {
        let error = StreamError::new(StreamCondition::UndefinedCondition)
            .with_text("a < b")
            .with_application(
                "<handled-count-too-high xmlns='urn:xmpp:sm:3' h='2' send-count='1'/>",
            );
        assert_eq!(
            error.to_xml(),
            "<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>a &lt; b</text>\
             <handled-count-too-high xmlns='urn:xmpp:sm:3' h='2' send-count='1'/></stream:error>"
        );
    }

    #[test]
    fn rfc_6120_4_9_3_19_see_other_host_carries_the_address() {
        let xml = StreamError::see_other_host("[2001:db8::1]:5223").to_xml();
        assert!(
            xml.contains(">[2001:db8::1]:5223</see-other-host>"),
            "{xml}"
        );
    }

    #[test]
    fn codes_of_stanza_conditions_are_unique_and_read_back() {
        for (index, condition) in StanzaCondition::ALL.iter().enumerate() {
            assert_eq!(usize::from(condition.code()), index + 1);
            assert_eq!(
                StanzaCondition::from_code(condition.code()),
                Some(*condition)
            );
        }
        assert_eq!(StanzaCondition::from_code(0), None);
        assert_eq!(StanzaCondition::from_code(23), None);
    }
}
