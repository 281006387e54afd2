"""What a bench starts is measured as one, and never outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.processes import Processes, free_port
from tests.support.eventually import eventually

SERVER = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1])));"
PARENT = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', sys.argv[1]]);"
SPIN = "import time\nwhile time.process_time() < 0.3: pass\n"


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def test_a_started_server_can_be_reached_and_is_on_its_core(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    with Processes(tmp_path) as running:
        port = free_port()
        argv = [sys.executable, "-c", SERVER + "time.sleep(60)", str(port)]
        process = running.start("server", argv, port=port, cores=[core])
        assert process.alive()
        assert os.sched_getaffinity(process.pid) == {core}
        assert process.rss_bytes() > 1_000_000
    assert not process.alive()


def test_a_program_that_ends_instead_of_listening_is_an_error_with_its_words(
    tmp_path: Path,
) -> None:
    with Processes(tmp_path) as running, pytest.raises(RuntimeError, match="no such luck"):
        running.start("bad", [sys.executable, "-c", "exit('no such luck')"], port=free_port())


def test_children_go_with_their_parent_even_if_they_ignore_sigterm(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    with Processes(tmp_path) as running:
        process = running.start("parent", [sys.executable, "-c", PARENT + "p.wait()", stubborn])
        child = eventually(lambda: children(process.pid))[0]
    assert eventually(lambda: gone(child))


def test_cpu_time_counts_children_that_have_ended(tmp_path: Path) -> None:
    with Processes(tmp_path) as running:
        after = "p.wait(); print('x', flush=True); import time; time.sleep(60)"
        process = running.start("parent", [sys.executable, "-c", PARENT + after, SPIN])
        eventually(lambda: process.log.read_text() == "x\n")
        assert not children(process.pid)
        assert process.cpu_seconds() >= 0.3


def test_a_bench_that_is_told_to_end_takes_its_processes_along(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom bench.processes import Processes\n"
        "with Processes(Path(sys.argv[1])) as running:\n"
        "    p = running.start('sleeper', ['sleep', '60'])\n"
        "    print(p.pid, flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as bench:
        assert bench.stdout is not None
        sleeper = int(bench.stdout.readline())
        bench.send_signal(signal.SIGTERM)
        bench.wait(30)
    assert gone(sleeper)
