//! The files of a demo: its directory, the server's binary, certificates and one configuration a node.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use xmpp_node_api::address::HostPort;
use xmpp_node_api::config::{
    Admin, Clients, Cluster, Component, Config, Limits, Metrics, Node, Peer, Timing, Xmpp,
};

use super::error::DemoError;
use super::pki::{Pki, make_private_dir, write_private};
use super::site::{DOMAIN, Site};

/// The server's binary: the one given, else that in `XMPP_NODE_BIN`, else `xmpp-node` beside this program or, as for
/// tests, one directory above it.
///
/// # Errors
/// [`DemoError::Binary`] if it is not there or cannot be run.
pub fn find_binary(given: Option<PathBuf>) -> Result<PathBuf, DemoError> {
    let named = given.or_else(|| std::env::var_os("XMPP_NODE_BIN").map(PathBuf::from));
    if let Some(path) = named {
        return check_binary(&path).map(|()| path);
    }
    let this = std::env::current_exe().unwrap_or_default();
    let beside = this.with_file_name("xmpp-node");
    let above = this.parent().map(|dir| dir.with_file_name("xmpp-node"));
    let found = [Some(beside.clone()), above].into_iter().flatten();
    let found = found.into_iter().find(|path| check_binary(path).is_ok());
    match found {
        Some(path) => Ok(path),
        None => check_binary(&beside).map(|()| beside),
    }
}

/// Whether this is a program.
pub(super) fn check_binary(path: &Path) -> Result<(), DemoError> {
    let reason = match std::fs::metadata(path) {
        Err(error) => error.to_string(),
        Ok(found) if !found.is_file() => "is not a file".to_owned(),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => "is not executable".to_owned(),
        Ok(_) => return Ok(()),
    };
    let path = path.to_owned();
    Err(DemoError::Binary { path, reason })
}

/// Makes the directory, or takes one that is empty.
pub(super) fn claim_dir(dir: &Path) -> Result<(), DemoError> {
    make_private_dir(dir)?;
    let mut entries = std::fs::read_dir(dir).map_err(DemoError::file(dir))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(DemoError::NotEmpty(dir.to_owned())),
    }
}

/// Issues every certificate: one for the component port of all nodes, one a node, one for people.
pub(super) fn issue(pki: &Pki, sites: &[Site]) -> Result<(), DemoError> {
    let hosts = sites.iter().map(|site| site.host.clone());
    let names: Vec<String> = std::iter::once(DOMAIN.to_owned()).chain(hosts).collect();
    let ips: Vec<IpAddr> = sites.iter().map(|site| site.component.ip()).collect();
    pki.issue_component(&names, &ips)?;
    pki.issue_admin()?;
    for site in sites {
        pki.issue_node(&site.name)?;
    }
    Ok(())
}

/// What a node is told; `seeds` are those through whom it may join.
pub(super) fn config(site: &Site, seeds: &[&Site], pki: &Pki) -> Result<Config, DemoError> {
    let peer = |site: &Site| {
        let address = HostPort::new(&site.peer.ip().to_string(), site.peer.port());
        address.map_err(|error| DemoError::System(format!("{}: {error}", site.peer)))
    };
    Ok(Config {
        node: Node {
            name: site.name.clone(),
            dir: site.dir.clone(),
        },
        xmpp: Xmpp {
            domain: DOMAIN.to_owned(),
        },
        component: Component {
            listen: site.component,
            certificate: pki.path("component.crt"),
            key: pki.path("component.key"),
            chain: None,
            plain_listen: None,
            client_ca: None,
        },
        clients: Some(Clients {
            listen: Some(site.client),
            direct_listen: Some(site.client_direct),
            ..Clients::default()
        }),
        peer: Peer {
            listen: site.peer,
            advertise: peer(site)?,
            certificate: pki.path(&format!("{}.crt", site.name)),
            key: pki.path(&format!("{}.key", site.name)),
            ca: pki.path("ca.crt"),
        },
        admin: Admin {
            listen: Some(site.admin),
            socket: None,
        },
        metrics: Metrics {
            listen: Some(site.metrics),
        },
        cluster: Cluster {
            id: None,
            seeds: seeds
                .iter()
                .map(|seed| peer(seed))
                .collect::<Result<_, _>>()?,
            sealing_key: None,
        },
        limits: Limits::default(),
        timing: Timing::default(),
    })
}

pub(super) fn write_config(config: &Config, path: &Path) -> Result<(), DemoError> {
    let text = toml::to_string(config)
        .map_err(|error| DemoError::System(format!("{}: {error}", path.display())))?;
    write_private(path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::site::Ports;
    use crate::settings::Settings;

    #[test]
    fn every_node_takes_the_configuration_written_for_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ports = Ports::shifted(0).expect("no offset");
        let sites = [0, 1, 2].map(|index| Site::new(index, &ports, dir.path()));
        let pki = Pki::create(&dir.path().join("pki")).expect("both CAs");
        issue(&pki, &sites).expect("all certificates");
        for (index, site) in sites.iter().enumerate() {
            let seeds: Vec<&Site> = sites.iter().take(index.min(1)).collect();
            let written = config(site, &seeds, &pki).expect("addresses are addresses");
            write_config(&written, &site.config).expect("the directory is ours");
            let settings = Settings::load(&site.config).expect("the node takes it");
            assert_eq!(settings.name, site.name);
            assert_eq!(settings.listen.socket, site.socket);
            assert_eq!(settings.listen.component, site.component);
            assert_eq!(settings.seeds.len(), seeds.len());
        }
    }

    #[test]
    fn a_directory_that_holds_something_is_not_touched() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let new = dir.path().join("a/b");
        claim_dir(&new).expect("it can be made");
        claim_dir(&new).expect("it is empty");
        let error = claim_dir(dir.path()).expect_err("it holds a");
        assert!(matches!(error, DemoError::NotEmpty(_)), "{error}");
    }

    #[test]
    fn a_missing_binary_is_named_with_a_way_out() {
        let error = find_binary(Some("/nowhere/xmpp-node".into())).expect_err("not there");
        let text = error.to_string();
        assert!(text.starts_with("/nowhere/xmpp-node: "), "{text}");
        assert!(text.contains("cargo build --bin xmpp-node"), "{text}");
        let error = find_binary(Some("/etc/passwd".into())).expect_err("no program");
        assert!(error.to_string().contains("is not executable"), "{error}");
    }
}
