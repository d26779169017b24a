"""The journal and the rules over it: whatever happens, and wherever a master dies, each frame
counts once."""

import shutil
import sqlite3
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from drqueue.farm.attempts import End, accept, end, lease, publish, refuse
from drqueue.farm.journal import Journal, JournalError
from drqueue.farm.loading import load
from drqueue.farm.orders import RefusedError, delete_job, put_job, put_node
from drqueue.farm.protocol import FileDone, FrameDone, NodeOrder, RequestOrder
from drqueue.farm.schedule import choose
from drqueue.farm.state import SUCCEEDED, Change
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from tests.unit.farm_testing import Bench, check_counts, digest, order

NODES = ("n0", "n1", "n2")
RANGES = ("1-7", "5,3,1,2", "-3-4x2", "1-10y3", "9")
RESULTS = ("succeeded", "failed", "timeout", "drained", "lost")
FILES = (FileDone(path="out.0001", size=3, mark=(2**64 - 1, -1)),)


class FarmMachine(RuleBasedStateMachine):
    """A farm that is changed at random. A master may die before or after any commit."""

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="journal-"))
        self.bench = Bench(self.folder / "journal.sqlite")
        self.names = 0
        self.credited: Counter[tuple[str, int]] = Counter()
        self.numbers: list[int] = []
        self.requests = 0

    def teardown(self) -> None:
        self.bench.journal.close()
        shutil.rmtree(self.folder)

    def commit(self, change: Change, dies: str) -> bool:
        """Write a change, or die; whether it was written."""
        self.bench.ticks += 1
        if dies == "before":
            self.bench.restart()
            return False
        self.bench.write(change)
        if dies == "after":
            self.bench.restart()
        return True

    def credit(self, change: Change) -> None:
        for statement, values in change.records:
            if statement.startswith("INSERT OR REPLACE INTO frames") and values[2] == SUCCEEDED:
                self.credited[values[0], values[1]] += 1
            if statement.startswith("DELETE FROM frames WHERE job_uid = ? AND"):
                del self.credited[values]

    dies = st.sampled_from(["never"] * 8 + ["before", "after"])

    @rule(
        target=jobs,
        frames=st.sampled_from(RANGES),
        size=st.integers(1, 4),
        retries=st.integers(1, 2),
        priority=st.integers(0, 2),
        dies=dies,
    )
    def submit(self, frames: str, size: int, retries: int, priority: int, dies: str) -> str:
        self.names += 1
        uid = f"job-{self.names}"
        change = self.bench.change()
        new = order(uid, frames=frames, block_size=size, retries=retries, priority=priority)
        put_job(change, new, scene=None, refused=None, missing=None)
        self.commit(change, dies)
        return uid

    @rule(node=st.sampled_from(NODES), dies=dies)
    def take_lease(self, node: str, dies: str) -> None:
        farm = self.bench.farm
        mine = self.bench.node(node)
        if mine.attempt is not None:
            return
        choice = choose(farm, mine, self.bench.now)
        if choice is None:
            return
        change = self.bench.change()
        attempt = lease(change, *choice, mine)
        job = choice[0]
        for index in attempt.left:
            assert job.states[index] == 0, "a frame that is done is rendered again"
        if self.commit(change, dies):
            assert attempt.number not in self.numbers, "a number was used again"
            self.numbers.append(attempt.number)

    @rule(node=st.sampled_from(NODES), which=st.integers(0, 9), dies=dies)
    def frame_done(self, node: str, which: int, dies: str) -> None:
        farm = self.bench.farm
        attempt = farm.attempts.get(self.bench.node(node).attempt or 0)
        if attempt is None or not attempt.left:
            return
        job = farm.jobs[attempt.job_uid]
        index = sorted(attempt.left)[which % len(attempt.left)]
        done = FrameDone(frame=job.frames[index], seconds=1.0, files=FILES)
        change = self.bench.change()
        publish(change, job, index, attempt.number, done)
        self.commit(change, dies)

    @rule(which=st.integers(0, 9), good=st.booleans(), dies=dies)
    def moved(self, which: int, good: bool, dies: str) -> None:
        """Its files were moved into place, or were not what was said: now, or by a successor."""
        farm = self.bench.farm
        if not farm.publishing:
            return
        (uid, index), found = sorted(farm.publishing.items())[which % len(farm.publishing)]
        change = self.bench.change()
        if good:
            accept(change, farm.jobs[uid], index, found)
        else:
            refuse(change, farm.jobs[uid], index, found.attempt, "it is a link")
        if self.commit(change, dies):
            self.credit(change)

    @rule(node=st.sampled_from(NODES), result=st.sampled_from(RESULTS), dies=dies)
    def ends(self, node: str, result: str, dies: str) -> None:
        attempt = self.bench.farm.attempts.get(self.bench.node(node).attempt or 0)
        if attempt is None:
            return
        cost = "spared" if result == "drained" else "retry"
        change = self.bench.change()
        end(change, attempt, End(result, cost, told=result != "lost"))
        self.commit(change, dies)

    @rule(job=jobs, text=st.sampled_from([None, "failed", "1-3", "1"]), dies=dies)
    def rerun(self, job: str, text: str | None, dies: str) -> None:
        self.ask(job, RequestOrder(id=self.next_id(), verb="rerun", frames=text), dies)

    @rule(job=jobs, dies=dies)
    def kill(self, job: str, dies: str) -> None:
        self.ask(job, RequestOrder(id=self.next_id(), verb="kill"), dies)

    def next_id(self) -> str:
        self.requests += 1
        return f"r{self.requests}"

    def ask(self, uid: str, request: RequestOrder, dies: str) -> None:
        known = self.bench.farm.jobs.get(uid)
        if known is None:
            return
        change = self.bench.change()
        asked = known.order.model_copy(update={"requests": (request,)})
        put_job(change, asked, scene=None, refused=None, missing=None)
        if self.commit(change, dies):
            self.credit(change)
            assert request.id in self.bench.farm.jobs[uid].requests

    @rule(job=jobs, suspend=st.booleans(), dies=dies)
    def suspend(self, job: str, suspend: bool, dies: str) -> None:
        known = self.bench.farm.jobs.get(job)
        if known is None:
            return
        change = self.bench.change()
        newer = {"suspend": suspend, "generation": known.order.generation + 1}
        changed = known.order.model_copy(update=newer)
        put_job(change, changed, scene=None, refused=None, missing=None)
        self.commit(change, dies)
        if suspend and dies != "before":
            assert not self.bench.farm.jobs[job].running

    @rule(job=consumes(jobs), dies=dies)
    def delete(self, job: str, dies: str) -> None:
        change = self.bench.change()
        delete_job(change, job)
        if self.commit(change, dies):
            with pytest.raises(RefusedError, match="never comes back"):
                put_job(self.bench.change(), order(job), scene=None, refused=None, missing=None)
            for key in [key for key in self.credited if key[0] == job]:
                del self.credited[key]

    @rule(node=st.sampled_from(NODES[1:]), state=st.sampled_from(["open", "closed"]), dies=dies)
    def order_node(self, node: str, state: Any, dies: str) -> None:
        change = self.bench.change()
        put_node(change, node, NodeOrder(name=node, state=state))
        self.commit(change, dies)

    @rule()
    def restart(self) -> None:
        self.bench.restart()

    @invariant()
    def memory_is_the_journal(self) -> None:
        again = load(self.bench.journal, 60.0, self.bench.now)
        assert digest(again) == digest(self.bench.farm)

    @invariant()
    def counts_hold(self) -> None:
        check_counts(self.bench.farm)

    @invariant()
    def each_frame_counts_once(self) -> None:
        assert all(count == 1 for count in self.credited.values()), self.credited
        succeeded = {
            (job.uid, job.frames[index])
            for job in self.bench.farm.jobs.values()
            for index, state in enumerate(job.states)
            if state == SUCCEEDED
        }
        assert succeeded == set(self.credited)


TestFarmMachine = FarmMachine.TestCase
TestFarmMachine.settings = settings(max_examples=60, stateful_step_count=40)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    first = Journal(tmp_path / "journal.sqlite")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        Journal(tmp_path / "journal.sqlite")
    first.close()
    Journal(tmp_path / "journal.sqlite").close()


def test_modes(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    modes = {
        name: next(journal.rows(f"PRAGMA {name}"))[0]
        for name in ("locking_mode", "journal_mode", "synchronous")
    }
    assert modes == {"locking_mode": "exclusive", "journal_mode": "persist", "synchronous": 2}
    assert not list(tmp_path.glob("*-shm")), "shared memory is not to be had on all file systems"
    journal.close()


def test_newer_journal_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(JournalError, match="at least as new"):
        Journal(path)


def test_frame_that_the_version_before_was_publishing_is_read(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "journal.sqlite")
    job = bench.put(order(frames="1"))
    attempt = bench.lease(bench.node("n0"))
    assert attempt is not None
    change = bench.change()
    publish(change, job, 0, attempt.number, FrameDone(frame=1, seconds=1.0, files=FILES))
    change.records.append(("UPDATE frames SET files = ?", ('[["out.0001", 3]]',)))
    bench.write(change)
    bench.restart()
    assert bench.farm.publishing[job.uid, 0].files == (FileDone(path="out.0001", size=3),)
    bench.journal.close()


def test_failed_commit_writes_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "journal.sqlite")
    change = bench.change()
    put_job(change, order("good"), scene=None, refused=None, missing=None)
    with pytest.raises(sqlite3.Error):
        bench.journal.commit([change.records, [("INSERT INTO nowhere VALUES (1)", ())]])
    assert bench.rows("SELECT * FROM jobs") == []
    bench.write(change)
    assert len(bench.rows("SELECT * FROM jobs")) == 1
    bench.journal.close()


def test_million_frames_are_cheap(tmp_path: Path) -> None:
    """A lease, a report and its text must not look through a million frames one by one."""
    bench = Bench(tmp_path / "journal.sqlite")
    job = bench.put(order(frames="1-1000000"))
    node = bench.node("n0")
    calls = 0

    class Counting(bytearray):
        def __getitem__(self, key: Any) -> Any:
            nonlocal calls
            calls += 1
            return super().__getitem__(key)

    job.states = Counting(job.states)
    for _ in range(50):
        attempt = bench.lease(node)
        assert attempt is not None
        change = bench.change()
        done = FrameDone(frame=job.frames[attempt.block], seconds=1.0)
        publish(change, job, attempt.block, attempt.number, done)
        accept(change, job, attempt.block, bench.farm.publishing[job.uid, attempt.block])
        end(change, attempt, End("succeeded", "retry", told=True))
        bench.write(change)
    assert job.frames.text(job.states, SUCCEEDED) == "1-50"
    assert calls < 50 * 20
    bench.restart()
    assert bench.farm.jobs["job-1"].counts[SUCCEEDED] == 50
    bench.journal.close()
