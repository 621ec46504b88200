"""TLS as OpenSSL sees it: versions and certificate of the component port, and who may open the other two."""

import subprocess

import pytest

from cluster import CEILING


def client(address, *options, send=b"", within=CEILING):
    """`openssl s_client` to an address; what it printed, and whether it was content."""
    command = ["openssl", "s_client", "-connect", "%s:%d" % address, *options]
    done = subprocess.run(command, input=send, capture_output=True, timeout=within)
    return done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")


def pki(cluster, name):
    return str(cluster.directory / "pki" / name)


@pytest.mark.parametrize("version", ["1_2", "1_3"])
def test_modern_versions_are_spoken_and_the_certificate_is_valid_for_the_domain(cluster, version):
    options = ["-CAfile", cluster.ca, "-verify_return_error", "-verify_hostname", cluster.domain]
    for node in cluster.nodes:
        content, text = client(node.component, f"-tls{version}", "-servername", cluster.domain, *options)
        assert content, text
        assert "Verify return code: 0 (ok)" in text
        assert f"TLSv{version.replace('_', '.')}" in text


def test_the_certificate_is_not_valid_for_another_name(cluster):
    options = ["-CAfile", cluster.ca, "-verify_return_error", "-verify_hostname", "elsewhere.test"]
    content, text = client(cluster.nodes[0].component, *options)
    assert not content and "hostname mismatch" in text.lower(), text


@pytest.mark.parametrize("port", ["component", "peer", "admin"])
@pytest.mark.parametrize("version", ["1", "1_1"])
def test_old_versions_are_refused_by_the_server(cluster, version, port):
    # The security level is lowered so that the client offers the version at all: the server must be the one who refuses.
    content, text = client(getattr(cluster.nodes[0], port), f"-tls{version}", "-cipher", "ALL:@SECLEVEL=0")
    assert not content
    assert "alert protocol version" in text or "alert handshake failure" in text, text


def stranger(directory, name="URI:xmpp-cluster:node/xmpp2"):
    """A node's certificate in every respect, but of a CA that the cluster does not know."""
    paths = {file: str(directory / file) for file in ("ca.key", "ca.crt", "leaf.key", "leaf.csr", "leaf.crt", "ext")}
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=xmpp2"]
    (directory / "ext").write_text(
        f"subjectAltName={name}\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n"
    )
    for arguments in (
        ["req", "-x509", *key, "-keyout", paths["ca.key"], "-out", paths["ca.crt"], "-days", "2"],
        ["req", "-new", *key, "-keyout", paths["leaf.key"], "-out", paths["leaf.csr"]],
        ["x509", "-req", "-in", paths["leaf.csr"], "-CA", paths["ca.crt"], "-CAkey", paths["ca.key"]]
        + ["-CAcreateserial", "-days", "2", "-extfile", paths["ext"], "-out", paths["leaf.crt"]],
    ):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)
    return ["-cert", paths["leaf.crt"], "-key", paths["leaf.key"]]


#: A request that the admin port answers to whoever may ask.
STATUS = b"GET /v1/status HTTP/1.1\r\nHost: xmpp1\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("port", ["peer", "admin"])
@pytest.mark.parametrize("shown", ["none", "the public certificate", "one of another CA"])
def test_peer_and_admin_ports_open_to_no_other_certificate(cluster, tmp_path, port, shown):
    options = {
        "none": [],
        "the public certificate": ["-cert", pki(cluster, "component.crt"), "-key", pki(cluster, "component.key")],
        "one of another CA": stranger(tmp_path),
    }[shown]
    address = getattr(cluster.nodes[0], port)
    # The client is content before the server has judged it: the answer to its request tells.
    content, text = client(address, "-ign_eof", *options, send=STATUS)
    assert not content and "alert" in text, text
    assert "HTTP/1.1" not in text


def test_peer_and_admin_ports_open_to_a_node(cluster):
    """The other half of the test above: the same client with the right certificate is let in."""
    node = ["-cert", pki(cluster, "xmpp2.crt"), "-key", pki(cluster, "xmpp2.key")]
    content, text = client(cluster.nodes[0].peer, *node)
    assert content and "alert" not in text, text
    content, text = client(cluster.nodes[0].admin, "-ign_eof", *node, send=STATUS)
    assert content and "HTTP/1.1 200" in text, text


@pytest.mark.parametrize("port", ["peer", "admin"])
def test_internal_ports_speak_tls_1_3_alone(cluster, port):
    node = ["-cert", pki(cluster, "xmpp2.crt"), "-key", pki(cluster, "xmpp2.key")]
    content, text = client(getattr(cluster.nodes[0], port), "-tls1_2", *node)
    assert not content and "alert protocol version" in text, text
