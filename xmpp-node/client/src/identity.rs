//! Who is at the other end of an internal connection: the role in its certificate's URI name.
//!
//! The cluster's internal CA gives each certificate exactly one of
//! `xmpp-cluster:node/<name>`, `xmpp-cluster:operator` and `xmpp-cluster:admin`. DNS names and common names in the
//! same certificate mean nothing here.

use rustls::pki_types::CertificateDer;
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use xmpp_node_api::config::name_fault;

/// What the holder of a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A node of the cluster.
    Node,
    /// The Kubernetes operator.
    Operator,
    /// A person with the command line.
    Admin,
}

impl Role {
    /// Only nodes speak with nodes.
    #[must_use]
    pub const fn may_open_peer_port(self) -> bool {
        matches!(self, Self::Node)
    }

    /// All roles; a node may only look, see `admin::routes`.
    #[must_use]
    pub const fn may_open_admin_port(self) -> bool {
        matches!(self, Self::Node | Self::Operator | Self::Admin)
    }
}

/// Role and name of the holder of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerIdentity {
    /// What it is.
    pub role: Role,
    /// Name of the node; `operator` and `admin` for the other two.
    pub name: String,
}

impl PeerIdentity {
    /// The identity of the node of that name.
    #[must_use]
    pub fn node(name: &str) -> Self {
        Self {
            role: Role::Node,
            name: name.to_owned(),
        }
    }

    /// Reads a certificate that the caller has verified, or is about to.
    ///
    /// # Errors
    /// [`IdentityError`] if it has no role, more than one, or one that we do not know.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|_| IdentityError::Unreadable)?;
        let names = parsed
            .subject_alternative_name()
            .map_err(|_| IdentityError::Unreadable)?;
        let mut roles = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) => uri.strip_prefix(SCHEME),
                _ => None,
            });
        let role = roles.next().ok_or(IdentityError::NoRole)?;
        if roles.next().is_some() {
            return Err(IdentityError::ManyRoles);
        }
        Self::of_role(role).ok_or_else(|| IdentityError::UnknownRole(role.to_owned()))
    }

    /// Reads the certificate that a finished handshake verified: the first of `rustls`'s `peer_certificates()`.
    ///
    /// # Errors
    /// [`IdentityError`], as [`Self::of_certificate`]; without certificates [`IdentityError::NoRole`].
    pub fn of_peer(certificates: Option<&[CertificateDer<'_>]>) -> Result<Self, IdentityError> {
        let first = certificates
            .and_then(<[_]>::first)
            .ok_or(IdentityError::NoRole)?;
        Self::of_certificate(first)
    }

    /// The URI that stands for it in a certificate.
    #[must_use]
    pub fn uri(&self) -> String {
        match self.role {
            Role::Node => format!("{SCHEME}node/{}", self.name),
            Role::Operator => format!("{SCHEME}operator"),
            Role::Admin => format!("{SCHEME}admin"),
        }
    }

    fn of_role(text: &str) -> Option<Self> {
        match text {
            "operator" => Some(Self {
                role: Role::Operator,
                name: text.to_owned(),
            }),
            "admin" => Some(Self {
                role: Role::Admin,
                name: text.to_owned(),
            }),
            _ => {
                let name = text.strip_prefix("node/")?;
                name_fault(name).is_none().then(|| Self::node(name))
            }
        }
    }
}

/// Why a certificate tells no identity; whoever issued it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// Not an X.509 certificate, or its names are malformed.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// No URI of ours, as in a bridge's or a public certificate.
    #[error("the certificate bears no role (no URI name xmpp-cluster:...)")]
    NoRole,
    /// Two URIs of ours.
    #[error("the certificate bears more than one role")]
    ManyRoles,
    /// A URI of ours that names no role we know.
    #[error("the certificate bears the unknown role {0:?}")]
    UnknownRole(String),
}

const SCHEME: &str = "xmpp-cluster:";
