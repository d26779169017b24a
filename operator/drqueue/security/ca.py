"""The farm's certificate authority: EC P-256, identities as URI SANs (`security.identity`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from drqueue.security.identity import Identity


@dataclass(frozen=True)
class IssuedCertificate:
    """A key pair as PEM, with the authority that vouches for it."""

    certificate: str
    private_key: str
    authority: str
    not_after: datetime
    renew_at: datetime
    """When two thirds of its life are over."""

    def secret_data(self) -> dict[str, str]:
        """`data` of a Secret of type kubernetes.io/tls, base64: tls.crt, tls.key, ca.crt."""
        raise NotImplementedError


class CertificateAuthority:
    """Issues certificates. Holds the CA's private key: never log it, never dump it."""

    def __init__(self, certificate: str, private_key: str, clock: Callable[[], datetime]) -> None:
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the CA's certificate, hex: an annotation by which a certificate of an
        earlier CA is found."""
        raise NotImplementedError

    def issue(
        self,
        identity: Identity,
        *,
        validity: timedelta,
        dns_names: Sequence[str] = (),
        server: bool = False,
    ) -> IssuedCertificate:
        """A certificate for the identity: of a server (with its DNS names), else of a client."""
        raise NotImplementedError
