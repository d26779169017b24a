"""The mirror of a master, over real TLS against a master that does as it is told."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from drqueue.control.errors import MasterAway, MasterRefused, Passing
from drqueue.control.kinds import Key
from drqueue.control.master_link import MasterLink
from drqueue.control.masters import Masters
from drqueue.control.metrics import Metrics
from drqueue.farm.protocol import (
    VERSION_HEADER,
    Changes,
    JobOrder,
    JobReport,
    NodeOrder,
    NodeReport,
    Problem,
)
from drqueue.security.ca import CertificateAuthority, IssuedCertificate
from drqueue.security.identity import Identity

SESSION = Key("RenderSession", "studio", "teapots")
SERVICE = "teapots-3b1c4-master"
HOST = f"{SERVICE}.studio.svc"
UID = "3b1c4"


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)  # as the wire has it


def job(uid: str, state: str = "waiting") -> JobReport:
    counts = dict.fromkeys(("total", "waiting", "running", "succeeded", "failed"), 0)
    return JobReport.model_validate(
        {
            "uid": uid,
            "generation": 1,
            "name": f"job-{uid}",
            "state": state,
            **counts,
            "succeeded_frames": "",
            "failed_frames": "",
            "waiting_blocks": 0,
            "running_blocks": 0,
            "output_folder": "outputs/a",
        }
    )


def order(uid: str) -> JobOrder:
    return JobOrder(
        uid=uid,
        generation=1,
        name=f"job-{uid}",
        owner="studio",
        created_at=now(),
        priority=50,
        frames="1-2",
        block_size=1,
        retries=3,
        renderer="general",
        output_folder="outputs/a",
    )


class FakeMaster:
    """Answers what the test says; long-polls hold until there is something new."""

    def __init__(self) -> None:
        self.epoch = "life-1"
        self.sequence = 1
        self.jobs: dict[str, tuple[int, JobReport]] = {}
        self.nodes: tuple[NodeReport, ...] = ()
        self.refuse: tuple[int, Problem] | None = None
        self.seen: list[tuple[str, str]] = []
        self.peer: list[str] = []
        self._news = asyncio.Condition()

    async def say(self, *reports: JobReport, nodes: tuple[NodeReport, ...] | None = None) -> None:
        async with self._news:
            self.sequence += 1
            for report in reports:
                self.jobs[report.uid] = (self.sequence, report)
            self.nodes = self.nodes if nodes is None else nodes
            self._news.notify_all()

    async def restart(self, epoch: str, *reports: JobReport) -> None:
        self.jobs.clear()
        self.epoch = epoch
        self.sequence = 0
        await self.say(*reports)

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.route("*", "/{path:.*}", self._answer)])
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        self.seen.append((request.method, request.path))
        assert request.headers[VERSION_HEADER] == "1"
        certificate = request.get_extra_info("peercert")
        self.peer = [value for kind, value in certificate["subjectAltName"] if kind == "URI"]
        if self.refuse is not None and request.path != "/v1/changes":
            status, problem = self.refuse
            return web.Response(status=status, text=problem.model_dump_json())
        if request.path == "/v1/changes":
            return self._json(await self._changes(request))
        if request.method == "DELETE":
            return web.Response(status=204)
        if "/jobs/" in request.path:
            given = JobOrder.model_validate_json(await request.read())
            return self._json(job(given.uid, "running"))
        node = NodeOrder.model_validate_json(await request.read())
        return self._json(NodeReport(uid=request.path[10:], name=node.name, state=node.state))

    async def _changes(self, request: web.Request) -> Changes:
        since = int(request.query["sequence"])
        if request.query["epoch"] != self.epoch:
            since = 0
        else:
            async with self._news:
                wait = float(request.query["wait"])
                if self.sequence <= since and wait:
                    async with asyncio.timeout(wait):
                        await self._news.wait_for(lambda: self.sequence > since)
                    since = since if request.query["epoch"] == self.epoch else 0
        fresh = tuple(report for number, report in self.jobs.values() if number > since)
        return Changes(epoch=self.epoch, sequence=self.sequence, jobs=fresh, nodes=self.nodes)

    def _json(self, message: Changes | JobReport | NodeReport) -> web.Response:
        return web.Response(text=message.model_dump_json(), content_type="application/json")


@pytest.fixture(scope="module")
def ca() -> CertificateAuthority:
    return CertificateAuthority.create(now)[0]


def server_context(issued: IssuedCertificate, folder: Path) -> ssl.SSLContext:
    (folder / "crt").write_text(issued.certificate)
    (folder / "key").write_text(issued.private_key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=issued.authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(folder / "crt", folder / "key")
    return context


class Served:
    """The fake master's server, which can be taken away and put back at the same port."""

    def __init__(self, master: FakeMaster, context: ssl.SSLContext) -> None:
        self._master = master
        self._context = context
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def up(self) -> None:
        self._runner = web.AppRunner(self._master.app(), shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._context)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def down(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None


def issue(ca: CertificateAuthority, uid: str = UID, host: str = HOST) -> IssuedCertificate:
    return ca.issue(
        Identity("master", uid), validity=timedelta(hours=1), dns_names=[host], server=True
    )


@pytest.fixture
def master() -> FakeMaster:
    return FakeMaster()


@pytest.fixture
async def served(
    master: FakeMaster, ca: CertificateAuthority, tmp_path: Path
) -> AsyncIterator[Served]:
    served = Served(master, server_context(issue(ca), tmp_path))
    await served.up()
    yield served
    await served.down()


@pytest.fixture
def news() -> list[Key]:
    return []


@pytest.fixture
async def masters(
    served: Served, ca: CertificateAuthority, news: list[Key]
) -> AsyncIterator[Masters]:
    link = MasterLink(ca, now, Metrics())
    masters = Masters(link, news.append, f"127.0.0.1:{served.port}")
    yield masters
    await masters.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 what is awaited is not an event
            await asyncio.sleep(0.02)


async def test_what_the_master_reports_is_mirrored_and_told(
    master: FakeMaster, masters: Masters, news: list[Key]
) -> None:
    await master.say(job("a"), job("b"))
    masters.start(SESSION, UID, SERVICE)
    assert masters.changes(SESSION) is None
    await until(lambda: masters.connected(SESSION))
    changes = masters.changes(SESSION)
    assert changes is not None and {report.uid for report in changes.jobs} == {"a", "b"}
    assert {Key("RenderJob", "studio", "job-a"), SESSION} <= set(news)
    assert master.peer == ["drqueue://operator"]
    news.clear()
    node = NodeReport(uid="n1", name="teapots-3b1c4-0", state="open", block="job-a/1")
    await master.say(job("a", "running"), nodes=(node,))
    await until(lambda: masters.node(SESSION, "n1") == node)
    found = masters.job(SESSION, "a")
    assert found is not None and found.state == "running"
    assert masters.job(SESSION, "b") is not None, "what did not change is kept"
    assert set(news) == {
        Key("RenderJob", "studio", "job-a"),
        Key("RenderNode", "studio", "teapots-3b1c4-0"),
        SESSION,
    }


async def test_a_sign_of_life_is_nobodys_news(
    master: FakeMaster, masters: Masters, news: list[Key]
) -> None:
    node = NodeReport(uid="n1", name="n", state="open", seen_at=now())
    await master.say(nodes=(node,))
    masters.start(SESSION, UID, SERVICE)
    await until(lambda: masters.node(SESSION, "n1") is not None)
    await until(lambda: masters.connected(SESSION))
    news.clear()
    later = node.model_copy(update={"seen_at": now() + timedelta(seconds=5)})
    await master.say(nodes=(later,))
    await until(lambda: masters.node(SESSION, "n1") == later)
    assert news == []


async def test_a_new_life_of_the_master_replaces_the_mirror(
    master: FakeMaster, masters: Masters, served: Served, news: list[Key]
) -> None:
    await master.say(job("a"), job("b"))
    masters.start(SESSION, UID, SERVICE)
    await until(lambda: masters.connected(SESSION))
    await served.down()
    await until(lambda: not masters.connected(SESSION))
    assert masters.job(SESSION, "a") is not None, "the mirror is kept meanwhile"
    await master.restart("life-2", job("b", "running"))
    news.clear()
    await served.up()
    await until(lambda: masters.connected(SESSION))
    assert masters.job(SESSION, "a") is None
    found = masters.job(SESSION, "b")
    assert found is not None and found.state == "running"
    assert Key("RenderJob", "studio", "job-a") in news


async def test_orders_reach_the_master_and_their_answers_the_mirror(
    master: FakeMaster, masters: Masters, news: list[Key]
) -> None:
    masters.start(SESSION, UID, SERVICE)
    report = await masters.put_job(SESSION, order("a"))
    assert report.state == "running"
    assert masters.job(SESSION, "a") == report
    node = await masters.put_node(SESSION, "n1", NodeOrder(name="n", state="closed"))
    assert (node.uid, node.state) == ("n1", "closed")
    await masters.delete_job(SESSION, "a")
    assert masters.job(SESSION, "a") is None
    await master.say(job("a"))  # was under way already
    await until(lambda: ("GET", "/v1/changes") in master.seen)
    await until(lambda: masters.connected(SESSION))
    assert masters.job(SESSION, "a") is None
    assert ("DELETE", "/v1/jobs/a") in master.seen


@pytest.mark.parametrize(
    ("status", "expected"),
    [(409, MasterRefused), (426, MasterRefused), (429, Passing), (500, MasterAway)],
)
async def test_refusals_are_sorted(
    master: FakeMaster, masters: Masters, status: int, expected: type[Exception]
) -> None:
    masters.start(SESSION, UID, SERVICE)
    master.refuse = (status, Problem(code="Older", message="generation 3 is known"))
    with pytest.raises(expected, match="generation 3 is known") as caught:
        await masters.put_job(SESSION, order("a"))
    assert type(caught.value) is expected


async def test_an_unknown_job_is_deleted_already(master: FakeMaster, masters: Masters) -> None:
    masters.start(SESSION, UID, SERVICE)
    master.refuse = (404, Problem(code="Unknown", message="no such job"))
    await masters.delete_job(SESSION, "a")


async def test_a_master_that_is_not_followed_or_not_there_is_away(
    masters: Masters, served: Served
) -> None:
    with pytest.raises(MasterAway):
        await masters.put_job(SESSION, order("a"))
    await served.down()
    masters.start(SESSION, UID, SERVICE)
    with pytest.raises(MasterAway, match=HOST):
        await masters.put_job(SESSION, order("a"))
    masters.stop(SESSION)
    assert masters.changes(SESSION) is None


@pytest.mark.parametrize("wrong", ["session", "host", "authority"])
async def test_a_server_that_is_not_the_sessions_master_gets_nothing(
    master: FakeMaster, ca: CertificateAuthority, tmp_path: Path, wrong: str
) -> None:
    issuer = CertificateAuthority.create(now)[0] if wrong == "authority" else ca
    issued = issue(
        issuer,
        uid="another-session" if wrong == "session" else UID,
        host="another-host.studio.svc" if wrong == "host" else HOST,
    )
    served = Served(master, server_context(issued, tmp_path))
    await served.up()
    masters = Masters(MasterLink(ca, now, Metrics()), lambda _: None, f"127.0.0.1:{served.port}")
    try:
        masters.start(SESSION, UID, SERVICE)
        with pytest.raises(MasterAway):
            await masters.put_job(SESSION, order("a"))
        assert master.seen == []
    finally:
        await masters.close()
        await served.down()


async def test_the_operators_certificate_is_renewed_in_time(
    served: Served, ca: CertificateAuthority
) -> None:
    time = now()
    link = MasterLink(ca, lambda: time, Metrics())
    first = link._tls()
    assert link._tls() is first
    time += timedelta(days=5)
    assert link._tls() is not first
    await link.close()
