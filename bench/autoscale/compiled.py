"""The simulator compiled with mypyc, into the benches' cache: the same code and results, sooner.

Called by ``__main__`` before anything is run.  A copy, so that the operator's own source tree
never holds a compiled module, which would hide what is edited there.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from bench import cache

SOURCE = Path(__file__).parents[2] / "operator" / "src"
PACKAGE = "batchfleet_operator"
HOT = ("engine", "faults", "fleet", "hpa", "known", "kpa", "meter", "policy", "run", "trace")
"""Of ``simulate``: what is called for every request or look.  Readers and plots are not."""
SETTINGS = "[mypy]\nexplicit_package_bases = True\nfollow_imports = silent\n"
COMPILER = "mypy"  # the package that brings mypyc
TAIL_LINES = 5


def simulator() -> Path:
    """For PYTHONPATH: a copy of operator/src with the simulator compiled.

    Made once per text of the source, Python and mypyc.  Raises :class:`cache.MissingError`.
    """
    if importlib.util.find_spec(COMPILER) is None:
        raise cache.MissingError("mypy is not there; make test installs it into .venv")
    inputs = sorted((SOURCE / PACKAGE).rglob("*.py"))
    wanted = hashlib.sha256(
        f"{sys.version} {metadata.version(COMPILER)} {platform.machine()} {HOT}".encode()
    )
    for path in inputs:
        wanted.update(f"\0{path.relative_to(SOURCE)}\0".encode() + path.read_bytes())
    place = cache.folder() / f"simulator-{wanted.hexdigest()[:12]}"
    if place.exists():
        return place
    cache.programs({"cc": "gcc libc6-dev"})
    print(f"compiling the simulator into {place} …", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=cache.folder(), prefix="simulator-new-") as fresh:
        for path in inputs:
            copy = Path(fresh) / path.relative_to(SOURCE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        (Path(fresh) / "mypy.ini").write_text(SETTINGS)
        hot = [f"{PACKAGE}/simulate/{name}.py" for name in HOT]
        done = subprocess.run(
            [sys.executable, "-m", "mypyc", "--config-file", "mypy.ini", *hot],
            cwd=fresh,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-TAIL_LINES:])
            raise cache.MissingError(f"the simulator could not be compiled:\n{tail}")
        shutil.rmtree(Path(fresh) / "build")
        with contextlib.suppress(OSError):  # another bench was quicker
            Path(fresh).rename(place)
            Path(fresh).mkdir()  # for the end of the block
    return place
