"""Kubeconfig files: for the administrator, for the cluster's parts, for people of a test."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

from devcluster.local import certs
from devcluster.local.state import State


def render(server: str, authority: bytes, certificate: bytes, key: bytes, name: str) -> str:
    """Give a kubeconfig (JSON, which is YAML too) that needs no other file."""

    def encoded(data: bytes) -> str:
        return base64.b64encode(data).decode()

    user = {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)}
    cluster = {"server": server, "certificate-authority-data": encoded(authority)}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        },
        indent=1,
    )


def write(state: State, path: Path, pair: certs.Pair) -> Path:
    """Write the kubeconfig of a certificate, readable by its owner only."""
    authority = (state.folder / "pki" / "ca.crt").read_bytes()
    text = render(
        state.server,
        authority,
        pair.certificate.read_bytes(),
        pair.key.read_bytes(),
        f"drqueue-{state.name}",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(path)
    return path


def for_user(state: State, user: str, groups: Sequence[str]) -> Path:
    """Give the kubeconfig of a certificate user; `groups` hold only when it is first made."""
    pair = certs.authority(state).issue(f"user-{_file_name(user)}", user, groups)
    return write(state, state.folder / "users" / f"{_file_name(user)}.kubeconfig", pair)


def for_component(state: State, component: str, user: str, groups: Sequence[str] = ()) -> Path:
    """Give the kubeconfig of a part of the cluster."""
    pair = certs.authority(state).issue(component, user, groups)
    return write(state, state.folder / "kubeconfigs" / component, pair)


def _file_name(user: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "_" for c in user)
