//! Arguments of the `callbridge` command, turned once into what the library takes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use callbridge::sidecar::SidecarConfig;
use callbridge::{Config, HostPort, Secret, Security, Servers};
use clap::Parser;

/// Keeps one Call Bridge registered with an XMPP cluster.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    /// Directory with files name, domain, secret, ca.crt and srv, as a service binding has; other flags override it
    #[arg(long, env = "CALLBRIDGE_BINDING", value_name = "DIR")]
    binding: Option<PathBuf>,
    /// Unique name of the bridge
    #[arg(long, env = "CALLBRIDGE_NAME")]
    name: Option<String>,
    /// XMPP domain
    #[arg(long, env = "CALLBRIDGE_DOMAIN")]
    domain: Option<String>,
    /// File that holds the secret
    #[arg(long, env = "CALLBRIDGE_SECRET_FILE", value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// PEM file of trusted CAs
    #[arg(long, env = "CALLBRIDGE_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Owner name of the SRV records [default: _xmpp-component._tcp.<domain>]
    #[arg(
        long,
        env = "CALLBRIDGE_SRV",
        value_name = "NAME",
        conflicts_with = "server"
    )]
    srv: Option<String>,
    /// Server to use instead of SRV records; may be given several times
    #[arg(
        long,
        env = "CALLBRIDGE_SERVER",
        value_name = "HOST:PORT",
        value_delimiter = ','
    )]
    server: Vec<HostPort>,
    /// DNS server to ask instead of the system's
    #[arg(long, env = "CALLBRIDGE_DNS", value_name = "IP:PORT")]
    dns: Option<SocketAddr>,
    /// Serve an unmodified component at this loopback address
    #[arg(long, env = "CALLBRIDGE_SIDECAR", value_name = "IP:PORT")]
    sidecar: Option<SocketAddr>,
    /// File that holds the secret of that component [default: the bridge's]
    #[arg(
        long,
        env = "CALLBRIDGE_SIDECAR_SECRET_FILE",
        value_name = "FILE",
        requires = "sidecar"
    )]
    sidecar_secret_file: Option<PathBuf>,
    /// Connect without TLS, to loopback addresses only
    #[arg(long, conflicts_with = "ca")]
    plain_loopback: bool,
    /// Register, send one message to itself, and end well when it came back; badly after two minutes
    #[arg(long, conflicts_with = "sidecar")]
    pub(crate) probe: bool,
    /// Print the state as JSON lines
    #[arg(long)]
    pub(crate) status: bool,
}

impl Arguments {
    /// The bridge's configuration.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        let name = self
            .value(&self.name, "name")?
            .context("--name is missing")?;
        let domain = self
            .value(&self.domain, "domain")?
            .context("--domain is missing")?;
        let secret = self
            .file(&self.secret_file, "secret")
            .context("--secret-file is missing")?;
        let security = match self.plain_loopback {
            true => Security::LoopbackOnly,
            false => Security::Tls {
                ca: self.file(&self.ca, "ca.crt").context("--ca is missing")?,
            },
        };
        let mut config = Config::new(name, domain, Secret::File(secret), security);
        config.dns = self.dns;
        config.servers = match self.server.is_empty() {
            true => Servers::Srv {
                owner: self.value(&self.srv, "srv")?,
            },
            false => Servers::List(self.server.clone()),
        };
        config.check()?;
        Ok(config)
    }

    /// The side-car's configuration, if one is wanted.
    pub(crate) fn sidecar(&self, config: &Config) -> Option<SidecarConfig> {
        let secret = self.sidecar_secret_file.clone().map(Secret::File);
        Some(SidecarConfig::new(
            self.sidecar?,
            secret.unwrap_or_else(|| config.secret.clone()),
        ))
    }

    /// A flag's value, or the content of the binding's file, if there is one.
    fn value(&self, flag: &Option<String>, file: &str) -> anyhow::Result<Option<String>> {
        if flag.is_some() {
            return Ok(flag.clone());
        }
        let Some(path) = self.bound(file).filter(|path| path.exists()) else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        match text.trim() {
            "" => bail!("{} is empty", path.display()),
            text => Ok(Some(text.to_owned())),
        }
    }

    /// A flag's path, or the binding's file.
    fn file(&self, flag: &Option<PathBuf>, file: &str) -> Option<PathBuf> {
        flag.clone().or_else(|| self.bound(file))
    }

    fn bound(&self, file: &str) -> Option<PathBuf> {
        self.binding
            .as_deref()
            .map(|directory: &Path| directory.join(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_binding_directory_is_enough() {
        let directory = tempfile::tempdir().expect("a directory");
        for (file, text) in [
            ("name", "cb1\n"),
            ("domain", "example.test"),
            ("srv", "_x._tcp.elsewhere.test"),
        ] {
            std::fs::write(directory.path().join(file), text).expect("written");
        }
        let path = directory.path().to_str().expect("a path");
        let arguments = Arguments::parse_from(["callbridge", "--binding", path]);
        let config = arguments.config().expect("complete");
        assert_eq!(config.jid(), "cb1.example.test");
        assert_eq!(config.srv_owner(), "_x._tcp.elsewhere.test");
        assert_eq!(
            config.security,
            Security::Tls {
                ca: directory.path().join("ca.crt")
            }
        );
        let arguments = Arguments::parse_from(["callbridge", "--binding", path, "--name", "cb2"]);
        assert_eq!(arguments.config().expect("complete").name, "cb2");
    }

    #[test]
    fn what_is_missing_is_named() {
        let arguments = Arguments::parse_from(["callbridge", "--name", "cb1"]);
        let error = arguments.config().expect_err("no domain");
        assert!(error.to_string().contains("--domain"), "{error}");
    }
}
