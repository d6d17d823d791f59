"""Certificates of an authority that lives as long as a test."""

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOST = "api.mayfly.test"
"""A name that no resolver knows: only a proxy leads there."""

USES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
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


def dask_tls(folder: Path) -> dict[str, str]:
    """Make a certificate for loopback; return the variables by which Dask uses it everywhere."""
    folder.mkdir(parents=True)
    chain, key = write_certificates(folder)
    files = {"CA_FILE": folder / "ca.pem"} | {
        f"{role}__{what}": file
        for role in ("SCHEDULER", "WORKER", "CLIENT")
        for what, file in (("CERT", chain), ("KEY", key))
    }
    return {f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(file) for name, file in files.items()}


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
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(USES)), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
