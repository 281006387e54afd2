"""Steps and the commands they run: progress on stderr, output in a log, every command bounded.

A failure carries the last lines of the log and where the rest is, so that whoever ran
`make demo` on a fresh machine sees the cause without looking for it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_TAIL_LINES = 20


class SetupError(Exception):
    """The cluster cannot be made here; the message says why and what to do."""


class CommandError(SetupError):
    """A command failed or ran out of time; the message holds the end of its output."""


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announce `title`, and its seconds when it is done."""
    say(f"{title} ...")
    began = time.monotonic()
    yield
    say(f"{title}: {time.monotonic() - began:.1f} s")


def run(
    argv: Sequence[str | Path],
    *,
    log: Path,
    timeout_seconds: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
) -> None:
    """Run a command to its end, its output appended to `log`.

    Raises CommandError when it exits with another status than 0, or after `timeout_seconds`.
    """
    words = [str(word) for word in argv]
    with log.open("ab") as output:
        output.write(f"$ {' '.join(words)}\n".encode())
        output.flush()
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else {**os.environ, **env},
            cwd=cwd,
            start_new_session=True,  # one signal reaches the command's own children as well
        )
        try:
            process.communicate(None if stdin is None else stdin.encode(), timeout_seconds)
        except BaseException as cause:
            _end(process)
            if isinstance(cause, subprocess.TimeoutExpired):
                why = f"{words[0]} did not end in {timeout_seconds:.0f} s"
                raise CommandError(explain(why, log)) from None
            raise
    if process.returncode != 0:
        raise CommandError(explain(f"{words[0]} ended with {process.returncode}", log))


def read(
    argv: Sequence[str | Path],
    *,
    timeout_seconds: float = 30,
    env: Mapping[str, str] | None = None,
) -> str | None:
    """The standard output of a short command; None when it fails, is missing or hangs."""
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            env=None if env is None else {**os.environ, **env},
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _end(process: subprocess.Popen[bytes]) -> None:
    for sign, patience_seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        try:
            os.killpg(process.pid, sign)
            process.wait(patience_seconds)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def explain(why: str, log: Path) -> str:
    """`why`, the last lines of the log, and where the rest of it is."""
    tail = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
    return "\n".join([why, *(f"  | {line}" for line in tail), f"  (all of it: {log})"])
