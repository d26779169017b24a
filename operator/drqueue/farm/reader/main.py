"""The console script `drqueue-reader`: frames, logs and files of a job, for `kubectl exec`."""

import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from drqueue.api.frames import FramesError
from drqueue.farm.reader.output import follow_log, frames_json, send_log, send_tar
from drqueue.farm.reader.sources import SourceError, open_source
from drqueue.farm.reading import NothingSuchError

MAX_SERVE_SECONDS = 4 * 3600.0
_job_uid = click.option("--job-uid", required=True, help="UID of the RenderJob.")


def main() -> None:
    """Run a command: exit 0, 1 for nothing such, 2 for wrong usage, 3 for what may pass."""
    try:
        commands.main(standalone_mode=False)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except FramesError as error:
        _fail(str(error), 2)
    except NothingSuchError as error:
        _fail(str(error), 1)
    except SourceError as error:
        _fail(str(error), 3)
    except BrokenPipeError:
        # whoever read has gone: nothing to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (OSError, sqlite3.Error) as error:
        _fail(f"the session's volume cannot be read: {error}", 3)


def _fail(message: str, code: int) -> None:
    click.echo(message, err=True)
    sys.exit(code)


def _volume() -> Path:
    return Path(os.environ.get("DRQUEUE_VOLUME", "/volume"))


def _temporary() -> Path:
    return Path(tempfile.gettempdir())


def _used() -> None:
    """Tell `serve` that somebody reads."""
    mark = _temporary() / "drqueue-reader.used"
    mark.touch(mode=0o600)


@click.group()
def commands() -> None:
    """Read frames and logs from a session's volume."""
    _used()


@commands.command("frames")
@_job_uid
def frames(job_uid: str) -> None:
    """Print every frame of a job as one JSON object."""
    source = open_source(_volume(), _temporary())
    frames_json(source, job_uid, sys.stdout, _used)


@commands.command("log")
@_job_uid
@click.option("--frame", type=int, required=True)
@click.option("--attempt", type=click.IntRange(min=1))
@click.option("--follow", is_flag=True)
def log(job_uid: str, frame: int, attempt: int | None, follow: bool) -> None:
    """Print what the renderer wrote while at a frame."""
    source = open_source(_volume(), _temporary())
    send: Callable[..., None] = follow_log if follow else send_log
    send(
        lambda: open_source(_volume(), _temporary()) if follow else source,
        _volume(),
        job_uid=job_uid,
        frame=frame,
        attempt=attempt,
        out=sys.stdout.buffer,
        used=_used,
    )


@commands.command("tar")
@_job_uid
@click.option("--frames", "text", help="Only these frames, as in 1-5,8.")
def tar(job_uid: str, text: str | None) -> None:
    """Send the finished frames' files as a tar archive."""
    source = open_source(_volume(), _temporary())
    lacking = send_tar(
        source, _volume(), job_uid=job_uid, frames=text, out=sys.stdout.buffer, used=_used
    )
    if lacking:
        raise NothingSuchError("; ".join(lacking[:10]))


@commands.command("serve")
def serve() -> None:
    """Stay until nobody has read for a while (DRQUEUE_IDLE_SECONDS, 600)."""
    text = os.environ.get("DRQUEUE_IDLE_SECONDS", "600")
    try:
        idle = float(text)
    except ValueError:
        idle = 0.0
    if idle <= 0:
        raise click.UsageError(f"DRQUEUE_IDLE_SECONDS={text!r}: write seconds above 0")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit())
    mark = _temporary() / "drqueue-reader.used"
    started = time.monotonic()
    while True:
        time.sleep(min(idle / 4, 5.0))
        quiet = time.time() - mark.stat().st_mtime
        if quiet >= idle or time.monotonic() - started >= MAX_SERVE_SECONDS:
            return
