"""Files in the tree that are made from code: written by ``make generate``, checked by a test."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def stale(files: Mapping[str, str], root: Path) -> list[str]:
    """Paths below ``root`` that differ from what would be written now, or are missing."""
    return [
        path
        for path, text in files.items()
        if not (root / path).is_file() or (root / path).read_text() != text
    ]


def main(files: Mapping[str, str], program: str, arguments: Sequence[str] | None = None) -> int:
    """The command line of what makes ``files``; returns the exit status."""
    parser = argparse.ArgumentParser(prog=program)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", type=Path, metavar="ROOT", help="make the files below ROOT")
    action.add_argument("--check", type=Path, metavar="ROOT", help="fail where they are stale")
    chosen = parser.parse_args(arguments)
    if chosen.write is not None:
        for path, text in files.items():
            target = chosen.write / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        return 0
    found = stale(files, chosen.check)
    for path in found:
        sys.stderr.write(f"{path} is stale: run `make generate`\n")
    return 1 if found else 0
