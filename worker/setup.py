"""Compiles the modules that every request passes through, where the worker is packaged.

All else about the package is said in pyproject.toml.  Without BATCHFLEET_COMPILE=1 this adds
nothing, so that editable installs, tests and debuggers see plain Python; with it, mypyc makes one
shared library of COMPILED, and the .py files stay beside it for tracebacks.  One source, two
builds: docs/decisions/0013-the-hot-modules-are-compiled.md.

CONTRIBUTING.md tells how to try the compiled modules without an image.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from setuptools import Extension, setup

PACKAGE = "batchfleet_worker"
SOURCE = Path(__file__).resolve().parent / "src"

COMPILED = (
    # what the others pass to each other
    *("errors", "exchange", "memory"),
    # bytes of the client to a request, and an answer to bytes
    *("heads", "http1", "opening", "plain", "reader", "messages", "intake"),
    *("inflow", "outflow", "answer", "client", "relay"),
    # a request to the engine and back
    *("upstream", "connection", "crossover"),
    # who asks what, and who shares which answer
    *("openai", "key", "meaning", "pipeline", "admission", "limit", "deadlines"),
    *("flight", "audience", "sharing", "subscriber", "dispatch", "recall", "events"),
    # who waits, and whose turn it is
    *("queue", "order", "models", "fairness", "rates"),
    # what is counted of it
    *("account", "histogram", "tally", "tokens"),
)
"""The whole way of a request, since a call between two compiled modules is a C call, and one into
interpreted code is not.  Left out: what runs once a second or at the start, and the pydantic
models."""


def extensions() -> list[Extension]:
    """mypyc's one library, and for each module the stub that Python imports.

    Raises FileNotFoundError for a module that is in the list and not in the source.
    """
    from mypyc.build import mypycify  # at run time and in tests there is no mypyc

    files = [f"{PACKAGE}/{module}.py" for module in COMPILED]
    if missing := [file for file in files if not (SOURCE / file).is_file()]:
        raise FileNotFoundError(f"COMPILED in setup.py lists what is not there: {missing}")
    # From the source folder: tracebacks name the files as they are named here.  What is installed
    # beside mypyc must make no difference: hence no packages, no settings of a folder above it.
    flags = ["--config-file=", "--no-site-packages", "--ignore-missing-imports"]
    target = SOURCE.parent / "build" / "mypyc"
    with contextlib.chdir(SOURCE):
        made: list[Extension] = mypycify(
            [*flags, f"--cache-dir={os.devnull}", *files],
            opt_level="3",
            debug_level="0",
            group_name=PACKAGE,
            target_dir=str(target),
        )
    for extension in made:  # mypyc asks for -Werror; the next compiler's warnings are no errors
        extension.extra_compile_args = [*extension.extra_compile_args, "-Wno-error"]
    return made


if __name__ == "__main__":  # setuptools runs it so too; tests only read the list
    setup(ext_modules=extensions() if os.environ.get("BATCHFLEET_COMPILE") == "1" else [])
