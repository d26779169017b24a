"""Who a certificate speaks for, as a URI in its subject alternative names.

drqueue://operator
drqueue://session/<session uid>/master
drqueue://session/<session uid>/node/<node name>/<node uid>
"""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Identity:
    """One speaker. `session_uid` is empty for the operator; node fields only for nodes."""

    role: Literal["operator", "master", "node"]
    session_uid: str = ""
    node_name: str = ""
    node_uid: str = ""

    @property
    def uri(self) -> str:
        """The identity as its certificate carries it."""
        if self.role == "operator":
            return "drqueue://operator"
        if self.role == "master":
            return f"drqueue://session/{self.session_uid}/master"
        return f"drqueue://session/{self.session_uid}/node/{self.node_name}/{self.node_uid}"


def parse_identity(uri: str) -> Identity:
    """Read an identity's URI; raises ValueError for any other text."""
    parts = urlsplit(uri)
    path = [p for p in parts.path.split("/") if p]
    if parts.scheme == "drqueue":
        if parts.netloc == "operator" and not path:
            return Identity("operator")
        if parts.netloc == "session" and len(path) == 2 and path[1] == "master":
            return Identity("master", path[0])
        if parts.netloc == "session" and len(path) == 4 and path[1] == "node":
            return Identity("node", path[0], path[2], path[3])
    raise ValueError(f"{uri!r} names no part of a farm")
