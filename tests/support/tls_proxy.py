"""TLS in front of a server on loopback, by a private authority, and a proxy that speaks CONNECT."""

import base64
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOST = "api.mayfly.test"
"""A name that no resolver knows: only the proxy leads there."""

Handler = Callable[[socket.socket], None]


@contextmanager
def listening(handle: Handler) -> Iterator[int]:
    """Handle each connection to a port of loopback in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                threading.Thread(target=_safely, args=(handle, near), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _safely(handle: Handler, near: socket.socket) -> None:
    with suppress(OSError), near:
        handle(near)


def join(near: socket.socket, far: socket.socket) -> None:
    """Pass bytes both ways until both sides have ended."""
    other = threading.Thread(target=_pump, args=(far, near), daemon=True)
    other.start()
    _pump(near, far)
    other.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@contextmanager
def tls_server(folder: Path, port: int) -> Iterator[tuple[int, Path]]:
    """Serve what is on a port of loopback by TLS; yield the port and the authority's file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*write_certificates(folder))

    def handle(near: socket.socket) -> None:
        with (
            context.wrap_socket(near, server_side=True) as inner,
            socket.create_connection(("127.0.0.1", port)) as far,
        ):
            join(inner, far)

    with listening(handle) as tls_port:
        yield tls_port, folder / "ca.pem"


@dataclass
class Proxy:
    """Requests that a proxy received.

    Attributes:
        connects: The hosts that it has connected to, as they were named.
    """

    port: int = 0
    connects: list[str] = field(default_factory=list)
    refused: int = 0


@contextmanager
def connect_proxy(to: int, *, demands: str = "") -> Iterator[Proxy]:
    """Start a proxy that leads every CONNECT to one port of loopback.

    Args:
        demands: `user:password`; "" for neither.
    """
    proxy = Proxy()
    wanted = b"basic " + base64.b64encode(demands.encode())

    def handle(near: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (data := near.recv(4096)):
                return
            head += data
        first, *lines = head.split(b"\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (x.partition(b":") for x in lines)
        }
        given = headers.get(b"proxy-authorization", b"")
        if demands and given[:6].lower() + given[6:] != wanted:
            proxy.refused += 1
            near.sendall(
                b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                b'Proxy-Authenticate: Basic realm="proxy"\r\nContent-Length: 0\r\n\r\n'
            )
            return
        proxy.connects.append(first.split()[1].decode())
        with socket.create_connection(("127.0.0.1", to)) as far:
            near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            join(near, far)

    with listening(handle) as proxy.port:
        yield proxy


def write_certificates(folder: Path) -> tuple[Path, Path]:
    """Write an authority (`ca.pem`) and a server's chain and key, which are returned."""
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _certificate("mayfly test authority", authority_key, None, authority_key)
    server = _certificate(HOST, server_key, authority, authority_key)
    (folder / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    chain, key = folder / "server.pem", folder / "server.key"
    chain.write_bytes(server.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        server_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return chain, key


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    if issuer is None:
        usage = {name: name in ("key_cert_sign", "crl_sign") for name in KEY_USES}
        builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
    else:
        names = [x509.DNSName(HOST), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
    return builder.sign(issuer_key, hashes.SHA256())


KEY_USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
