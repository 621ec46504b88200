//! Certificates that are replaced while streams are open.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use callbridge::State;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use xmpp_node_api::admin::Request;
use xmpp_tests::lab::{Lab, progress};

/// What a node shows a new component.
async fn shown(lab: &Lab, node: usize) -> Result<CertificateDer<'static>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(
        lab.cluster.pki().public_ca(),
    )?)?;
    let config = ClientConfig::builder_with_provider(xmpp_node::tls::provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(lab.cluster.sites()[node].component).await?;
    let name = ServerName::try_from("example.test")?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await?;
    let chain = stream
        .get_ref()
        .1
        .peer_certificates()
        .context("no certificate")?;
    Ok(chain
        .first()
        .context("no certificate")?
        .clone()
        .into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_connections_see_new_certificates_and_open_streams_live_on() -> Result<()> {
    let lab = Lab::start().await?;
    let run = lab.traffic(&["cb1", "cb2", "cb3"], 600).await?;
    let before = lab.status(0).await?;
    let old = shown(&lab, 0).await?;
    let sites = lab.cluster.sites();
    let ips: Vec<IpAddr> = sites.iter().map(|site| site.component.ip()).collect();
    lab.cluster
        .pki()
        .issue_component(&["example.test".to_owned()], &ips)?;
    for site in sites {
        lab.cluster.pki().issue_node(&site.name)?;
    }
    for node in 0..3 {
        lab.cluster.call(node, &Request::Reload {}).await?;
        let new = shown(&lab, node).await?;
        ensure!(new != old, "node {node} shows the old certificate");
        let file = CertificateDer::from_pem_file(lab.cluster.pki().path("component.crt"))?;
        ensure!(new == file, "node {node} shows another certificate");
    }
    let after = lab.status(0).await?;
    ensure!(after.certificate.serial != before.certificate.serial);
    ensure!(after.peer_certificate.serial != before.peer_certificate.serial);
    progress(&run, 100).await?;
    ensure!(run.counters().streams == 3, "streams were lost");
    ensure!(
        run.statuses()
            .iter()
            .all(|status| status.state == State::Registered)
    );
    // Links between nodes that are made anew use the new ones.
    lab.cluster.restart(lab.follower().await?).await?;
    lab.leader().await?;
    // A bad file changes nothing, and is named.
    let path = lab.cluster.pki().path("component.crt");
    std::fs::write(&path, "no certificate")?;
    let error = lab
        .cluster
        .call(lab.leader().await?, &Request::Reload {})
        .await;
    let text = error.err().context("it was taken")?.to_string();
    ensure!(text.contains("component.crt"), "{text}");
    shown(&lab, lab.leader().await?).await?;
    lab.settle(run, false).await?;
    Ok(())
}
