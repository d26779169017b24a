"""The chart's values as a model: the source of `drqueue-operator/values.schema.json`.

    python helm/values.py            writes the schema
    python helm/values.py --check    exit status 1 when the schema on disk is another

Unknown keys are refused at every level, so that a typo ends `helm install` with a message rather
than a farm that ignores it.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from drqueue.api.nodeclass import RenderNodeClassSpec, Toleration
from drqueue.api.values import LABEL_PATTERN, NAME_PATTERN, QUANTITY_PATTERN
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

CHART = Path(__file__).parent / "drqueue-operator"
SCHEMA = CHART / "values.schema.json"
VALUES = CHART / "values.yaml"

ANNOTATION_KEY = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
Marks = dict[Annotated[str, Field(pattern=ANNOTATION_KEY, max_length=317)], str]
"""Labels or annotations."""
# The models of the API say these by CEL, which Helm does not know
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=253)]
Namespace = Annotated[str, Field(pattern=LABEL_PATTERN, max_length=63)]
Quantity = Annotated[str, Field(pattern=QUANTITY_PATTERN)] | Annotated[int, Field(ge=0)]
OptionalName = Annotated[str, Field(pattern=r"^([a-z0-9]([-.a-z0-9]*[a-z0-9])?)?$", max_length=253)]
"""An object's name, or empty for the default."""

Stem = Annotated[str, Field(pattern=r"^([a-z]([-a-z0-9]*[a-z0-9])?)?$", max_length=40)]
"""What names of the chart's objects are made from, or empty for the default."""


class Part(BaseModel):
    """Base of all parts: camelCase, unknown keys refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class Image(Part):
    """One image. A digest wins over the tag."""

    repository: str = Field(min_length=1, pattern=r"^[a-z0-9]+([-._/:a-z0-9]*[a-z0-9])?$")
    tag: str = Field(default="", pattern=r"^([A-Za-z0-9_][-.A-Za-z0-9_]{0,127})?$")
    digest: str = Field(default="", pattern=r"^(sha256:[0-9a-f]{64})?$")


class Images(Part):
    """Where images come from."""

    registry: str = Field(default="", pattern=r"^([A-Za-z0-9][-.:/A-Za-z0-9]*[A-Za-z0-9])?$")
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: list[Name] = Field(default_factory=list)
    operator: Image = Image(repository="drqueue/operator")
    slave: Image = Image(repository="drqueue/slave")


class Amounts(Part):
    """Requests or limits of one container."""

    cpu: Quantity | None = None
    memory: Quantity | None = None
    ephemeral_storage: Quantity | None = Field(default=None, alias="ephemeral-storage")


class ContainerResources(Part):
    """Resources of one container."""

    requests: Amounts = Amounts()
    limits: Amounts = Amounts()


class ServiceAccount(Part):
    """The operator's service account."""

    name: OptionalName = ""
    annotations: Marks = Field(default_factory=dict)


class Readers(Part):
    """Who may read the cluster-wide list of node classes."""

    groups: list[str] = Field(default_factory=lambda: ["system:authenticated"])


class Roles(Part):
    """Roles for people."""

    customers: bool = True
    ops: bool = True
    billing: bool = True
    node_class_readers: Readers = Readers()


class Crds(Part):
    """The kinds themselves. Helm keeps them when the chart goes, and so every object of theirs."""

    install: bool = True


class Policies(Part):
    """Admission policies."""

    finalizers: bool = True
    statuses: bool = True
    books: bool = True
    pod_status_writers: list[Annotated[str, Field(min_length=1, max_length=317)]] = Field(
        default_factory=list, max_length=50
    )


class Billing(Part):
    """Prepaid render time: accounts, payments and invoices, in a namespace of their own."""

    enabled: bool = True
    namespace: Annotated[str, Field(pattern=rf"^$|{LABEL_PATTERN}", max_length=63)] = ""
    create_namespace: bool = True


class NetworkPolicy(Part):
    """What may talk to the operator's pods, and whom they may talk to."""

    enabled: bool = True
    api_server_ports: list[Annotated[int, Field(ge=1, le=65535)]] = Field(
        default_factory=lambda: [443, 6443], min_length=1
    )
    api_server_cidrs: list[str] = Field(default_factory=lambda: ["0.0.0.0/0", "::/0"], min_length=1)
    metrics_from: list[dict[str, Any]] = Field(default_factory=list)


class ServiceMonitor(Part):
    """For the Prometheus operator."""

    enabled: bool = False
    interval: Annotated[str, Field(pattern=r"^[0-9]+(ms|s|m|h)$")] = "30s"
    labels: Marks = Field(default_factory=dict)


class Alerts(Part):
    """A PrometheusRule with the alerts of docs/operations.md."""

    enabled: bool = False
    labels: Marks = Field(default_factory=dict)


class Dashboard(Part):
    """A ConfigMap that Grafana's sidecar picks up."""

    enabled: bool = False
    labels: Marks = Field(default_factory=lambda: {"grafana_dashboard": "1"})
    annotations: Marks = Field(default_factory=dict)


class Monitoring(Part):
    """Options for Prometheus and Grafana."""

    service_monitor: ServiceMonitor = ServiceMonitor()
    alerts: Alerts = Alerts()
    dashboard: Dashboard = Dashboard()


class Uninstall(Part):
    """The hook that runs before the chart is taken away."""

    enabled: bool = True
    timeout_seconds: int = Field(default=240, ge=30, le=3600)


class NodeClass(Part):
    """A RenderNodeClass that the chart applies."""

    name: Namespace
    labels: Marks = Field(default_factory=dict)
    annotations: Marks = Field(default_factory=dict)
    spec: RenderNodeClassSpec


class Values(Part):
    """Values of the chart drqueue-operator. docs/install.md explains them."""

    # `global` is what Helm hands to a chart that is a part of another one
    global_: dict[str, Any] = Field(default_factory=dict, alias="global")
    name_override: Stem = ""
    fullname_override: Stem = ""
    replicas: Literal[1, 2] = 1
    crds: Crds = Crds()
    images: Images = Images()
    watch_namespaces: list[Namespace] = Field(default_factory=list)
    storage_class_name: OptionalName = ""
    lease_seconds: int = Field(default=60, ge=5, le=3600)
    sweep_seconds: int = Field(default=300, ge=10, le=86400)
    api_qps: int = Field(default=500, ge=1, le=10_000)
    log_format: Literal["json", "plain"] = "json"
    master_resources: ContainerResources = ContainerResources(
        requests=Amounts(cpu="50m", memory="96Mi"), limits=Amounts(memory="512Mi")
    )
    resources: ContainerResources = ContainerResources(
        requests=Amounts(cpu="100m", memory="192Mi"), limits=Amounts(memory="512Mi")
    )
    pod_annotations: Marks = Field(default_factory=dict)
    pod_labels: Marks = Field(default_factory=dict)
    node_selector: Marks = Field(default_factory=dict)
    tolerations: list[Toleration] = Field(default_factory=list)
    affinity: dict[str, Any] = Field(default_factory=dict)
    priority_class_name: OptionalName = ""
    service_account: ServiceAccount = ServiceAccount()
    roles: Roles = Roles()
    policies: Policies = Policies()
    billing: Billing = Billing()
    dry_run: bool = False
    network_policy: NetworkPolicy = NetworkPolicy()
    monitoring: Monitoring = Monitoring()
    uninstall: Uninstall = Uninstall()
    node_classes: list[NodeClass] = Field(default_factory=list)


_UNUSED = {"title", "description", "default"}


def _plain(node: Any, names: bool = False) -> Any:
    """Drop what Helm has no use for: CEL, and texts and defaults, which values.yaml has.

    `names`: the keys of this dict are names of properties, not keywords.
    """
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: _plain(value, names=not names and key in ("properties", "$defs"))
        for key, value in node.items()
        if names or not (key in _UNUSED or key.startswith("x-kubernetes-"))
    }
    if not names and node.get("x-kubernetes-int-or-string"):
        kept = {"type": ["string", "integer"], **kept}
    return kept


def schema() -> dict[str, Any]:
    """The JSON schema that Helm holds values against."""
    found: dict[str, Any] = _plain(Values.model_json_schema(by_alias=True))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def main() -> int:
    """Write the schema, or say that it is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    text = json.dumps(schema(), indent=2) + "\n"
    if parser.parse_args().check:
        if SCHEMA.read_text() == text:
            return 0
        sys.stderr.write(f"{SCHEMA} is not what helm/values.py says: run `make chart-schema`\n")
        return 1
    SCHEMA.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
