"""Manifests of what a session has beside its pods: claim, Service, keys, network policies."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drqueue.api import API_VERSION
from drqueue.api.names import (
    LABEL_COMPONENT,
    LABEL_MANAGED_BY,
    LABEL_NODE,
    LABEL_SESSION,
    LABEL_SESSION_UID,
    MANAGED_BY,
    claim_name,
    master_name,
    session_slug,
)
from drqueue.api.values import format_time
from drqueue.providers.pod_parts import MASTER_PORT, labels
from drqueue.security.ca import IssuedCertificate

Json = dict[str, Any]

RENEW_AT = "drqueue.org/renew-at"
CA_MARK = "drqueue.org/ca"
SPEC_HASH = "drqueue.org/spec-hash"
ADOPTED = "drqueue.org/adopted"
"""On a claim that the farm did not make: it is never deleted with a session."""


@dataclass(frozen=True)
class SessionId:
    """A session as its children are named and labelled by."""

    namespace: str
    name: str
    uid: str

    @property
    def master(self) -> str:
        """Name of the master's Pod, Service and Secret."""
        return master_name(self.name, self.uid)

    def owner_reference(self) -> Json:
        """So that children go with the session, whoever deletes it."""
        return owner_reference("RenderSession", self.name, self.uid)

    def meta(self, name: str, component: str, owned: bool = True) -> Json:
        """Metadata of a child."""
        made: Json = {
            "name": name,
            "namespace": self.namespace,
            "labels": labels(self.name, self.uid, component),
        }
        if owned:
            made["ownerReferences"] = [self.owner_reference()]
        return made


def session_id(obj: Mapping[str, Any]) -> SessionId:
    """The identity of a RenderSession."""
    meta = obj["metadata"]
    return SessionId(meta["namespace"], meta["name"], meta["uid"])


def owner_reference(kind: str, name: str, uid: str) -> Json:
    """An owner of ours, as controller."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def claim(session: SessionId, size: str, access_mode: str, storage_class: str | None) -> Json:
    """The session's volume. Owned by nobody: whether it goes is decided at the session's end."""
    spec: Json = {"accessModes": [access_mode], "resources": {"requests": {"storage": size}}}
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    name = claim_name(session.name, session.uid)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": session.meta(name, "volume", owned=False),
        "spec": spec,
    }


def claim_marks(session: SessionId, found: Mapping[str, Any]) -> Json | None:
    """The patch that marks a claim as in this session's use; None where it is so marked."""
    meta = found["metadata"]
    wanted = labels(session.name, session.uid, "volume")
    have = meta.get("labels") or {}
    if all(have.get(name) == value for name, value in wanted.items()):
        return None
    patch: Json = {"metadata": {"labels": wanted}}
    if have.get(LABEL_MANAGED_BY) != MANAGED_BY:
        patch["metadata"]["annotations"] = {ADOPTED: "true"}
    return patch


def master_service(session: SessionId) -> Json:
    """A stable name for the master, whichever pod it is."""
    return _hashed(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": session.meta(session.master, "master"),
            "spec": {
                "selector": {LABEL_SESSION_UID: session.uid, LABEL_COMPONENT: "master"},
                "ports": [{"name": "https", "port": MASTER_PORT, "targetPort": "https"}],
            },
        }
    )


def master_dns_names(session: SessionId) -> tuple[str, ...]:
    """Names that the master's certificate is good for."""
    stem = f"{session.master}.{session.namespace}.svc"
    return (stem, f"{stem}.cluster.local", session.master)


def keys(
    name: str,
    namespace: str,
    marks: Mapping[str, str],
    owner: Json,
    *,
    certificate: IssuedCertificate,
    ca_fingerprint: str,
) -> Json:
    """A Secret with a key pair. What a reconciler must know of it later stands in annotations."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": dict(marks),
            "annotations": {
                RENEW_AT: format_time(certificate.renew_at),
                CA_MARK: ca_fingerprint,
            },
            "ownerReferences": [owner],
        },
        "data": certificate.secret_data(),
    }


def node_labels(session: SessionId, node_name: str) -> dict[str, str]:
    """Labels of what belongs to one node."""
    return {**labels(session.name, session.uid, "slave"), LABEL_NODE: node_name}


def network_policies(session: SessionId, operator_namespace: str) -> list[Json]:
    """Who may speak to whom: slaves and operator to the master, slaves to names; nobody else."""
    of_session = {LABEL_SESSION_UID: session.uid}
    master = {"matchLabels": {**of_session, LABEL_COMPONENT: "master"}}
    slaves = {"matchLabels": {**of_session, LABEL_COMPONENT: "slave"}}
    operator = {"matchLabels": {"kubernetes.io/metadata.name": operator_namespace}}
    to_master = [{"protocol": "TCP", "port": MASTER_PORT}]
    names = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    return [
        _policy(
            session,
            "all",
            {
                # also what is added to the session later: nothing, unless a policy says so
                "podSelector": {"matchLabels": of_session},
                "policyTypes": ["Ingress", "Egress"],
            },
        ),
        _policy(
            session,
            "master",
            {
                "podSelector": master,
                "policyTypes": ["Ingress"],
                "ingress": [
                    {
                        "from": [{"podSelector": slaves}, {"namespaceSelector": operator}],
                        "ports": to_master,
                    }
                ],
            },
        ),
        _policy(
            session,
            "slave",
            {
                "podSelector": slaves,
                "policyTypes": ["Egress"],
                "egress": [{"to": [{"podSelector": master}], "ports": to_master}, {"ports": names}],
            },
        ),
    ]


def _policy(session: SessionId, part: str, spec: Json) -> Json:
    name = f"{session_slug(session.name, session.uid)}-{part}"
    return _hashed(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": session.meta(name, part),
            "spec": spec,
        }
    )


def _hashed(manifest: Json) -> Json:
    text = json.dumps(manifest["spec"], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    manifest["metadata"]["annotations"] = {SPEC_HASH: digest}
    return manifest


def is_current(known: Mapping[str, Any] | None, manifest: Mapping[str, Any]) -> bool:
    """Whether what the store knows of an object is what the manifest says."""
    if known is None:
        return False
    have = known["metadata"].get("annotations") or {}
    return bool(have.get(SPEC_HASH) == manifest["metadata"]["annotations"][SPEC_HASH])


def session_name_of(obj: Mapping[str, Any]) -> str | None:
    """The session that a child is labelled with."""
    name = (obj["metadata"].get("labels") or {}).get(LABEL_SESSION)
    return str(name) if name else None
