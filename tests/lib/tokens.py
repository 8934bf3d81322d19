"""Makes JSON Web Tokens, good and bad ones, and the keys for them with openssl(1)."""
import base64
import hashlib
import hmac
import json
import subprocess
import time

SECRET = b"0123456789abcdef0123456789abcdef"
HS256 = {"alg": "HS256", "typ": "JWT"}


def b64(data):
    data = data if isinstance(data, bytes) else data.encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(value):
    """A header or claims: a dict, or JSON text as it shall stand there."""
    return b64(value if isinstance(value, (str, bytes)) else json.dumps(value))


def hs256(claims, header=HS256, key=SECRET):
    signed = f"{part(header)}.{part(claims)}"
    return f"{signed}.{b64(hmac.new(key, signed.encode(), hashlib.sha256).digest())}"


def later(seconds=3600):
    return int(time.time()) + seconds


def claims(**more):
    """Good ones; None leaves a member out."""
    return {name: value for name, value in {"sub": "ada", "exp": later(), **more}.items() if value is not None}


def openssl(*arguments, data=b""):
    return subprocess.run(["openssl", *map(str, arguments)], input=data, capture_output=True, check=True).stdout


class Keys:
    """Pairs of keys in a folder: NAME.pem (public) and NAME.key."""

    KINDS = {"rsa": ("RSA", "rsa_keygen_bits:2048"), "rsa1024": ("RSA", "rsa_keygen_bits:1024"), "ec": ("EC", "ec_paramgen_curve:P-256"),
             "ec384": ("EC", "ec_paramgen_curve:P-384"), "ed": ("ED25519", None)}

    def __init__(self, folder):
        self.folder = folder

    def make(self, kind, name=None):
        """Returns the path of the public key."""
        algorithm, option = self.KINDS[kind]
        name = name or kind
        openssl("genpkey", "-algorithm", algorithm, *(["-pkeyopt", option] if option else []), "-out", self.folder / f"{name}.key")
        openssl("pkey", "-in", self.folder / f"{name}.key", "-pubout", "-out", self.folder / f"{name}.pem")
        return self.folder / f"{name}.pem"

    def sign(self, name, claims, alg):
        signed = f"{part({'alg': alg, 'typ': 'JWT'})}.{part(claims)}"
        der = openssl("dgst", "-sha256", "-sign", self.folder / f"{name}.key", data=signed.encode())
        return f"{signed}.{b64(raw_of(der) if alg.startswith('ES') else der)}"


def raw_of(der):
    """r and s, 32 bytes each (RFC 7518 3.4), of an ECDSA signature in DER."""
    at, numbers = 2, b""
    for _ in range(2):
        length = der[at + 1]
        numbers += der[at + 2:at + 2 + length].lstrip(b"\0").rjust(32, b"\0")
        at += 2 + length
    return numbers
