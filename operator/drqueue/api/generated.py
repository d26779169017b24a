"""What the generators of CRDs and reference share: write files, or say which differ."""

import sys
from pathlib import Path


def write(texts: dict[Path, str]) -> None:
    """Write all files."""
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def stale(texts: dict[Path, str]) -> list[str]:
    """Say what differs on disk."""
    return [
        f"{path} {'differs from the models' if path.exists() else 'is missing'}"
        for path, text in texts.items()
        if not path.exists() or path.read_text("utf-8") != text
    ]


def report(differences: list[str], mend: str) -> int:
    """Write differences with the command that mends them to stderr; gives the exit code."""
    for line in differences:
        sys.stderr.write(f"{line}: run `{mend}`\n")
    return 1 if differences else 0
