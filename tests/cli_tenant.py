"""A tenant of a real API server: the command line, the raw API, and an operator's part."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from drqueue.api import GROUP, VERSION
from drqueue.api.names import REQUEST_PREFIX
from drqueue.cli.main import cli
from kubernetes import client

from tests.control_plane import wait_until
from tests.manifests import PLURALS, manifest

Object = dict[str, Any]
BASE = ("--session", "teapots", "--renderer", "povray", "--frames", "1-4")
"""Options of a job that holds."""


@dataclass
class Tenant:
    """A namespace, the program run in it, and the raw API beside it."""

    api: client.ApiClient
    kubeconfig: Path
    namespace: str

    def run(self, *arguments: str, environment: dict[str, str] | None = None) -> Result:
        """Run the program in the tenant's namespace."""
        options = ["--kubeconfig", str(self.kubeconfig), "-n", self.namespace]
        result = CliRunner(env=environment).invoke(cli, [*options, *arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def ok(self, *arguments: str) -> str:
        """Run the program, which has to end well, and give what it wrote."""
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    @property
    def objects(self) -> client.CustomObjectsApi:
        """Our own kinds."""
        return client.CustomObjectsApi(self.api)

    @property
    def core(self) -> client.CoreV1Api:
        """ConfigMaps and events."""
        return client.CoreV1Api(self.api)

    def apply(self, kind: str, changes: Object | None = None, name: str | None = None) -> Object:
        """Create an object from a manifest that holds."""
        body = manifest(kind, changes, name)
        made: Object = self.objects.create_namespaced_custom_object(
            GROUP, VERSION, self.namespace, PLURALS[kind], body
        )
        return made

    def get(self, kind: str, name: str) -> Object:
        """Read an object."""
        found: Object = self.objects.get_namespaced_custom_object(
            GROUP, VERSION, self.namespace, PLURALS[kind], name
        )
        return found

    def set_status(self, kind: str, name: str, status: Object) -> None:
        """Write a status, as the operator does."""
        self.objects.patch_namespaced_custom_object_status(
            GROUP, VERSION, self.namespace, PLURALS[kind], name, {"status": status}
        )

    def annotate(self, kind: str, name: str, annotations: dict[str, str | None]) -> None:
        """Set annotations, or take them off."""
        self.objects.patch_namespaced_custom_object(
            GROUP,
            VERSION,
            self.namespace,
            PLURALS[kind],
            name,
            {"metadata": {"annotations": annotations}},
        )


@contextmanager
def meanwhile(action: Callable[[], None]) -> Iterator[None]:
    """Do something on a thread while the program runs; its failure is the test's."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            action()
        except BaseException as problem:
            failures.append(problem)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield
    finally:
        thread.join(60)
    assert not thread.is_alive()
    if failures:
        raise failures[0]


def requests_on(item: Object) -> dict[str, Object]:
    """Give the requests on an object by id."""
    annotations = item["metadata"].get("annotations") or {}
    return {
        key.removeprefix(REQUEST_PREFIX): json.loads(value)
        for key, value in annotations.items()
        if key.startswith(REQUEST_PREFIX)
    }


def answering(
    tenant: Tenant, kind: str, name: str, result: str, seen: list[Object]
) -> Callable[[], None]:
    """Build an operator that answers the next request with that result."""

    def act() -> None:
        wait_until(lambda: bool(requests_on(tenant.get(kind, name))), "a request")
        [(request_id, request)] = requests_on(tenant.get(kind, name)).items()
        seen.append(request)
        entry = {
            "id": request_id,
            "verb": request["verb"],
            "result": result,
            "message": f"said {result}",
            "time": "2026-01-31T12:00:00Z",
        }
        tenant.set_status(kind, name, {"handledRequests": [entry]})
        tenant.annotate(kind, name, {REQUEST_PREFIX + request_id: None})

    return act
