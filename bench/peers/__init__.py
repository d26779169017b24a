"""What `make bench` measures against, each in a virtual environment of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def python() -> Path:
    """The Python of the peers' virtual environment, made on first use and when the lock changes."""
    cache = Path(os.environ.get("DRQUEUE_CACHE", Path.home() / ".cache" / "drqueue"))
    lock = HERE / "requirements.lock"
    where = cache / "peers"
    stamp = where / "requirements.lock"
    interpreter = where / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != lock.read_text():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(where)], check=True)
        subprocess.run(
            [
                sys.executable,
                "-m",
                "uv",
                "pip",
                "install",
                "-q",
                "--python",
                str(interpreter),
                "--require-hashes",
                "-r",
                str(lock),
            ],
            check=True,
        )
        stamp.write_text(lock.read_text())
    return interpreter


def run(script: str, *arguments: str, timeout: float = 300) -> Any:
    """Run one of the scripts beside this file; returns the JSON line that it prints."""
    done = subprocess.run(
        [str(python()), str(HERE / script), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=True,
    )
    return next(json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
