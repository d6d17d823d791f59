"""Files on an HTTP server: listed by the links of a page, read by ranges, each byte once.

Uses httpx, so that proxies and certificates are the same as for the API (`HTTPS_PROXY`,
`NO_PROXY`, `SSL_CERT_FILE`); loopback never goes through a proxy.
"""

import fnmatch
import re
import time
from collections.abc import Callable, Iterator, Mapping
from html import unescape
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import httpx

CONNECTIONS = 32
"""Concurrent requests: 5,000 small files at 40 ms take some seconds before anything is rented."""

TRIES = 4
CHUNK = 1 << 20
_LINK = re.compile(r"""<a\s[^>]*?href\s*=\s*["']?([^"'\s>]+)""", re.IGNORECASE)


class Head(NamedTuple):
    """The result of the first request for a file.

    Attributes:
        size: Size of the whole file in bytes.
        version: Changes with its content: the ETag, or the time of its last modification.
        first: Its first bytes, as many as requested.
        whole: Whether the server has no ranges, and sent the whole file to the sink.
        unchanged: Whether it still has the known version; then nothing was sent.
    """

    size: int
    version: str
    first: bytes = b""
    whole: bool = False
    unchanged: bool = False


class HttpFiles:
    """The files of one server; safe to use from several threads."""

    def __init__(self, sleep: Callable[[float], object] = time.sleep) -> None:
        self._sleep = sleep
        self._client = httpx.Client(
            follow_redirects=True,
            timeout=httpx.Timeout(60.0, connect=15.0),
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
            headers={"Accept-Encoding": "identity", "User-Agent": "mayfly"},
            mounts={f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")},
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def files(self, url: str) -> list[str]:
        """Return the files of a URL: itself, those of a page of links, or the matches of a glob."""
        address, _, query = url.partition("?")
        if any(character in unquote(urlsplit(address).path) for character in "*[") and not query:
            return self._matches(address)
        if address.endswith("/"):
            return sorted(self._below(address))
        return [url]

    def is_page(self, url: str) -> bool:
        """Whether a URL is an HTML page rather than a file."""
        try:
            kind = self._ask("HEAD", url).headers.get("Content-Type", "")
        except (httpx.HTTPError, OSError):
            return False
        return str(kind).startswith("text/html")

    def head(
        self, url: str, first: int, *, known: str = "", sink: Callable[[bytes], object]
    ) -> Head:
        """Request the first bytes of a file, which also returns its size.

        Args:
            known: The version of the local copy; nothing is sent if it is the current one.
            sink: Receives the whole content, in pieces, if the server has no ranges.
        """
        headers = {"Range": f"bytes=0-{first - 1}"}
        if known:
            name = "If-None-Match" if known.startswith(('"', "W/")) else "If-Modified-Since"
            headers[name] = known
        for left in reversed(range(TRIES)):
            try:
                with self._client.stream("GET", url, headers=headers) as response:
                    if response.status_code == httpx.codes.NOT_MODIFIED and known:
                        return Head(0, known, unchanged=True)
                    if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                        return Head(0, _version(response.headers))
                    _check(response)
                    version = _version(response.headers)
                    if response.status_code == httpx.codes.PARTIAL_CONTENT:
                        total = response.headers["Content-Range"].rpartition("/")[2]
                        return Head(int(total), version, response.read())
                    size = 0
                    for piece in response.iter_bytes(CHUNK):
                        size += len(piece)
                        sink(piece)
                    return Head(size, version, whole=True)
            except httpx.TransportError:
                if not left:
                    raise
                self._sleep(0.5 * (TRIES - left))
        raise AssertionError("not reached")

    def cat_file(self, url: str, start: int, end: int) -> bytes:
        """Return the bytes from `start` up to `end` (OSError if the server has no ranges)."""
        response = self._ask("GET", url, {"Range": f"bytes={start}-{end - 1}"})
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            raise OSError("the server does not send ranges of files")
        return response.content

    def _ask(
        self, method: str, url: str, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        for left in reversed(range(TRIES)):
            try:
                response = self._client.request(method, url, headers=headers)
                if response.status_code < 500 or not left:
                    _check(response)
                    return response
            except httpx.TransportError:
                if not left:
                    raise
            self._sleep(0.5 * (TRIES - left))
        raise AssertionError("not reached")

    def _links(self, page: str) -> list[str]:
        text = self._ask("GET", page).text
        found = (urljoin(page, unescape(link)) for link in _LINK.findall(text))
        below = (link.partition("#")[0].partition("?")[0] for link in found)
        return [link for link in dict.fromkeys(below) if link.startswith(page) and link != page]

    def _below(self, page: str, depth: int = 16) -> Iterator[str]:
        for link in self._links(page):
            if link.rstrip("/").rsplit("/", 1)[-1].startswith(("_", ".")):
                continue
            if not link.endswith("/"):
                yield link
            elif depth:
                yield from self._below(link, depth - 1)

    def _matches(self, pattern: str) -> list[str]:
        fixed = re.split(r"[*\[]", unquote(pattern), maxsplit=1)[0]
        base = fixed[: fixed.rindex("/") + 1]
        rule = re.compile(_glob_rule(unquote(pattern)[len(base) :]))
        found = [url for url in self._below(base) if rule.fullmatch(unquote(url)[len(base) :])]
        return sorted(found)


def _check(response: httpx.Response) -> None:
    if not response.is_success:
        raise OSError(f"the server returned {response.status_code} {response.reason_phrase}")


def _glob_rule(pattern: str) -> str:
    """Return a glob as a regular expression: `*` stays within a folder, `**` does not."""
    parts = []
    for part in pattern.split("/"):
        if part == "**":
            parts.append("(?:[^/]+/)*")
        else:
            rule = fnmatch.translate(part).replace(".*", "[^/]*")
            parts.append(rule.removeprefix("(?s:").removesuffix(r")\Z").removesuffix(r")\z") + "/")
    return "".join(parts).removesuffix("/")


def _version(headers: Any) -> str:
    return str(headers.get("ETag") or headers.get("Last-Modified") or "")
