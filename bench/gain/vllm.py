"""Real vLLM on the CPU, without a container: installed once into the cache folder, then started.

The packages, what is left out of them and the model are those of the image (``e2e/kind/vllm``);
here they go into a virtual environment, because a bench has to run where no container engine does.
``$BENCH_CACHE`` (default ``~/.cache/batchfleet/bench``) holds it: 1.3 GB, made in about 2 minutes.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import cache
from e2e.kind import steps

_RECIPE = Path(__file__).parents[2] / "e2e" / "kind" / "vllm"
_INPUTS = ("requirements.txt", "stub_cuda.py", "make_model.py")
_TOOLS = {"gcc": "gcc libc6-dev", "strip": "binutils", "nm": "binutils"}
_LIBRARY = "libnuma.so.1"  # of Debian's libnuma1; vLLM's own extension does not load without it
_INSTALL_SECONDS = 1800
_IMPORTED = (
    "vllm.entrypoints.openai.api_server",
    "vllm.model_executor.models.llama",
    "vllm.v1.engine.core",
    "vllm.v1.worker.cpu_worker",
)
"""What an engine imports at its start, compiled beforehand."""
MODEL = "tiny"

_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB: 250,000 tokens of this model
    "VLLM_NO_USAGE_STATS": "1",
    "PYTHONUNBUFFERED": "1",
}


def environment(installed: Path, scratch: Path) -> dict[str, str]:
    """Under which the server runs; its sockets lie in ``scratch``."""
    return {**_ENVIRONMENT, "VLLM_CACHE_ROOT": str(installed / "cache"), "TMPDIR": str(scratch)}


def command(installed: Path, port: int, sequences: int) -> list[str]:
    """How the server is started, to compute at most ``sequences`` at once.

    All else is vLLM's default (its prefix cache is on), but for what a small machine needs.
    """
    return [
        str(installed / "venv" / "bin" / "python"),
        "-m",
        "vllm.entrypoints.openai.api_server",
        *("--model", str(installed / "model"), "--served-model-name", MODEL),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--max-model-len", "1024", "--enforce-eager", "--max-num-seqs", str(sequences)),
    ]


def install() -> Path:
    """The folder with ``venv`` and ``model``, made now unless it is there.

    Raises :class:`bench.cache.MissingError` or :class:`e2e.kind.steps.SetupError`.
    """
    digest = hashlib.sha256(b"".join((_RECIPE / name).read_bytes() for name in _INPUTS))
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    final = cache.folder() / f"vllm-{python}-{digest.hexdigest()[:12]}"
    if final.exists():
        return final
    with _lock(final.with_name(f"{final.name}.lock")):
        if not final.exists():  # else made by the run that we waited for
            _make(final)
    return final


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _make(final: Path) -> None:
    """Written under another name and renamed when whole: a run cut off leaves nothing behind."""
    cache.programs(_TOOLS)
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        raise cache.MissingError("Missing here; on Debian: apt-get install libnuma1") from None
    steps.say(f"vLLM is installed once, into {final} (about 2 minutes, 1.3 GB)")
    partial = final.with_name(f"{final.name}.partial")
    log = final.with_name(f"{final.name}.log")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    log.write_bytes(b"")

    def run(title: str, *argv: str | Path) -> None:
        with steps.step(f"  {title}"):
            steps.run(argv, log=log, timeout_seconds=_INSTALL_SECONDS, env=_ENVIRONMENT)

    venv = partial / "venv"
    python = venv / "bin" / "python"
    run("a virtual environment", sys.executable, "-m", "venv", "--without-pip", venv)
    # The lock is complete: nothing is resolved, so what overrides.txt took out stays out.
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-cache-dir")
    run(
        "145 packages: PyTorch, vLLM and what they need",
        *pip,
        *("--no-compile", "--no-deps", "--disable-pip-version-check", "--only-binary=:all:"),
        *("--require-hashes", "-r", _RECIPE / "requirements.txt"),
    )
    packages = next((venv / "lib").glob("python3*")) / "site-packages"
    libraries = packages / "torch" / "lib"
    # Stubs before strip: they need the symbols of the libraries that they replace.
    run("CUDA taken out", sys.executable, _RECIPE / "stub_cuda.py", libraries)
    extensions = packages.glob("vllm/_C*.so")
    run("symbols", "strip", "--strip-unneeded", libraries / "libtorch_cpu.so", *extensions)
    run("the model", python, _RECIPE / "make_model.py", partial / "model")
    run("a first import", python, "-c", f"import {', '.join(_IMPORTED)}")
    partial.rename(final)
