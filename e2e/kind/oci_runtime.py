"""An OCI runtime in front of runc, for machines whose root lacks CAP_SYS_RESOURCE.

There Docker's privileged containers, and so kind's nodes, fail with "unable to apply caps".
dockerd calls this program as its runtime; it takes out of the container's description what the
kernel would refuse (that capability, negative OOM scores, resource limits) and hands over to runc.
It is run as a program of its own and imports nothing of ours.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

_FORBIDDEN = "CAP_SYS_RESOURCE"


def soften(process: dict[str, Any]) -> None:
    """Remove from an OCI `process` object, in place, what needs CAP_SYS_RESOURCE."""
    for names in process.get("capabilities", {}).values():
        if _FORBIDDEN in names:
            names.remove(_FORBIDDEN)
    if process.get("oomScoreAdj", 0) < 0:
        del process["oomScoreAdj"]
    process.pop("rlimits", None)


def main(arguments: list[str]) -> None:
    # Docker's shim writes `create` with the bundle, and `exec` with a bare process object.
    if "create" in arguments:
        path = Path(_option(arguments, "--bundle") or ".") / "config.json"
        config = json.loads(path.read_text())
        soften(config["process"])
        path.write_text(json.dumps(config))
    elif "exec" in arguments and (name := _option(arguments, "--process")):
        path = Path(name)
        process = json.loads(path.read_text())
        soften(process)
        path.write_text(json.dumps(process))
    os.execvp("runc", ["runc", *arguments])  # noqa: S606 - no shell is wanted


def _option(arguments: list[str], name: str) -> str | None:
    if name in arguments[:-1]:
        return arguments[arguments.index(name) + 1]
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
