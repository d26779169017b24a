"""`drqueue job`: list, show, stop, continue, kill, rerun, delete."""

import click

from drqueue.api.frames import FramesError, check_frames
from drqueue.cli.context import Group, Run, pass_run
from drqueue.cli.exits import refused, usage
from drqueue.cli.job_show import print_job
from drqueue.cli.kinds import JOB, SESSION
from drqueue.cli.objects import (
    all_namespaces_option,
    delete_wait_option,
    find,
    name_argument,
    name_completer,
    wait_gone,
)
from drqueue.cli.output import dig, output_option, print_object, print_objects, print_table
from drqueue.cli.requests import answer_options, ask
from drqueue.cli.rows import JOB_HEADERS, job_row

DELETE_SECONDS = 120.0


@click.group("job", cls=Group)
def job() -> None:
    """Render jobs: frames to render on a session's nodes."""


@job.command("list")
@click.option(
    "--session",
    metavar="NAME",
    help="Only jobs of this session.",
    shell_complete=name_completer(SESSION),
)
@all_namespaces_option
@output_option
@pass_run
def list_jobs(run: Run, session: str | None, all_namespaces: bool, form: str) -> None:
    """List render jobs, with their progress and why they wait."""
    items = run.cluster.list_all(JOB, None if all_namespaces else run.namespace)
    if session is not None:
        items = [item for item in items if dig(item, "spec", "sessionName") == session]
    if form != "table":
        print_objects(form, items)
        return
    rows = [job_row(item, run.now) for item in items]
    headers = list(JOB_HEADERS)
    if all_namespaces:
        headers.insert(0, "NAMESPACE")
        rows = [[dig(i, "metadata", "namespace"), *r] for i, r in zip(items, rows, strict=True)]
    print_table(headers, rows, "no jobs")


@job.command("show")
@name_argument(JOB)
@output_option
@pass_run
def show(run: Run, name: str, form: str) -> None:
    """Show a job: phase, why it waits, frames by state, last error, conditions and events.

    Its session and node class are looked at too, for what they say about waiting.
    """
    item = find(run.cluster, JOB, run.namespace, name)
    if form == "table":
        print_job(run, item)
    else:
        print_object(form, item)


def _suspend(run: Run, name: str, value: bool) -> None:
    find(run.cluster, JOB, run.namespace, name)
    run.cluster.patch(JOB, run.namespace, name, {"spec": {"suspend": value}})
    click.echo(f"job {name} {'stopped: it is handed out no more' if value else 'goes on'}")


@job.command("stop")
@name_argument(JOB)
@pass_run
def stop(run: Run, name: str) -> None:
    """Stop a job (spec.suspend): no new blocks, running ones end; finished frames stay."""
    _suspend(run, name, True)


@job.command("continue")
@name_argument(JOB)
@pass_run
def go_on(run: Run, name: str) -> None:
    """Let a stopped job go on with the frames it has not finished."""
    _suspend(run, name, False)


@job.command("kill")
@name_argument(JOB)
@answer_options
@pass_run
def kill(run: Run, name: str, no_wait: bool, seconds: float) -> None:
    """Kill a job: its running blocks are cancelled, its waiting frames are given up.

    Finished frames stay; `drqueue job rerun` takes it up again.
    """
    find(run.cluster, JOB, run.namespace, name)
    ask(run, JOB, name, {"verb": "kill"}, wait=not no_wait, seconds=seconds)


@job.command("rerun")
@name_argument(JOB)
@click.option("--failed", is_flag=True, help="Only the frames that failed.")
@click.option("--frames", metavar="RANGE", help="Only these frames, as in 1-5,8.")
@answer_options
@pass_run
def rerun(
    run: Run, *, name: str, failed: bool, frames: str | None, no_wait: bool, seconds: float
) -> None:
    """Render frames of a job again: all of them, the failed ones, or a range."""
    if failed and frames is not None:
        raise usage("--failed and --frames exclude each other: give one of them, or neither")
    if frames is not None:
        check_range(frames)
    find(run.cluster, JOB, run.namespace, name)
    request: dict[str, object] = {"verb": "rerun", "frames": "failed" if failed else frames}
    ask(run, JOB, name, request, wait=not no_wait, seconds=seconds)


def check_range(frames: str) -> None:
    """Refuse a frame range that is none. Raises CliError saying what to write instead."""
    try:
        check_frames(frames)
    except FramesError as problem:
        raise refused(f"--frames: {problem}") from problem


@job.command("delete")
@name_argument(JOB)
@delete_wait_option
@pass_run
def delete(run: Run, name: str, wait: bool) -> None:
    """Delete a job: blocks being rendered are cancelled, finished frames stay in the volume."""
    item = find(run.cluster, JOB, run.namespace, name)
    run.cluster.delete(JOB, run.namespace, name, item["metadata"]["uid"])
    if wait:
        wait_gone(run, JOB, run.namespace, item, DELETE_SECONDS)
    click.echo(f"job {name} {'deleted' if wait else 'is being deleted'}")
