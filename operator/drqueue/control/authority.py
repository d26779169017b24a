"""The farm's CA in a Secret of the operator's namespace: made once, kept for good."""

import base64
import binascii
from collections.abc import Callable
from datetime import datetime

from drqueue.api.names import LABEL_MANAGED_BY, MANAGED_BY
from drqueue.control.client import Client
from drqueue.control.errors import AlreadyExists, NotFound
from drqueue.control.kinds import Key, Object
from drqueue.security.ca import CertificateAuthority

CA_SECRET = "drqueue-ca"  # noqa: S105 the Secret's name


async def ensure_authority(
    client: Client, namespace: str, clock: Callable[[], datetime]
) -> CertificateAuthority:
    """The CA of the Secret, which is made if it is absent.

    Of two replicas that make it at once, one meets AlreadyExists and takes the other's: create is
    the only write, and the Secret is immutable. Raises ValueError, naming the Secret and the
    remedy, when what it holds is no CA.
    """
    key = Key("Secret", namespace, CA_SECRET)
    while True:
        try:
            return _read(await client.get(key), clock)
        except NotFound:
            authority, private_key = CertificateAuthority.create(clock)
        try:
            await client.create(_secret(key, authority.certificate, private_key))
        except AlreadyExists:
            continue
        return authority


def _secret(key: Key, certificate: str, private_key: str) -> Object:
    parts = {"tls.crt": certificate, "tls.key": private_key}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "labels": {LABEL_MANAGED_BY: MANAGED_BY},
        },
        "type": "kubernetes.io/tls",
        "immutable": True,
        "data": {name: base64.b64encode(pem.encode()).decode() for name, pem in parts.items()},
    }


def _read(secret: Object, clock: Callable[[], datetime]) -> CertificateAuthority:
    meta = secret["metadata"]
    try:
        data = secret.get("data") or {}
        certificate, private_key = (
            base64.b64decode(data[name], validate=True).decode() for name in ("tls.crt", "tls.key")
        )
        return CertificateAuthority(certificate, private_key, clock)
    except KeyError as missing:
        problem = f"it has no {missing}"
    except (ValueError, binascii.Error) as error:  # the messages hold no key material
        problem = str(error)
    raise ValueError(
        f"Secret {meta['namespace']}/{meta['name']} holds no authority ({problem}): restore it "
        "from a backup, or delete it and restart the operator; every certificate is then made anew"
    )
