"""Whether a job's template and parameters hold, found out by a process of its own.

Open Job Description's model takes 10 MB and a third of a second to load, and a template is a
stranger's: what it does to the checker it does not do to the master. The process stays for some
seconds, as jobs often come together.

    python -m drqueue.farm.master.checking      one JobOrder in, one answer out, a line each
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable

from drqueue.farm.orders import RefusedError
from drqueue.farm.protocol import MAX_REQUEST_BYTES, JobOrder, JobProblem
from drqueue.renderers import (
    JobFacts,
    ParametersError,
    TemplateError,
    UnknownRendererError,
    template_of,
    validate,
)

Check = Callable[[JobOrder, str | None], Awaitable[JobProblem | None]]
"""Gives what is wrong with an order's template or parameters; the text is its scene's path."""

IDLE_SECONDS = 15.0
CHECK_SECONDS = 60.0


def problem_of(order: JobOrder, scene: str | None) -> JobProblem | None:
    """What is wrong with a job's template or parameters. Takes 30 ms, once it is loaded."""
    facts = JobFacts(
        name=order.name,
        owner=order.owner,
        frames=order.frames,
        scene=f"/work/{scene}" if scene else None,
        output_folder=f"/work/{order.output_folder}",
        work_folder="/work",
    )
    try:
        template = order.template or template_of(order.renderer or "")
        validate(template, order.parameters, facts)
    except (UnknownRendererError, TemplateError) as error:
        return JobProblem(reason="TemplateInvalid", message=str(error))
    except ParametersError as error:
        return JobProblem(reason="ParametersInvalid", message=str(error))
    return None


class Checker:
    """Starts the process when it is needed, and ends it when it is not."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._end: asyncio.TimerHandle | None = None

    async def check(self, order: JobOrder, scene: str | None) -> JobProblem | None:
        """See `Check`. Raises RefusedError when it could not be found out."""
        slim = order.model_copy(update={"scene": None, "requests": ()})
        question = json.dumps({"order": slim.model_dump(mode="json"), "scene": scene})
        async with self._lock:
            if self._end is not None:
                self._end.cancel()
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    line = await self._ask(question.encode() + b"\n")
            except (TimeoutError, OSError, ValueError) as error:
                self.stop()
                raise RefusedError(503, "NotChecked", "the job's check was broken off") from error
            self._end = asyncio.get_running_loop().call_later(IDLE_SECONDS, self.stop)
        answer = json.loads(line)
        return JobProblem.model_validate(answer) if answer else None

    async def _ask(self, question: bytes) -> bytes:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                __name__,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        if process.stdin is None or process.stdout is None:
            raise OSError("no pipes")
        process.stdin.write(question)
        await process.stdin.drain()
        line = await process.stdout.readline()
        if not line:
            raise OSError("the checker ended")
        return line

    def stop(self) -> None:
        """End the process."""
        if self._end is not None:
            self._end.cancel()
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        self._process = None


def main() -> None:
    """Answer orders from standard input until its end."""
    for line in iter(lambda: sys.stdin.buffer.readline(2 * MAX_REQUEST_BYTES), b""):
        question = json.loads(line)
        order = JobOrder.model_validate(question["order"])
        problem = problem_of(order, question["scene"])
        answer = problem.model_dump_json() if problem else "null"
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
