"""The resources of `drqueue.org/v1alpha1`: one module a kind, and what they share.

The pydantic models here are the only source of the CRDs and of the reference in the docs
(`drqueue.api.crds`, `drqueue.api.docs`). This room imports no other room.
"""

GROUP = "drqueue.org"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
