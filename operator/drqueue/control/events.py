"""Kubernetes Events on our objects: what a person would want to know, once."""

from typing import Literal

from drqueue.control.kinds import Object


class EventRecorder:
    """Posts events in the background, best effort. Call it on transitions only; the same
    (object, reason, message) within ten minutes is posted once."""

    def event(
        self, obj: Object, type: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        """Queue an event; never blocks, never raises. No secrets in the message."""
        raise NotImplementedError
