"""The cluster's keys: one authority, certificates for its parts and for people."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from devcluster.local.state import State

VALID = timedelta(days=365)


@dataclass(frozen=True)
class Pair:
    """Files of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """A cluster's certificate authority; it lies in `<cluster>/pki` and is made when missing."""

    def __init__(self, folder: Path, now: datetime) -> None:
        self._folder, self._now = folder, now
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self.pair = self._files("ca")
        if not self.pair.certificate.exists():
            self._make_root()
        self._key = serialization.load_pem_private_key(self.pair.key.read_bytes(), None)
        self._root = x509.load_pem_x509_certificate(self.pair.certificate.read_bytes())

    def issue(
        self,
        name: str,
        user: str,
        groups: Sequence[str] = (),
        *,
        hosts: Sequence[str] = (),
    ) -> Pair:
        """Give the certificate called `name`, made if missing or near its end.

        `user` and `groups` are what Kubernetes reads from it (common name, organisations). `hosts`
        are DNS names and addresses; with any of them it is good for serving, too.
        """
        pair = self._files(name)
        if _lives(pair, self._now):
            return pair
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
        subject += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        usages += [ExtendedKeyUsageOID.SERVER_AUTH] if hosts else []
        builder = (
            self._builder(x509.Name(subject), key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if hosts:
            alternatives = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(alternatives, critical=False)
        self._write(pair, key, builder.sign(self._signing_key, hashes.SHA256()))
        return pair

    @property
    def _signing_key(self) -> ec.EllipticCurvePrivateKey:
        if not isinstance(self._key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{self.pair.key} holds another kind of key than was written there")
        return self._key

    def _files(self, name: str) -> Pair:
        return Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")

    def _make_root(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "drqueue devcluster")])
        certificate = (
            _builder(name, name, key.public_key(), self._now)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        self._write(self.pair, key, certificate)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        return _builder(subject, self._root.subject, key, self._now)

    def _write(self, pair: Pair, key: ec.EllipticCurvePrivateKey, made: x509.Certificate) -> None:
        write_key(pair.key, key)
        # the certificate comes last: where it is, its key is
        pair.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))


def authority(state: State) -> Authority:
    """Open a cluster's authority, making it first if need be."""
    return Authority(state.folder / "pki", datetime.now(UTC))


def service_account_key(state: State) -> Path:
    """Give the key that signs service accounts' tokens, made if missing."""
    path = state.folder / "pki" / "service-account.key"
    if not path.exists():
        write_key(path, ec.generate_private_key(ec.SECP256R1()))
    return path


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a private key that only its owner can read, whole or not at all."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,  # "EC PRIVATE KEY", as Kubernetes reads
            serialization.NoEncryption(),
        )
    )
    fresh.replace(path)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + VALID)
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _lives(pair: Pair, now: datetime) -> bool:
    try:
        found = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    except (OSError, ValueError):
        return False
    return found.not_valid_after_utc - now > VALID / 10
