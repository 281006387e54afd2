"""Prometheus' own checker of rules."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

from e2e.kind import binaries

_TIMEOUT_SECONDS = 120


def promtool(*arguments: str | Path) -> str:
    """Run it; what it says. Raises AssertionError with that where it is not content."""
    done = subprocess.run(
        [str(word) for word in (_program(), *arguments)],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@cache
def _program() -> Path:
    return binaries.path("promtool")
