"""TLS in front of a server on loopback, by a private authority, and a proxy that speaks CONNECT."""

import base64
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.certificates import write_certificates

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
