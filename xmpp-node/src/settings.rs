//! From the configuration file to checked values, once, at start: the file, then the certificates and keys it names.
//!
//! Everything wrong is reported together, each with file, key and reason. Code takes the part it needs, not the whole.
//! What a value may be is said where it is typed, in [`xmpp_node_api::config`].

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::SecretBox;
use xmpp_node_api::address::HostPort;
use xmpp_node_api::config::{Clients, Config, Fault, Limits, Timing};
use zeroize::Zeroizing;

use crate::tls::{ComponentFiles, PeerFiles, PeerIdentity, Tls, TlsFiles};

/// What a node runs with. All paths are absolute, or relative to the working directory.
#[derive(Debug)]
pub struct Settings {
    /// Name of the node.
    pub name: String,
    /// Directory of its state; made by whoever opens it.
    pub dir: PathBuf,
    /// The XMPP domain.
    pub domain: String,
    /// Where everything listens.
    pub listen: Listen,
    /// Whether bridges must show a certificate that is valid for their names.
    pub certified_bridges: bool,
    /// How clients are served; without listeners they are not.
    pub clients: Clients,
    /// Where the other nodes reach this one.
    pub advertise: HostPort,
    /// Cluster id that this node expects, if it does.
    pub cluster_id: Option<String>,
    /// Through whom an empty node asks to join.
    pub seeds: Vec<HostPort>,
    /// Key that secrets are sealed under, if it is given by file.
    pub sealing_key: Option<SealingKey>,
    /// Bounds.
    pub limits: Limits,
    /// Timeouts.
    pub timing: Timing,
    /// Certificates and keys, in force.
    pub tls: Arc<Tls>,
}

/// Key that secrets are sealed under; never printed.
pub type SealingKey = SecretBox<[u8; 32]>;

/// Where everything listens; `None` is off.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Components, by TLS.
    pub component: SocketAddr,
    /// Components without TLS; a loopback address.
    pub plain: Option<SocketAddr>,
    /// Other nodes, by mutual TLS.
    pub peer: SocketAddr,
    /// Admin API, by mutual TLS.
    pub admin: Option<SocketAddr>,
    /// Admin API, unix socket.
    pub socket: PathBuf,
    /// Health and metrics, plain HTTP.
    pub metrics: Option<SocketAddr>,
}

impl Settings {
    /// Reads the file and everything it names.
    ///
    /// # Errors
    /// [`SettingsError`] with every fault found. Nothing is written or made.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let failed = |faults| SettingsError {
            file: path.to_owned(),
            faults,
        };
        let text = read_text(path).map_err(|fault| failed(vec![fault]))?;
        let config = parse(&text).map_err(|fault| failed(vec![fault]))?;
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        Self::check(config, base).map_err(failed)
    }

    fn check(config: Config, base: &Path) -> Result<Self, Vec<Fault>> {
        let mut faults = config.faults();
        let at = |path: &PathBuf| base.join(path);
        let dir = at(&config.node.dir);
        faults.extend(dir_fault(&dir));
        let socket = config
            .admin
            .socket
            .as_ref()
            .map_or_else(|| dir.join("admin.sock"), at);
        if socket.as_os_str().len() > MAX_SOCKET_PATH_BYTES {
            let reason = format!(
                "{}: is longer than 100 bytes, which no unix socket can have",
                socket.display()
            );
            faults.push(Fault::new("admin.socket", reason));
        }
        let sealing_key = config
            .cluster
            .sealing_key
            .as_ref()
            .map(|path| sealing_key(&at(path)))
            .transpose();
        let tls = Tls::load(TlsFiles {
            component: ComponentFiles {
                certificate: at(&config.component.certificate),
                key: at(&config.component.key),
                chain: config.component.chain.as_ref().map(at),
                client_ca: config.component.client_ca.as_ref().map(at),
                domain: config.xmpp.domain.clone(),
            },
            users: config
                .clients
                .as_ref()
                .and_then(|clients| clients.client_ca.as_ref())
                .map(at),
            peer: PeerFiles {
                certificate: at(&config.peer.certificate),
                key: at(&config.peer.key),
                ca: at(&config.peer.ca),
                role: Some(PeerIdentity::node(&config.node.name)),
            },
        });
        match (tls, sealing_key) {
            (Ok(tls), Ok(sealing_key)) if faults.is_empty() => Ok(Self {
                name: config.node.name,
                dir,
                domain: config.xmpp.domain,
                listen: Listen {
                    component: config.component.listen,
                    plain: config.component.plain_listen,
                    peer: config.peer.listen,
                    admin: config.admin.listen,
                    socket,
                    metrics: config.metrics.listen,
                },
                certified_bridges: config.component.client_ca.is_some(),
                clients: config.clients.unwrap_or_else(|| Clients {
                    listen: None,
                    direct_listen: None,
                    ..Clients::default()
                }),
                advertise: config.peer.advertise,
                cluster_id: config.cluster.id,
                seeds: config.cluster.seeds,
                sealing_key,
                limits: config.limits,
                timing: config.timing,
                tls: Arc::new(tls),
            }),
            (tls, sealing_key) => {
                faults.extend(tls.err().into_iter().flatten());
                faults.extend(sealing_key.err());
                Err(faults)
            }
        }
    }
}

/// The settings cannot be used; whoever wrote the file is at fault.
#[derive(Debug)]
pub struct SettingsError {
    /// The configuration file.
    pub file: PathBuf,
    /// Everything wrong with it, at least one.
    pub faults: Vec<Fault>,
}

impl fmt::Display for SettingsError {
    /// One line a fault: file, key, reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for fault in &self.faults {
            write!(f, "{separator}{}: {fault}", self.file.display())?;
            separator = "\n";
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

fn read_text(path: &Path) -> Result<String, Fault> {
    let fault = |reason: String| Fault::new("(file)", reason);
    let size = std::fs::metadata(path)
        .map_err(|e| fault(format!("cannot be read: {e}")))?
        .len();
    if size > MAX_FILE_BYTES {
        return Err(fault(format!("is larger than {MAX_FILE_BYTES} bytes")));
    }
    std::fs::read_to_string(path).map_err(|e| fault(format!("cannot be read: {e}")))
}

fn parse(text: &str) -> Result<Config, Fault> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        let reason = error.message().replace('\n', ", ");
        Fault::new(key_at(text, line), format!("line {line}: {reason}"))
    })
}

/// The key that a line of TOML is about: its section and what stands before `=`.
fn key_at(text: &str, line: usize) -> String {
    let upto = || text.lines().take(line);
    let header = |line: &str| {
        Some(
            line.trim()
                .strip_prefix('[')?
                .split_once(']')?
                .0
                .trim()
                .to_owned(),
        )
    };
    let section = upto().filter_map(header).last();
    let last = upto().last().unwrap_or_default();
    let key = last
        .split_once('=')
        .map(|(key, _)| key.trim().to_owned())
        .filter(|key| !key.is_empty());
    match (section, key) {
        (Some(section), Some(key)) => format!("{section}.{key}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "(file)".to_owned(),
    }
}

fn dir_fault(dir: &Path) -> Option<Fault> {
    let exists = dir.exists();
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    let reason = match parent {
        _ if exists && !dir.is_dir() => "is not a directory",
        Some(parent) if !exists && !parent.is_dir() => {
            "cannot be made: its parent directory does not exist"
        }
        _ => return None,
    };
    Some(Fault::new(
        "node.dir",
        format!("{}: {reason}", dir.display()),
    ))
}

fn sealing_key(path: &Path) -> Result<SealingKey, Fault> {
    let fault = |reason: &str| {
        Fault::new(
            "cluster.sealing_key",
            format!("{}: {reason}", path.display()),
        )
    };
    let content = std::fs::read(path).map_err(|e| fault(&format!("cannot be read: {e}")))?;
    let content = Zeroizing::new(content);
    let mut key = Box::new([0; 32]);
    if content.len() == key.len() {
        key.copy_from_slice(&content);
        return Ok(SealingKey::new(key));
    }
    let wrong = || fault("is neither 32 bytes nor 64 hexadecimal digits");
    let digits = content.trim_ascii();
    if digits.len() != 2 * key.len() {
        return Err(wrong());
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |b: u8| char::from(b).to_digit(16);
        let (high, low) = digit(pair[0]).zip(digit(pair[1])).ok_or_else(wrong)?;
        // Both are below 16.
        *byte = (high << 4 | low) as u8;
    }
    Ok(SealingKey::new(key))
}

/// A configuration is some hundred lines; more is another kind of file.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// `sun_path` is 108 bytes on Linux, 104 elsewhere, with a final zero.
const MAX_SOCKET_PATH_BYTES: usize = 100;

#[cfg(test)]
mod tests;
