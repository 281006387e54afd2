"""The programs that a bench measures: started, watched through /proc, always ended.

Everything a bench starts is in one :class:`Processes` and is gone when its block ends, also after
Ctrl-C and SIGTERM.  Each process leads its own group, so that its workers go with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Self

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

GRACE_SECONDS = 5.0  # for a process to end by itself

_Handler = Callable[[int, FrameType | None], Any] | int | None


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Process:
    """One started program and its children."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._popen = popen

    @property
    def pid(self) -> int:
        return self._popen.pid

    def alive(self) -> bool:
        return self._popen.poll() is None

    def cpu_seconds(self) -> float:
        """User and system time so far, in ticks of 10 ms: of the group's living members, and of
        the children that they have seen end."""
        return sum(self._stat(pid)[0] for pid in self._group())

    def rss_bytes(self) -> int:
        return sum(self._stat(pid)[1] for pid in self._group())

    def open_files(self) -> int:
        """Sockets and all, of the whole group."""
        count = 0
        for pid in self._group():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                count += len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return count

    def hold(self, cores: Sequence[int]) -> None:
        """Keep the group on these cores from now on, its running threads too."""
        for pid in self._group():
            for thread in Path(f"/proc/{pid}/task").glob("*"):
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    os.sched_setaffinity(int(thread.name), cores)

    def stop(self) -> None:
        """SIGTERM; what is still there after GRACE_SECONDS, or outlived its leader: SIGKILL."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(GRACE_SECONDS)
        self._signal(signal.SIGKILL)
        self._popen.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _group(self) -> list[int]:
        pids = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    if os.getpgid(int(entry.name)) == self.pid:
                        pids.append(int(entry.name))
        return pids

    def _stat(self, pid: int) -> tuple[float, int]:
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return 0.0, 0
        fields = text.rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS, int(fields[21]) * _PAGE


class Processes:
    """``with Processes(folder) as running:``; logs lie in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Process] = []
        self._before: _Handler = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._before = signal.signal(signal.SIGTERM, _interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it must not keep the last from being ended
        try:
            for process in reversed(self._started):
                process.stop()
        finally:
            signal.signal(signal.SIGTERM, self._before)

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        port: int | None = None,
        cores: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
        within_seconds: float = 60,
    ) -> Process:
        """Start, and wait until ``port`` accepts; without one, see :meth:`await_port`.

        Raises ``RuntimeError`` with the log's end, and ``OSError`` for a program that is not there.
        """
        log = self._folder / f"{name}.log"
        pinned = ["taskset", "--cpu-list", ",".join(map(str, cores)), *argv] if cores else argv
        with log.open("wb") as out:
            popen = subprocess.Popen(
                list(pinned),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        process = Process(name, popen, log)
        self._started.append(process)
        if port is not None:
            self.await_port(process, port, within_seconds)
        return process

    def await_port(self, process: Process, port: int, within_seconds: float = 60) -> None:
        """For what takes long to start, while other things are done.  Raises ``RuntimeError``."""
        deadline = time.monotonic() + within_seconds
        while time.monotonic() < deadline:
            if not process.alive():
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.05)
        tail = process.log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{process.name} does not listen on port {port}:\n{tail}")
