"""The API server as an administrator, by plain JSON: set-up, and watches that cost little."""

import base64
import http.client
import json
import ssl
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
LONGEST_WATCH = 600.0
METADATA_WATCH = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"


class ApiError(Exception):
    """An answer of 400 or more; its first argument is the status."""


class Admin:
    """One user of a cluster, by a kubeconfig of devcluster."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._host = urllib.parse.urlsplit(cluster["server"]).netloc
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(base64.b64decode(user["client-certificate-data"]))
            pair.write(base64.b64decode(user["client-key-data"]))
            pair.flush()
            self._context.load_cert_chain(pair.name)
        self._connections = threading.local()

    def connection(self, timeout: float | None = 60) -> http.client.HTTPSConnection:
        """A new connection."""
        return http.client.HTTPSConnection(self._host, context=self._context, timeout=timeout)

    def _connected(self) -> http.client.HTTPSConnection:
        for pause in (0.2, 1.0, 3.0):
            made = self.connection()
            try:
                made.connect()
            except OSError:  # a machine that is busy resets a connection now and then
                time.sleep(pause)
            else:
                return made
        return self.connection()

    def ask(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Any:
        """One request; the answer's JSON. Raises ApiError."""
        if not hasattr(self._connections, "one"):
            self._connections.one = self._connected()
        connection: http.client.HTTPSConnection = self._connections.one
        text = None if body is None else json.dumps(body).encode()
        connection.request(method, path, text, {"Content-Type": content_type})
        answer = connection.getresponse()
        read = answer.read()
        if answer.status >= 400:
            raise ApiError(answer.status, f"{method} {path}: {read.decode(errors='replace')}")
        return json.loads(read) if read else None

    def create(self, path: str, obj: Any) -> Any:
        """POST to a collection."""
        return self.ask("POST", path, obj)

    def apply(self, path: str, obj: Any) -> Any:
        """Server-side apply to an object's own path."""
        return self.ask("PATCH", f"{path}?fieldManager=bench&force=true", obj, APPLY)

    def patch(self, path: str, patch: Any) -> Any:
        """JSON merge patch."""
        return self.ask("PATCH", path, patch, MERGE)

    def delete(self, path: str) -> None:
        """DELETE, owned objects in the background."""
        self.ask("DELETE", f"{path}{'&' if '?' in path else '?'}propagationPolicy=Background")

    def names(self, path: str) -> list[str]:
        """Names of the objects of a collection."""
        return [item["metadata"]["name"] for item in self.ask("GET", path)["items"]]

    def found(self, path: str) -> bool:
        """Whether an object is there."""
        try:
            self.ask("GET", path)
        except ApiError as error:
            if error.args[0] == 404:
                return False
            raise
        return True


class Live:
    """How many objects of a selection there are now, by a watch of metadata only.

    `heard(name)` is called, on the watch's thread, when an object comes in.
    """

    def __init__(
        self,
        admin: Admin,
        collection: str,
        *,
        labels: str = "",
        fields: str = "",
        heard: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._query = {"labelSelector": labels, "fieldSelector": fields}
        self._admin, self._collection, self._heard = admin, collection, heard
        self._names: set[str] = set()
        self._changed = threading.Condition()
        self._closed = False
        self._failure = ""
        self._listed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._listed.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True

    def wait(
        self,
        what: str,
        holds: Callable[[int], bool],
        seconds: float,
        still: Callable[[], object] = lambda: None,
    ) -> float:
        """Wait until the count is as wanted; gives `time.perf_counter()` of then.

        Raises TimeoutError with what was seen, and what `still`, called each second, raises.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while not holds(len(self._names)):
                left = deadline - time.monotonic()
                if left <= 0 or self._failure:
                    raise TimeoutError(f"{what}: {len(self._names)} in {seconds} s{self._failure}")
                self._changed.wait(min(left, 1.0))
                still()
            return time.perf_counter()

    def _run(self) -> None:
        try:
            while not self._closed:  # the server ends watches that it finds slow
                version = self._list()
                self._listed.set()
                self._watch(version)
        except (OSError, ValueError, http.client.HTTPException, ApiError) as error:
            with self._changed:
                self._failure = f"; the watch ended: {error!r}"
                self._changed.notify_all()

    def _list(self) -> str:
        found = self._admin.ask("GET", f"{self._collection}?{urllib.parse.urlencode(self._query)}")
        names = {item["metadata"]["name"] for item in found["items"]}
        with self._changed:
            fresh, self._names = names - self._names, names
            self._changed.notify_all()
        for name in fresh:
            self._heard(name)
        return str(found["metadata"]["resourceVersion"])

    def _watch(self, version: str) -> None:
        query = self._query | {"watch": "true", "resourceVersion": version}
        path = f"{self._collection}?{urllib.parse.urlencode(query)}"
        connection = self._admin.connection(timeout=LONGEST_WATCH)
        try:
            connection.request("GET", path, headers={"Accept": METADATA_WATCH})
            answer = connection.getresponse()
            while not self._closed and (line := answer.readline()):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                self._take(event["type"], event["object"]["metadata"]["name"])
        finally:
            connection.close()

    def _take(self, kind: str, name: str) -> None:
        with self._changed:
            if kind == "DELETED":
                self._names.discard(name)
            elif kind == "ADDED":
                self._names.add(name)
            self._changed.notify_all()
        if kind == "ADDED":
            self._heard(name)
