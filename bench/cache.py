"""What a bench needs beside this repository: found on PATH, compiled, or installed into a cache.

The cache is $BENCH_CACHE, else ~/.cache/batchfleet/bench; it may be deleted at any time.  Nothing
is ever installed into the machine itself: what it lacks is named, with the line that brings it.
"""

from __future__ import annotations

import compileall
import contextlib
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where Debian puts servers; an ordinary user's PATH lacks them."""

_WORKER = Path(__file__).parents[1] / "worker"
_MYPYC = "mypy"  # the package that brings it
_TAIL_LINES = 15


class MissingError(Exception):
    """A program is not there; the text says how to get it.  A bench prints it and exits 2."""


def folder() -> Path:
    """The cache, made if need be."""
    given = os.environ.get("BENCH_CACHE")
    path = Path(given) if given else Path.home() / ".cache" / "batchfleet" / "bench"
    path.mkdir(parents=True, exist_ok=True)
    return path


def programs(packages: Mapping[str, str]) -> dict[str, str]:
    """Program to its path.  ``packages``: program to the Debian package that has it.

    Raises :class:`MissingError` with one line for all that are missing.
    """
    where = os.pathsep.join((os.environ.get("PATH", ""), *_SYSTEM_FOLDERS))
    found = {name: shutil.which(name, path=where) for name in packages}
    missing = sorted({packages[name] for name, path in found.items() if path is None})
    if missing:
        raise MissingError(f"Missing here; on Debian: apt-get install {' '.join(missing)}")
    return {name: path for name, path in found.items() if path is not None}


def compiled(source: Path) -> Path:
    """The program that ``source``, one C file, compiles to; made once per text of the file."""
    text = source.read_bytes()
    program = folder() / f"{source.stem}-{hashlib.sha256(text).hexdigest()[:12]}"
    if not program.exists():
        compiler = programs({"cc": "gcc libc6-dev"})["cc"]
        made = program.with_suffix(f".{os.getpid()}")
        subprocess.run(
            [compiler, "-O2", "-std=gnu11", "-Wall", "-Wextra", "-o", made, source], check=True
        )
        made.replace(program)
    return program


def compiled_worker() -> Path:
    """A copy of worker/src whose hot modules are compiled, as they are where it is packaged: for
    PYTHONPATH.  Made once per text of the source, Python and mypyc; that takes over a minute.

    Raises :class:`MissingError` with the compiler's last lines.
    """
    if importlib.util.find_spec(_MYPYC) is None:
        raise MissingError("Missing here: mypy; make test installs it into .venv")
    inputs = [_WORKER / "setup.py", _WORKER / "pyproject.toml"]
    inputs += sorted(path for path in (_WORKER / "src").rglob("*.py"))
    wanted = hashlib.sha256(
        f"{sys.version} {metadata.version(_MYPYC)} {platform.machine()}".encode()
    )
    for path in inputs:
        wanted.update(f"\0{path.relative_to(_WORKER)}\0".encode() + path.read_bytes())
    place = folder() / f"worker-{wanted.hexdigest()[:12]}"
    if place.exists():
        return place / "src"
    programs({"cc": "gcc libc6-dev"})
    print(f"compiling the worker into {place} (over a minute) …", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=folder(), prefix="worker-new-") as fresh:
        for path in inputs:
            copy = Path(fresh) / path.relative_to(_WORKER)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        done = subprocess.run(
            [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
            cwd=fresh,
            env={**os.environ, "BATCHFLEET_COMPILE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-_TAIL_LINES:])
            raise MissingError(f"The worker could not be compiled:\n{tail}")
        shutil.rmtree(Path(fresh) / "build")
        compileall.compile_dir(Path(fresh) / "src", quiet=1)  # bytecode is there in the image too
        with contextlib.suppress(OSError):  # another bench was quicker
            Path(fresh).rename(place)
            Path(fresh).mkdir()  # for the end of the block
    return place / "src"


def worker(*, plain: bool) -> dict[str, str]:
    """Of a sidecar's environment, what makes it the image's; ``plain``: the source, not compiled.

    Raises :class:`MissingError`.
    """
    return {} if plain else {"PYTHONPATH": str(compiled_worker())}


def environment(name: str, packages: Sequence[str], *, install: bool = True) -> Path | None:
    """The ``bin`` folder of a virtual environment of its own with ``packages``.

    None: it is not in the cache yet, and ``install`` forbids to make it.
    Raises :class:`MissingError` with the installer's last lines.
    """
    wanted = hashlib.sha256("\n".join([sys.version, *packages]).encode()).hexdigest()[:12]
    place = folder() / f"{name}-{wanted}"
    stamp = place / ".complete"
    if stamp.exists():
        return place / "bin"
    if not install:
        return None
    print(f"installing {' '.join(packages)} into {place}", file=sys.stderr)
    shutil.rmtree(place, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(place)],
        [f"{place}/bin/pip", "install", "--quiet", "--disable-pip-version-check", *packages],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            tail = "\n".join(done.stderr.splitlines()[-5:])
            raise MissingError(f"{name} could not be installed:\n{tail}")
    stamp.touch()
    return place / "bin"
