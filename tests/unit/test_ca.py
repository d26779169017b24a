import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from drqueue.control.authority import CA_SECRET, ensure_authority
from drqueue.control.client import Client
from drqueue.control.kinds import Key
from drqueue.security.ca import CLOCK_SKEW, CertificateAuthority, IssuedCertificate
from drqueue.security.identity import Identity, parse_identity

from tests.unit.fake_api import FakeApi

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
MASTER = Identity("master", "3b1c")


def clock() -> datetime:
    return NOW


@pytest.fixture(scope="module")
def made() -> tuple[CertificateAuthority, str]:
    return CertificateAuthority.create(clock)


@pytest.fixture(scope="module")
def ca(made: tuple[CertificateAuthority, str]) -> CertificateAuthority:
    return made[0]


def parsed(issued: IssuedCertificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(issued.certificate.encode())


def names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_a_server_certificate_names_the_session_and_the_service(ca: CertificateAuthority) -> None:
    host = "teapots-3b1c4-master.studio-a.svc"
    issued = ca.issue(MASTER, validity=timedelta(days=30), dns_names=[host], server=True)
    certificate = parsed(issued)
    found = names(certificate)
    assert found.get_values_for_type(x509.DNSName) == [host]
    [uri] = found.get_values_for_type(x509.UniformResourceIdentifier)
    assert parse_identity(uri) == MASTER
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(issued.authority.encode()))


def test_a_nodes_certificate_is_for_clients_and_signs_nothing(ca: CertificateAuthority) -> None:
    node = Identity("node", "3b1c", "n" * 63, "5d2e")
    certificate = parsed(ca.issue(node, validity=timedelta(hours=1)))
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not basic.ca
    [uri] = names(certificate).get_values_for_type(x509.UniformResourceIdentifier)
    assert parse_identity(uri) == node


def test_validity_and_renewal_follow_the_clock(ca: CertificateAuthority) -> None:
    issued = ca.issue(MASTER, validity=timedelta(hours=3))
    certificate = parsed(issued)
    assert certificate.not_valid_before_utc == NOW - CLOCK_SKEW
    assert certificate.not_valid_after_utc == issued.not_after == NOW + timedelta(hours=3)
    assert issued.renew_at == NOW + timedelta(hours=2)


def test_nothing_outlives_the_authority() -> None:
    authority, _ = CertificateAuthority.create(clock, timedelta(days=1))
    issued = authority.issue(MASTER, validity=timedelta(days=30))
    assert issued.not_after == authority.not_after == NOW + timedelta(days=1)


def test_each_certificate_has_a_key_and_serial_of_its_own(ca: CertificateAuthority) -> None:
    one, two = (ca.issue(MASTER, validity=timedelta(hours=1)) for _ in range(2))
    assert one.private_key != two.private_key
    assert parsed(one).serial_number != parsed(two).serial_number


def test_a_key_that_is_not_the_certificates_is_refused(
    made: tuple[CertificateAuthority, str],
) -> None:
    _, another = CertificateAuthority.create(clock)
    with pytest.raises(ValueError, match="do not belong together"):
        CertificateAuthority(made[0].certificate, another, clock)


def test_no_key_shows_in_a_repr(made: tuple[CertificateAuthority, str]) -> None:
    authority, private_key = made
    issued = authority.issue(MASTER, validity=timedelta(hours=1))
    secret_line = private_key.splitlines()[1]
    assert secret_line not in repr(authority)
    assert issued.private_key.splitlines()[1] not in repr(issued)


def test_secret_data_holds_the_three_parts(ca: CertificateAuthority) -> None:
    issued = ca.issue(MASTER, validity=timedelta(hours=1))
    data = {name: base64.b64decode(text).decode() for name, text in issued.secret_data().items()}
    assert data == {
        "tls.crt": issued.certificate,
        "tls.key": issued.private_key,
        "ca.crt": ca.certificate,
    }


async def test_the_authority_is_made_once_and_kept() -> None:
    api = FakeApi()
    first = await ensure_authority(Client(api), "drqueue", clock)
    again = await ensure_authority(Client(api), "drqueue", clock)
    assert first.fingerprint == again.fingerprint
    assert [verb for verb, _, _ in api.requests].count("create") == 1


async def test_of_two_replicas_that_make_it_one_takes_the_others() -> None:
    api, theirs = FakeApi(), FakeApi()
    other = await ensure_authority(Client(theirs), "drqueue", clock)
    secret = theirs.objects[Key("Secret", "drqueue", CA_SECRET)]
    # The other replica's create arrives between our read and our create.
    api.before["create"] = lambda: api.objects.setdefault(
        Key("Secret", "drqueue", CA_SECRET), secret
    )
    ours = await ensure_authority(Client(api), "drqueue", clock)
    assert ours.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({}, "it has no 'tls.crt'"),
        ({"tls.crt": "!", "tls.key": "!"}, "base64"),
        ({"tls.crt": "eA==", "tls.key": "eA=="}, "PEM"),
    ],
)
async def test_a_secret_that_holds_no_authority_is_named_with_the_remedy(
    data: dict[str, str], problem: str
) -> None:
    api = FakeApi()
    await ensure_authority(Client(api), "drqueue", clock)
    api.objects[Key("Secret", "drqueue", CA_SECRET)]["data"] = data
    with pytest.raises(ValueError, match=r"Secret drqueue/drqueue-ca .* restore it") as caught:
        await ensure_authority(Client(api), "drqueue", clock)
    assert problem in str(caught.value)
