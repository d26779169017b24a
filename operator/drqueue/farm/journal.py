"""The journal: a session's SQLite file, the truth about its frames.

One process holds it, exclusively; a commit is on the disk when it returns. What is written is made
by `records`, what is read at a start goes to `loading`.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from drqueue.farm.records import Record

SCHEMA_VERSION = 1
FILE_NAME = "journal.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS jobs (
    uid TEXT PRIMARY KEY, generation INTEGER NOT NULL, job_order TEXT NOT NULL, scene TEXT,
    problem TEXT, killed INTEGER NOT NULL DEFAULT 0, last_error TEXT NOT NULL DEFAULT '',
    started_at TEXT, finished_at TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deleted (uid TEXT PRIMARY KEY, at TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS folders (folder TEXT PRIMARY KEY, job_uid TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (
    job_uid TEXT NOT NULL, id TEXT NOT NULL, verb TEXT NOT NULL, result TEXT NOT NULL,
    message TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (job_uid, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attempts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, job_uid TEXT NOT NULL, block INTEGER NOT NULL,
    generation INTEGER NOT NULL, frames TEXT NOT NULL, node_uid TEXT NOT NULL,
    node_name TEXT NOT NULL, started_at TEXT NOT NULL, ended_at TEXT, result TEXT,
    told INTEGER NOT NULL DEFAULT 0, exit_code INTEGER, frame INTEGER,
    message TEXT NOT NULL DEFAULT '', last_lines TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS attempts_of_block ON attempts (job_uid, block);
CREATE TABLE IF NOT EXISTS frames (
    job_uid TEXT NOT NULL, frame INTEGER NOT NULL, state INTEGER NOT NULL,
    attempt INTEGER NOT NULL, seconds REAL, files TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (job_uid, frame)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blocks (
    job_uid TEXT NOT NULL, block INTEGER NOT NULL, failures INTEGER NOT NULL,
    spared INTEGER NOT NULL, tried TEXT NOT NULL, PRIMARY KEY (job_uid, block)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS nodes (
    uid TEXT PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
"""


class JournalError(Exception):
    """The journal cannot be opened, or belongs to a newer version."""


class Journal:
    """An open journal. Not thread-safe: one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open or make the journal and take it for this process alone.

        Raises JournalError, sqlite3.Error.
        """
        path.parent.mkdir(mode=0o770, exist_ok=True)
        self._connection = sqlite3.connect(
            path, timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            self._begin()
        except BaseException:
            self._connection.close()
            raise

    def _begin(self) -> None:
        execute = self._connection.execute
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("PRAGMA journal_mode = PERSIST")
        execute("PRAGMA synchronous = FULL")
        execute("PRAGMA temp_store = MEMORY")
        version = execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise JournalError(
                f"the journal is of version {version}, this master knows {SCHEMA_VERSION}: "
                "run a master at least as new as the one before"
            )
        if version < SCHEMA_VERSION:
            execute("BEGIN EXCLUSIVE")
            for statement in _SCHEMA.split(";"):
                execute(statement)
            execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            execute("COMMIT")
        # the first write takes the exclusive lock and keeps it
        execute("BEGIN EXCLUSIVE")
        execute("COMMIT")

    def commit(self, batches: Iterable[Iterable[Record]]) -> None:
        """Write all of it, or none. Raises sqlite3.Error, with nothing written."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            for batch in batches:
                for statement, values in batch:
                    execute(statement, values)
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise

    def rows(self, query: str, values: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query as they come. Raises sqlite3.Error."""
        yield from self._connection.execute(query, values)

    def close(self) -> None:
        """Give the journal up."""
        self._connection.close()
