"""The farm's certificate authority: EC P-256, identities as URI SANs (`security.identity`)."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from drqueue.security.identity import Identity

CA_VALIDITY = timedelta(days=3650)
CLOCK_SKEW = timedelta(minutes=5)
"""Certificates are valid from so long ago, for a machine whose clock is behind."""
RENEW_AFTER = 2 / 3
"""Of its life, when a certificate is to be renewed."""
_KEY_USAGES = (
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


@dataclass(frozen=True)
class IssuedCertificate:
    """A key pair as PEM, with the authority that vouches for it."""

    certificate: str
    private_key: str
    authority: str
    not_after: datetime
    renew_at: datetime
    """When two thirds of its life are over."""

    def __repr__(self) -> str:
        return f"IssuedCertificate(not_after={self.not_after.isoformat()})"

    def secret_data(self) -> dict[str, str]:
        """`data` of a Secret of type kubernetes.io/tls, base64: tls.crt, tls.key, ca.crt."""
        parts = {
            "tls.crt": self.certificate,
            "tls.key": self.private_key,
            "ca.crt": self.authority,
        }
        return {name: base64.b64encode(pem.encode()).decode() for name, pem in parts.items()}


class CertificateAuthority:
    """Issues certificates. Holds the CA's private key: never log it, never dump it."""

    def __init__(self, certificate: str, private_key: str, clock: Callable[[], datetime]) -> None:
        """`clock` tells the time now, aware. Raises ValueError when the two are not a pair of an
        authority, or no PEM."""
        self._clock = clock
        self.certificate = certificate
        """The authority's certificate as PEM: what peers are given to trust."""
        self._certificate = x509.load_pem_x509_certificate(certificate.encode())
        key = load_pem_private_key(private_key.encode(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the authority's private key is not an elliptic curve key")
        if key.public_key() != self._certificate.public_key():
            raise ValueError("the authority's private key and certificate do not belong together")
        self._key = key

    def __repr__(self) -> str:
        return f"CertificateAuthority({self.fingerprint[:12]})"

    @classmethod
    def create(
        cls, clock: Callable[[], datetime], validity: timedelta = CA_VALIDITY
    ) -> "tuple[CertificateAuthority, str]":
        """A new authority, and its private key as PEM, to be stored in a Secret."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = clock()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "DrQueue farm authority")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + validity)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        private_key = _private_pem(key)
        return cls(_certificate_pem(certificate), private_key, clock), private_key

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the CA's certificate, hex: an annotation by which a certificate of an
        earlier CA is found."""
        return hashlib.sha256(self._certificate.public_bytes(Encoding.DER)).hexdigest()

    @property
    def not_after(self) -> datetime:
        """When the authority itself ends; nothing it issues outlives it."""
        return self._certificate.not_valid_after_utc

    def issue(
        self,
        identity: Identity,
        *,
        validity: timedelta,
        dns_names: Sequence[str] = (),
        server: bool = False,
    ) -> IssuedCertificate:
        """A certificate for the identity: of a server (with its DNS names), else of a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = self._clock()
        not_after = min(now + validity, self.not_after)
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
        names += [x509.DNSName(name) for name in dns_names]
        certificate = (
            x509.CertificateBuilder()
            # No text of a tenant in the subject: 64 characters are not enough for some names.
            .subject_name(
                x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"drqueue {identity.role}")])
            )
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        return IssuedCertificate(
            certificate=_certificate_pem(certificate),
            private_key=_private_pem(key),
            authority=self.certificate,
            not_after=not_after,
            renew_at=now + (not_after - now) * RENEW_AFTER,
        )


def _key_usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in allowed for usage in _KEY_USAGES})


def _certificate_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
