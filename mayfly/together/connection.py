"""The connection to the API: the official SDK's own variables, with the SDK's meaning."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from mayfly.models.endpoint import EndpointName
from mayfly.models.errors import BadRequest

MANAGEMENT_URL = "https://api.together.ai"
INFERENCE_URL = "https://api-inference.together.ai"
"""Source: together 3.1 `_base_client`; TOGETHER_BASE_URL replaces both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The API's address and the credentials; the repr does not show the key.

    Attributes:
        base_url: Root of the management API, without a version.
        inference_url: Root of the inference API, with its version.
        provider: Identity of the API host: its name, or `loopback`, because loopback ports change
            between runs. Keeps the results and leases of different providers apart.
        project: From the environment, or "" to get it from the API.
        namespace: Separates the endpoints of several users or teams of one project.
        ca_file: Certificates to trust instead of the default ones, or "".
        timeout_s: Total time limit of one call to the management API, in seconds.
        key_is_secret: False for the embedded endpoint, which has the same key everywhere.
    """

    base_url: str
    inference_url: str
    provider: str
    project: str
    namespace: str
    api_key: str = field(repr=False)
    extra_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_file: str = ""
    timeout_s: float = 30.0
    key_is_secret: bool = True

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read the environment.

        Raises:
            BadRequest: There is no key, or a value is invalid.
        """
        key = env.get("TOGETHER_API_KEY", "").strip()
        if not key:
            raise BadRequest(
                "TOGETHER_API_KEY is not set; set it to your key, "
                "or add --local to try mayfly on the local emulator"
            )
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise BadRequest(
                "TOGETHER_API_KEY holds a character that no key has (a space, a line break or "
                "one beyond ASCII); copy the key again"
            )
        ca_file = env.get("SSL_CERT_FILE", "").strip()
        if ca_file and not Path(ca_file).is_file():
            raise BadRequest(f"SSL_CERT_FILE {ca_file} does not exist; name a file of certificates")
        override = env.get("TOGETHER_BASE_URL", "").strip().rstrip("/")
        if override and urlsplit(override).scheme not in {"http", "https"}:
            raise BadRequest(f"TOGETHER_BASE_URL {override} is not a URL; write https://host")
        # Older SDKs took `https://host/v1`, and many environments still have that.
        for version in ("/v1", "/v2"):
            override = override.removesuffix(version)
        # That host serves inference only; with it the user means Together itself.
        base_url = override if override not in ("", INFERENCE_URL) else MANAGEMENT_URL
        namespace = env.get("MAYFLY_NAMESPACE", "default")
        try:
            EndpointName(namespace=namespace, job="0" * 10, until=0)
        except ValueError as error:
            raise BadRequest(f"MAYFLY_NAMESPACE: {error}") from error
        return cls(
            base_url=base_url,
            inference_url=f"{override or INFERENCE_URL}/v1",
            provider=provider_of(base_url),
            project=env.get("TOGETHER_PROJECT_ID", "").strip(),
            namespace=namespace,
            api_key=key,
            extra_headers=_custom_headers(env.get("TOGETHER_CUSTOM_HEADERS", "")),
            ca_file=ca_file,
        )

    def environment(self) -> dict[str, str]:
        """Return the variables for another process to read this connection from, with the key."""
        return {
            "TOGETHER_API_KEY": self.api_key,
            "TOGETHER_BASE_URL": self.inference_url.removesuffix("/v1"),
            "TOGETHER_PROJECT_ID": self.project,
            "MAYFLY_NAMESPACE": self.namespace,
            "TOGETHER_CUSTOM_HEADERS": "\n".join(
                f"{name}: {value}" for name, value in self.extra_headers.items()
            ),
            **({"SSL_CERT_FILE": self.ca_file} if self.ca_file else {}),
        }

    def at(self, base_url: str, inference_url: str) -> Self:
        """Return the same credentials for another server, without a project."""
        return replace(
            self,
            base_url=base_url,
            inference_url=inference_url,
            provider=provider_of(base_url),
            project="",
        )

    def headers(self) -> dict[str, str]:
        """Return the headers of an inference request; they include the key."""
        given = {name.lower() for name in self.extra_headers}
        own = {} if "authorization" in given else {"Authorization": f"Bearer {self.api_key}"}
        return {**own, **self.extra_headers}


def provider_of(base_url: str) -> str:
    """Return the identity of an API host: its name, or `loopback` for any loopback address."""
    host = urlsplit(base_url).hostname or ""
    if host == "localhost":
        return "loopback"
    try:
        return "loopback" if ipaddress.ip_address(host).is_loopback else host
    except ValueError:
        return host


def _custom_headers(lines: str) -> dict[str, str]:
    """Read `Name: value` lines, as the SDK does with TOGETHER_CUSTOM_HEADERS."""
    pairs = (line.partition(":") for line in lines.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}
