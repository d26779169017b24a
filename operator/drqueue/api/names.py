"""Names, labels and marks on objects: one home for each, so that every room says the same.

A child's name comes from its parent's name and UID and an index, never from chance: a retry
after a lost reply finds the child it made rather than make a second one.
"""

FINALIZER = "drqueue.org/finalizer"
"""On sessions, jobs, nodes: what they hold outside is taken away first."""
POD_FINALIZER = "drqueue.org/end-recorded"
"""On a slave's pod, until its end is written on its RenderNode."""

REQUEST_PREFIX = "request.drqueue.org/"

LABEL_SESSION = "drqueue.org/session"
LABEL_SESSION_UID = "drqueue.org/session-uid"
LABEL_NODE = "drqueue.org/node"
LABEL_NODE_UID = "drqueue.org/node-uid"
LABEL_COMPONENT = "drqueue.org/component"
"""master, slave or reader."""
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "drqueue"

FIELD_MANAGER = "drqueue-operator"

INVOICE_PREFIX = "invoice-"

MAX_SESSION_NAME = 46
"""So that `<name>-<uid5>-master` and node names stay DNS labels (63 characters)."""


def session_slug(name: str, uid: str) -> str:
    """The stem of all names derived from a session; differs when a session is made anew."""
    return f"{name}-{uid.replace('-', '')[:5]}"


def master_name(session_name: str, session_uid: str) -> str:
    """Name of the master's Pod, Service and Secret."""
    return f"{session_slug(session_name, session_uid)}-master"


def reader_name(session_name: str, session_uid: str) -> str:
    """Name of the reader's pod."""
    return f"{session_slug(session_name, session_uid)}-reader"


def claim_name(session_name: str, session_uid: str) -> str:
    """Name of the session's claim, where it does not take over another."""
    return f"{session_slug(session_name, session_uid)}-volume"


def node_name(session_name: str, session_uid: str, index: int) -> str:
    """Name of the RenderNode at an index, and of its Pod and Secret."""
    return f"{session_slug(session_name, session_uid)}-{index}"


def invoice_name(session_uid: str) -> str:
    """Name of the RenderInvoice of the session with that UID."""
    return f"{INVOICE_PREFIX}{session_uid}"
