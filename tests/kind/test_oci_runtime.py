"""What dockerd hands to the runtime reaches runc without what the kernel would refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from e2e.kind import oci_runtime

PROCESS = {
    "args": ["sleep"],
    "capabilities": {
        "bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE"],
        "effective": ["CAP_SYS_RESOURCE"],
    },
    "oomScoreAdj": -999,
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1, "soft": 1}],
}
SOFTENED = {"args": ["sleep"], "capabilities": {"bounding": ["CAP_CHOWN"], "effective": []}}


@pytest.fixture
def runc(tmp_path: Path) -> dict[str, str]:
    """An environment whose `runc` prints its arguments."""
    program = tmp_path / "bin" / "runc"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:/usr/bin:/bin"}


def run(arguments: list[str], env: dict[str, str]) -> str:
    command = [sys.executable, oci_runtime.__file__, *arguments]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


def written(path: Path, value: dict[str, Any]) -> Path:
    path.write_text(json.dumps(value))
    return path


def test_create(tmp_path: Path, runc: dict[str, str]) -> None:
    config = written(tmp_path / "config.json", {"process": PROCESS, "root": {"path": "rootfs"}})
    arguments = ["--root", "/run/x", "create", "--bundle", str(tmp_path), "an-id"]
    assert run(arguments, runc).split() == arguments
    assert json.loads(config.read_text()) == {"process": SOFTENED, "root": {"path": "rootfs"}}


def test_exec(tmp_path: Path, runc: dict[str, str]) -> None:
    process = written(tmp_path / "process.json", PROCESS)
    arguments = ["exec", "--process", str(process), "an-id"]
    assert run(arguments, runc).split() == arguments
    assert json.loads(process.read_text()) == SOFTENED


def test_a_positive_score_stays() -> None:
    process = {"oomScoreAdj": 500}
    oci_runtime.soften(process)
    assert process == {"oomScoreAdj": 500}
