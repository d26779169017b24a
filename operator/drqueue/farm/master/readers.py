"""Answers the reader commands that are run in the master's own container: over a unix socket, for
the journal is the master's alone."""

import asyncio
import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from drqueue.api.frames import FramesError
from drqueue.farm.journal import Journal
from drqueue.farm.master.committer import Committer
from drqueue.farm.reading import (
    Head,
    NothingSuchError,
    chosen_indexes,
    pages,
    read_head,
    read_page,
)

LOG = logging.getLogger(__name__)
_MAX_QUESTION = 4096


class Readers:
    """Listens on a socket that only the pod's own user can open."""

    def __init__(self, committer: Committer, path: Path) -> None:
        self._committer = committer
        self._path = path
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. Raises OSError."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path, limit=_MAX_QUESTION)
        self._path.chmod(0o600)

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            question = await reader.readline()
            if question:
                await self._answer(json.loads(question), writer)
        except (OSError, ValueError) as error:
            LOG.info("a reader broke off", extra={"error": str(error)})
        finally:
            writer.close()

    async def _answer(self, question: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        frames = question.get("frames")
        try:
            head, indexes = await self._committer.read(
                lambda journal: _find(journal, str(question.get("job_uid")), frames)
            )
        except FramesError as error:
            _write(writer, {"error": "frames", "frames": frames, "message": error.why})
            return
        except NothingSuchError as error:
            _write(writer, {"error": "nothing", "message": str(error)})
            return
        _write(writer, {"output_folder": head.output_folder, "name": head.name})
        for page in pages(indexes):
            rows = await self._committer.read(partial(_page, head=head, indexes=page))
            for row in rows:
                _write(writer, row)
            await writer.drain()
        _write(writer, {"end": True})
        await writer.drain()


def _find(journal: Journal, job_uid: str, frames: str | None) -> tuple[Head, Sequence[int]]:
    head = read_head(journal.rows, job_uid)
    return head, chosen_indexes(head, frames)


def _page(journal: Journal, head: Head, indexes: Sequence[int]) -> list[dict[str, Any]]:
    return list(read_page(journal.rows, head, indexes))


def _write(writer: asyncio.StreamWriter, item: dict[str, Any]) -> None:
    writer.write(json.dumps(item).encode() + b"\n")
