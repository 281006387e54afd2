"""The cache folder: every artefact is made once, whole, by one process at a time.

Lowest layer of `e2e.kind`: binaries, the node image and the run folders live here. An artefact is
keyed by a fingerprint of what makes it, written under a temporary name and renamed when complete,
so a run that was cut off leaves nothing that looks finished. Deleting the folder is always safe
while no cluster runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.kind import steps


def folder() -> Path:
    """`$E2E_CACHE`, else `batchfleet` in `$XDG_CACHE_HOME`, else in `~/.cache`."""
    if own := os.environ.get("E2E_CACHE"):
        return Path(own).absolute()
    shared = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(shared).absolute() / "batchfleet"


def log_file(name: str) -> Path:
    """Where the output of the step `name` is written; its folder is made."""
    path = folder() / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def fingerprint(parts: Iterable[str | bytes | Path]) -> str:
    """12 hex digits over strings, bytes and the contents of files, in order."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            data = part.read_bytes()
        else:
            data = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()[:12]


@contextmanager
def lock(name: str, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock `name`, alone or with other `shared` holders; says so when it has to wait."""
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with _lock_file(name).open("w") as handle:
        try:
            fcntl.flock(handle, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            steps.say(f"{name}: waiting for another run")
            fcntl.flock(handle, mode)
        yield


def is_held(name: str) -> bool:
    """Whether any process, this one included, holds the lock `name`."""
    with _lock_file(name).open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _lock_file(name: str) -> Path:
    path = folder() / "locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def artefact(name: str, title: str, make: Callable[[Path], None]) -> Path:
    """The artefact `name`, which ends in its fingerprint: from the cache, else made now.

    `make` gets a path that does not exist and must leave a file or a folder there.
    """
    final = folder() / name
    if final.exists():
        steps.say(f"{title} (cached)")
        return final
    with lock(name):
        if final.exists():  # made by the run that we waited for
            steps.say(f"{title} (cached)")
            return final
        partial = final.with_name(f"{final.name}.partial")
        _remove(partial)
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            with steps.step(title):
                make(partial)
        except BaseException:
            _remove(partial)
            raise
        partial.rename(final)
    return final


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
