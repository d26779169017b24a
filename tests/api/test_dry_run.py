"""The dry run on a real API server: it says what it would do, and nothing is done."""

from drqueue.api import GROUP, VERSION
from drqueue.api.names import LABEL_MANAGED_BY, MANAGED_BY
from kubernetes import client

from tests.api.reconciling import Farm
from tests.manifests import PLURALS, manifest

COMMAND = {"Command": "true"}


def notes(farm: Farm, name: str) -> list[str]:
    """What events of the dry run say about an object, the oldest first."""
    kinds = client.CustomObjectsApi(farm.core.api_client)
    where = ("events.k8s.io", "v1", farm.namespace, "events")
    found = kinds.list_namespaced_custom_object(*where)["items"]
    mine = [e for e in found if e["reason"] == "DryRun" and e["regarding"]["name"] == name]
    return [e["note"] for e in sorted(mine, key=lambda e: e["eventTime"])]


def versions(farm: Farm) -> dict[str, str]:
    """All that the operator might write to, with its version."""
    core, networks = farm.core, client.NetworkingV1Api(farm.core.api_client)
    ours = {"label_selector": f"{LABEL_MANAGED_BY}={MANAGED_BY}"}
    kinds = client.CustomObjectsApi(core.api_client)
    found = {
        f"{kind} {obj['metadata']['name']}": obj["metadata"]["resourceVersion"]
        for kind, plural in PLURALS.items()
        if kind != "RenderNodeClass"
        for obj in kinds.list_namespaced_custom_object(GROUP, VERSION, farm.namespace, plural)[
            "items"
        ]
    }
    for kind, listed in (
        ("Pod", core.list_namespaced_pod),
        ("Secret", core.list_namespaced_secret),
        ("Service", core.list_namespaced_service),
        ("Claim", core.list_namespaced_persistent_volume_claim),
        ("NetworkPolicy", networks.list_namespaced_network_policy),
    ):
        for item in listed(farm.namespace, **ours).items:
            found[f"{kind} {item.metadata.name}"] = item.metadata.resource_version
    return found


def switch(farm: Farm, dry_run: bool, **settings: str) -> None:
    """Another operator takes over, with the chart's value `dryRun` set so."""
    farm.operator.end()
    farm.start_operator(DRY_RUN="true" if dry_run else "false", **settings).wait_leading()


def made(farm: Farm, kind: str, **spec: object) -> None:
    """Put an entry in the books, which are in the farm's own namespace here."""
    changes = {f"spec.{name}": value for name, value in spec.items()}
    client.CustomObjectsApi(farm.core.api_client).create_namespaced_custom_object(
        GROUP, VERSION, farm.namespace, PLURALS[kind], manifest(kind, changes)
    )


def test_a_new_session_is_decided_about_and_left_alone(farm: Farm) -> None:
    switch(farm, dry_run=True)
    farm.make("RenderSession", spec__nodes=3)
    farm.make("RenderJob", spec__renderer="general", spec__parameters=COMMAND, spec__frames="1-24")
    before = versions(farm)
    wanted = "would have 3 of 3 nodes of class"
    farm.wait("nodes told", lambda: [n for n in notes(farm, "teapots") if n.startswith(wanted)])
    farm.wait(
        "the claim told",
        lambda: [n for n in notes(farm, "teapots") if "would apply PersistentVolumeClaim" in n],
    )
    farm.wait("the status told", lambda: [n for n in notes(farm, "turntable") if "would say" in n])
    farm.settled_writes()
    assert versions(farm) == before
    assert len(notes(farm, "teapots")) == len(set(notes(farm, "teapots")))
    # an operator that means it takes all of it up
    switch(farm, dry_run=False)
    farm.wait_nodes(3)


def test_a_running_farm_is_frozen_as_it_is(farm: Farm) -> None:
    session = farm.make("RenderSession")
    farm.make("RenderJob", spec__renderer="general", spec__parameters=COMMAND)
    first = farm.wait_nodes(2)[0]["metadata"]["name"]
    slave = farm.slave(first, session)
    lease = slave.lease()
    farm.operator.end()
    farm.patch("RenderSession", "teapots", {"spec": {"suspend": True}})
    farm.delete("RenderJob", "turntable")
    before = versions(farm)
    farm.start_operator(DRY_RUN="true").wait_leading()
    names = [node["metadata"]["name"] for node in farm.all("RenderNode")]
    farm.wait(
        "each node told",
        lambda: all(
            any(f"would patch RenderNode {name}: spec.drain" in note for note in notes(farm, name))
            for name in names
        ),
    )
    # the master goes on, and so does its slave, whose block nobody cancels
    assert slave.render(lease, [int(lease["frames"])])["action"] == "continue"
    farm.settled_writes()
    assert versions(farm) == before
    switch(farm, dry_run=False)
    farm.wait_nodes(0)
    farm.wait("the job gone", lambda: farm.get("RenderJob", "turntable") is None)


def test_money_stays_where_it_is(farm: Farm) -> None:
    switch(farm, dry_run=True, BILLING_NAMESPACE=farm.namespace)
    price = {"currency": "EUR", "machinePerHour": "1"}
    farm.patch("RenderNodeClass", farm.class_name, {"spec": {"price": price}})
    made(farm, "RenderAccount", namespaces=[farm.namespace], currency="EUR")
    account = manifest("RenderAccount")["metadata"]["name"]
    payment = manifest("RenderPayment")["metadata"]["name"]
    made(farm, "RenderPayment", accountName=account, amount="100", currency="EUR")
    farm.make("RenderSession")
    farm.make("RenderJob", spec__renderer="general", spec__parameters=COMMAND)
    before = versions(farm)
    for name, said in ((payment, "would say: Booking"), ("teapots", "would say: AwaitingPayment")):
        farm.wait(
            f"{name}: told",
            lambda name=name, said=said: [n for n in notes(farm, name) if n.startswith(said)],  # type: ignore[misc]
        )
    farm.settled_writes()
    assert versions(farm) == before
    switch(farm, dry_run=False, BILLING_NAMESPACE=farm.namespace)
    farm.wait_nodes(2)
    assert farm.status("RenderSession", "teapots")["funding"]["state"] == "Funded"
