"""A way to the API server that lets one write through and then tells: for stories of whoever dies right after it.

Plain HTTP on loopback; behind it the certificates of $KUBECONFIG. Leases and Events are no writes that anybody depends on.
"""

import base64
import http.client
import ssl
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from bed import run

WRITES = {"POST", "PUT", "PATCH", "DELETE"}
#: Parts of paths whose writes do not count.
UNCOUNTED = ("/leases", "/events", "/selfsubject")
PIECE = 65536


def kubeconfig(path):
    return run("kubectl", "config", "view", "--raw", "--minify", "-o", f"jsonpath={{{path}}}")


class Gateway(ThreadingHTTPServer):
    """`written()` is called after each write, before whoever made it hears of it; `kubeconfig` leads here."""

    daemon_threads = True

    def __init__(self, folder, written):
        super().__init__(("127.0.0.1", 0), Handler)
        self.written = written
        self.host = urlsplit(kubeconfig(".clusters[0].cluster.server"))
        self.context = ssl.create_default_context(cadata=self._decoded(".clusters[0].cluster.certificate-authority-data"))
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
            pair.write(self._decoded(".users[0].user.client-certificate-data"))
            pair.write(self._decoded(".users[0].user.client-key-data"))
            pair.flush()
            self.context.load_cert_chain(pair.name)
        self.kubeconfig = Path(folder) / "kubeconfig"
        address = "http://{}:{}".format(*self.server_address)
        for command in (
            ["set-cluster", "gateway", f"--server={address}"],
            ["set-context", "gateway", "--cluster=gateway"],
            ["use-context", "gateway"],
        ):
            run("kubectl", "config", *command, f"--kubeconfig={self.kubeconfig}")
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @staticmethod
    def _decoded(path):
        return base64.b64decode(kubeconfig(path)).decode()

    def handle_error(self, request, client_address):
        pass  # whoever asked is dead


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def pass_on(self):
        server = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        behind = http.client.HTTPSConnection(server.host.hostname, server.host.port, context=server.context)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
            behind.request(self.command, self.path, body or None, headers)
            answer = behind.getresponse()
            counts = self.command in WRITES and not any(part in self.path for part in UNCOUNTED)
            if counts and answer.status < 300:
                server.written()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                    self.send_header(name, value)
            # What is watched has no end, so no length either.
            self.send_header("Connection", "close")
            self.end_headers()
            while piece := answer.read1(PIECE):
                self.wfile.write(piece)
                self.wfile.flush()
        finally:
            behind.close()
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

    def log_message(self, *_):
        pass
