"""The sessions' masters: orders to them, and a mirror of what they report."""

from drqueue.control.kinds import Key
from drqueue.farm.protocol import Changes, JobOrder, JobReport, NodeOrder, NodeReport


class Masters:
    """One long-poll for each master that is awake keeps a mirror of its jobs and nodes; what
    changed puts the job's, node's and session's keys on the queue.

    Sessions are named by their Key. Orders raise MasterAway (no such master, no answer in time)
    or MasterRefused (its Problem).
    """

    def start(self, session: Key, session_uid: str, service: str) -> None:
        """Follow the master behind the Service (a name in the session's namespace, port 8443).

        Idempotent; another UID or Service replaces the former. Call it once the pod is Ready.
        """
        raise NotImplementedError

    def stop(self, session: Key) -> None:
        """Follow it no longer and forget its mirror. Fine if it was not followed."""
        raise NotImplementedError

    def changes(self, session: Key) -> Changes | None:
        """All of the session's jobs and nodes as the master last reported; None until it has
        answered in this wake."""
        raise NotImplementedError

    def connected(self, session: Key) -> bool:
        """Whether its latest long-poll was answered (False: the mirror may be old)."""
        raise NotImplementedError

    def job(self, session: Key, uid: str) -> JobReport | None:
        """One job of the mirror."""
        raise NotImplementedError

    def node(self, session: Key, uid: str) -> NodeReport | None:
        """One node of the mirror."""
        raise NotImplementedError

    async def put_job(self, session: Key, order: JobOrder) -> JobReport:
        """Tell the master what should render; its report goes into the mirror too."""
        raise NotImplementedError

    async def delete_job(self, session: Key, uid: str) -> None:
        """Have the job's blocks cancelled and the job forgotten; fine if it is unknown."""
        raise NotImplementedError

    async def put_node(self, session: Key, uid: str, order: NodeOrder) -> NodeReport:
        """Open, close or end a node."""
        raise NotImplementedError

    async def close(self) -> None:
        """Stop following all."""
        raise NotImplementedError
