//! Issues certificates: authorities, internal ones that bear a role, and those that bridges are shown.
//!
//! The internal authority and the one of what bridges are shown have nothing to do with each other. Keys are ECDSA P-256.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::PeerIdentity;

/// A certificate and its private key, both PEM. The key is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its key, PKCS #8.
    pub key: String,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pair(REDACTED)")
    }
}

/// A CA that issues for one cluster.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority(REDACTED)")
    }
}

impl Authority {
    /// Makes the certificate and key of a new CA, valid for that many days.
    ///
    /// # Errors
    /// The system gave no random numbers, or the name is not plain text.
    pub fn create(name: &str, now: Timestamp, days: i64) -> Result<Pair, rcgen::Error> {
        let mut params = dated(name, now, days)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        Ok(Pair {
            certificate: params.self_signed(&key)?.pem(),
            key: key.serialize_pem(),
        })
    }

    /// A CA from its certificate and key.
    ///
    /// # Errors
    /// They are not PEM, or not of a CA.
    pub fn load(pair: &Pair) -> Result<Self, rcgen::Error> {
        let key = KeyPair::from_pem(&pair.key)?;
        Ok(Self {
            issuer: Issuer::from_ca_cert_pem(&pair.certificate, key)?,
            certificate: pair.certificate.clone(),
        })
    }

    /// The CA's certificate, PEM: what is trusted.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Issues an internal certificate, for both ends of a connection, that bears a role.
    ///
    /// # Errors
    /// The system gave no random numbers.
    pub fn issue_role(
        &self,
        identity: &PeerIdentity,
        now: Timestamp,
        days: i64,
    ) -> Result<Pair, rcgen::Error> {
        let mut params = leaf(&identity.name, now, days)?;
        let uri = SanType::URI(identity.uri().as_str().try_into()?);
        params.subject_alt_names.push(uri);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        self.sign(&params)
    }

    /// Issues the certificate that bridges are shown, for these names and addresses; the first name is the domain.
    ///
    /// # Errors
    /// A name is not in ASCII, or the system gave no random numbers.
    pub fn issue_server(
        &self,
        names: &[String],
        ips: &[IpAddr],
        now: Timestamp,
        days: i64,
    ) -> Result<Pair, rcgen::Error> {
        let mut params = leaf(names.first().map_or("", String::as_str), now, days)?;
        for name in names {
            let name = SanType::DnsName(name.as_str().try_into()?);
            params.subject_alt_names.push(name);
        }
        let ips = ips.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(ips);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Result<Pair, rcgen::Error> {
        let key = KeyPair::generate()?;
        Ok(Pair {
            certificate: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// What can be read from a certificate without trusting it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Serial number in hexadecimal, as a node's status has it.
    pub serial: String,
    /// First instant of its validity.
    pub not_before: Timestamp,
    /// Last instant of its validity.
    pub not_after: Timestamp,
    /// The DNS names that it is for, sorted.
    pub names: Vec<String>,
}

impl Facts {
    /// Reads the first certificate of a PEM text; `None` if there is none that can be read.
    #[must_use]
    pub fn read(pem: &str) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let (_, parsed) = X509Certificate::from_der(&der).ok()?;
        let names = parsed.subject_alternative_name().ok()?;
        let mut names: Vec<String> = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                x509_parser::extensions::GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            })
            .collect();
        names.sort_unstable();
        let serial = parsed.raw_serial().iter();
        Some(Self {
            serial: serial.map(|byte| format!("{byte:02x}")).collect(),
            not_before: Timestamp::from_second(parsed.validity().not_before.timestamp()).ok()?,
            not_after: Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()?,
            names,
        })
    }

    /// Whether two thirds of its validity have passed, so that it is time for the next one.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        let (from, to) = (self.not_before.as_second(), self.not_after.as_second());
        now.as_second() >= from + (to - from) / 3 * 2
    }

    /// Whether it is for this name, by the rule of RFC 6125: a wildcard covers one label.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|own| {
            own.eq_ignore_ascii_case(name)
                || own.strip_prefix("*.").is_some_and(|own| {
                    parent.is_some_and(|parent| own.eq_ignore_ascii_case(parent))
                })
        })
    }
}

fn leaf(name: &str, now: Timestamp, days: i64) -> Result<CertificateParams, rcgen::Error> {
    let mut params = dated(name, now, days)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Strict verifiers, such as Python's from 3.13 on, refuse a certificate without it.
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Valid from yesterday, so that clocks may differ, for that many days from today.
fn dated(name: &str, now: Timestamp, days: i64) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    // A common name has at most 64 characters (RFC 5280, ub-common-name); nobody reads it here.
    let name: String = name.chars().take(64).collect();
    params.distinguished_name.push(DnType::CommonName, name);
    let today = now.to_zoned(TimeZone::UTC).date();
    let end = today.checked_add(jiff::Span::new().days(days.clamp(1, 36_500)));
    let day = |date: Date| {
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        date_time_ymd(i32::from(date.year()), month, day)
    };
    params.not_before = day(today.yesterday().unwrap_or(today));
    params.not_after = day(end.unwrap_or(Date::MAX));
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-02-28T12:00:00Z".parse().expect("a time")
    }

    #[test]
    fn a_loaded_authority_issues_what_can_be_read_back() {
        let pair = Authority::create("a CA", now(), 3650).expect("made");
        let authority = Authority::load(&pair).expect("loads");
        let names = ["example.test".to_owned(), "*.example.test".to_owned()];
        let server = authority
            .issue_server(&names, &[], now(), 30)
            .expect("issued");
        let facts = Facts::read(&server.certificate).expect("readable");
        assert_eq!(facts.not_before.to_string(), "2026-02-27T00:00:00Z");
        assert_eq!(facts.not_after.to_string(), "2026-03-30T00:00:00Z");
        assert!(facts.covers("example.test") && facts.covers("cb1.example.test"));
        assert!(!facts.covers("a.cb1.example.test") && !facts.covers("other.test"));
        let due: Timestamp = "2026-03-20T00:00:00Z".parse().expect("a time");
        assert!(!facts.is_due(now()) && facts.is_due(due));
        let node = PeerIdentity::node("xmpp-0");
        let node = authority.issue_role(&node, now(), 30).expect("issued");
        assert_ne!(
            Facts::read(&node.certificate).expect("readable").serial,
            facts.serial
        );
    }

    #[test]
    fn no_key_is_printed_and_rubbish_is_no_authority() {
        let pair = Authority::create("a CA", now(), 3650).expect("made");
        assert!(!format!("{pair:?}").contains("PRIVATE"));
        let other = Pair {
            key: pair.certificate.clone(),
            ..pair
        };
        assert!(Authority::load(&other).is_err());
        assert_eq!(Facts::read("rubbish"), None);
    }
}
