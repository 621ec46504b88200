"""Certificates for stories that bring their own, made with openssl."""

from bed import run

CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


class Authority:
    """A CA in a folder: `NAME.crt` and `NAME.key`."""

    def __init__(self, folder, name):
        self.certificate, self.key = folder / f"{name}.crt", folder / f"{name}.key"
        run("openssl", "req", "-x509", *CURVE, "-days", "2", "-subj", f"/CN={name}",
            "-keyout", self.key, "-out", self.certificate)  # fmt: skip

    def issue(self, name, subject_alt_name, days=2):
        """Makes a certificate for server and client use beside the CA; returns the two files' contents, key last.

        With `days` below 0 it ended in the past.
        """
        folder = self.certificate.parent
        key, request, certificate, extensions = (folder / f"{name}.{end}" for end in ("key", "csr", "crt", "ext"))
        extensions.write_text(f"subjectAltName={subject_alt_name}\nextendedKeyUsage=serverAuth,clientAuth\n")
        run("openssl", "req", "-new", *CURVE, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        run("openssl", "x509", "-req", "-in", request, "-days", str(days), "-CA", self.certificate, "-CAkey", self.key,
            "-CAcreateserial", "-extfile", extensions, "-out", certificate)  # fmt: skip
        return certificate.read_text(), key.read_text()
