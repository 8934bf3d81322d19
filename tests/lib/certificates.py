"""Certificates for tests, made by the openssl command, and clients that look at them with Python's ssl module."""
import os
import ssl
import subprocess

EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]


class Certificates:
    """A folder of them. Each NAME has NAME.crt and NAME.key."""

    def __init__(self, folder):
        self.folder = folder

    def openssl(self, *args):
        done = subprocess.run(["openssl", *map(str, args)], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              preexec_fn=lambda: os.umask(0o077))
        assert done.returncode == 0, done.stdout

    def cert(self, name):
        return str(self.folder / f"{name}.crt")

    def key(self, name):
        return str(self.folder / f"{name}.key")

    def make(self, name, *names, days=30):
        """For these DNS names, or none: an authority. Signed by itself."""
        alt = ["-addext", "subjectAltName=" + ",".join(f"DNS:{n}" for n in names)] if names else []
        self.openssl("req", "-x509", *EC, "-nodes", "-days", days, "-subj", f"/CN={name}", *alt, "-keyout", self.key(name), "-out",
                     self.cert(name))
        return self

    def sign(self, name, authority, subject, days=30):
        request = self.folder / f"{name}.csr"
        self.openssl("req", "-utf8", *EC, "-nodes", "-subj", subject, "-keyout", self.key(name), "-out", request)
        self.openssl("x509", "-req", "-in", request, "-CA", self.cert(authority), "-CAkey", self.key(authority), "-CAcreateserial", "-days",
                     days, "-out", self.cert(name))
        return self

    def expired(self, name, *names):
        self.openssl("req", "-new", *EC, "-nodes", "-subj", f"/CN={names[0]}", "-keyout", self.key(name), "-out", self.folder / "old.csr")
        self.openssl("x509", "-req", "-in", self.folder / "old.csr", "-signkey", self.key(name), "-days", -1, "-out", self.cert(name))
        return self

    def args(self, *names):
        """Of a host that shows these."""
        return [a for name in names for a in ("--tls-cert", self.cert(name), "--tls-key", self.key(name))]


def tls(trusted, name="localhost", *, version=None, client=None, alpn=None, check=True):
    """For wsclient's wrap=. trusted: paths of certificates. client: (cert, key). An end without close_notify is an error."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check
    context.verify_mode = ssl.CERT_REQUIRED if check else ssl.CERT_NONE
    for path in [trusted] if isinstance(trusted, str) else trusted:
        context.load_verify_locations(path)
    if version:
        context.minimum_version = context.maximum_version = version
    if client:
        context.load_cert_chain(*client)
    if alpn:
        context.set_alpn_protocols(alpn)

    def wrap(sock, resumed=None):
        return context.wrap_socket(sock, server_hostname=name, suppress_ragged_eofs=False, session=resumed)
    wrap.context = context
    return wrap
