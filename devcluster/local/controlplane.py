"""etcd, API server, controller-manager and scheduler, as plain processes on this host."""

import json

from devcluster import components
from devcluster.errors import DevclusterError
from devcluster.local import certs, kubeconfig, kubectl, process
from devcluster.local.state import State

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
CLIENT_LIMITS = ("--kube-api-qps=1000", "--kube-api-burst=2000")
"""Their defaults (20 and 50 a second) would be the bound of anything that is measured here."""


def start(state: State) -> None:
    """Start what does not run yet, and wait until all of it answers."""
    prepare(state)
    _run(state, "etcd", etcd(state))
    start_apiserver(state)
    if state.controllers:
        _run(state, "controller-manager", controller_manager(state))
        _run(state, "scheduler", scheduler(state))
        for component in ("controller-manager", "scheduler"):
            url = f"https://127.0.0.1:{state.addresses.port(component)}/healthz"
            _wait(state, component, url)


def start_apiserver(state: State) -> None:
    """Start the API server, if it does not run, and wait until it is ready."""
    _run(state, "apiserver", apiserver(state))
    _wait(state, "apiserver", f"{state.server}/readyz")


def stop_apiserver(state: State) -> None:
    """End the API server and nothing else."""
    if running := state.processes.pop("apiserver", None):
        process.end([running])
        state.save()


def prepare(state: State) -> None:
    """Make keys, certificates and kubeconfigs, all that are missing."""
    authority = certs.authority(state)
    certs.service_account_key(state)
    addresses = state.addresses
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
    hosts = [*names, "kubernetes.default.svc.cluster.local", "127.0.0.1"]
    hosts += [state.api_address, addresses.service(1)]
    authority.issue("apiserver", "kube-apiserver", hosts=list(dict.fromkeys(hosts)))
    authority.issue("kubelet-client", "kube-apiserver", ["system:masters"])
    authority.issue("etcd", "etcd", hosts=["127.0.0.1"])
    local = ["127.0.0.1", "localhost"]
    for component in ("controller-manager", "scheduler"):
        authority.issue(f"{component}-serving", component, hosts=local)
        kubeconfig.for_component(state, component, f"system:kube-{component}")
    admin = authority.issue("admin", "admin", ["system:masters"])
    kubeconfig.write(state, state.kubeconfig, admin)
    (state.folder / "audit-policy.json").write_text(json.dumps(AUDIT_POLICY))


def etcd(state: State) -> list[str]:
    """Give etcd's command line."""
    pki, port = state.folder / "pki", state.addresses.port
    client, peer = f"https://127.0.0.1:{port('etcd')}", f"http://127.0.0.1:{port('etcd-peer')}"
    return [
        str(components.program("etcd")),
        "--name=devcluster",
        f"--data-dir={state.folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=devcluster={peer}",
        f"--cert-file={pki / 'etcd.crt'}",
        f"--key-file={pki / 'etcd.key'}",
        f"--trusted-ca-file={pki / 'ca.crt'}",
        "--client-cert-auth",
        "--unsafe-no-fsync",  # it outlives its processes, not a power cut: enough for a dev cluster
        "--log-level=warn",
    ]


def apiserver(state: State) -> list[str]:
    """Give the API server's command line."""
    pki, port, addresses = state.folder / "pki", state.addresses.port, state.addresses
    flags = [
        str(components.program("kube-apiserver")),
        f"--etcd-servers=https://127.0.0.1:{port('etcd')}",
        f"--etcd-cafile={pki / 'ca.crt'}",
        f"--etcd-certfile={pki / 'etcd.crt'}",
        f"--etcd-keyfile={pki / 'etcd.key'}",
        f"--bind-address={state.api_address}",
        f"--advertise-address={addresses.host}",
        f"--secure-port={port('apiserver')}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki / 'service-account.key'}",
        f"--service-account-signing-key-file={pki / 'service-account.key'}",
        f"--service-cluster-ip-range={addresses.services}",
        f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'kubelet-client.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",  # a node's name is in no DNS here
        "--allow-privileged=true",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
    ]
    if not state.full:  # no pod is there to find it, and a loopback address is refused
        flags.append("--endpoint-reconciler-type=none")
    if state.audit:
        flags.append(f"--audit-policy-file={state.folder / 'audit-policy.json'}")
        flags.append(f"--audit-log-path={state.folder / 'audit.log'}")
    return flags


def controller_manager(state: State) -> list[str]:
    """Give the controller-manager's command line."""
    pki = state.folder / "pki"
    return [
        str(components.program("kube-controller-manager")),
        *_controller(state, "controller-manager"),
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--service-account-private-key-file={pki / 'service-account.key'}",
        f"--cluster-signing-cert-file={pki / 'ca.crt'}",
        f"--cluster-signing-key-file={pki / 'ca.key'}",
        "--use-service-account-credentials=true",
        "--concurrent-gc-syncs=40",
    ]


def scheduler(state: State) -> list[str]:
    """Give the scheduler's command line."""
    return [str(components.program("kube-scheduler")), *_controller(state, "scheduler")]


def _controller(state: State, component: str) -> list[str]:
    config, pki = state.folder / "kubeconfigs" / component, state.folder / "pki"
    return [
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--tls-cert-file={pki / f'{component}-serving.crt'}",
        f"--tls-private-key-file={pki / f'{component}-serving.key'}",
        "--bind-address=127.0.0.1",
        f"--secure-port={state.addresses.port(component)}",
        "--leader-elect=false",
        *CLIENT_LIMITS,
    ]


def _run(state: State, component: str, command: list[str]) -> None:
    known = state.processes.get(component)
    if known and process.alive(known):
        return
    started = process.spawn(command, mark=state.mark, log=state.log(component))
    state.processes[component] = started
    state.save()


def _wait(state: State, component: str, url: str) -> None:
    def check() -> str | None:
        require_alive(state, component)
        return kubectl.probe(url, state)

    kubectl.wait_until(f"{component} of {state.name}", check, seconds=180)


def require_alive(state: State, component: str) -> None:
    """Raise DevclusterError with the end of its log if it ended."""
    if not process.alive(state.processes[component]):
        log = state.log(component)
        raise DevclusterError(f"{component} ended; see {log}:\n{process.tail(log)}")
