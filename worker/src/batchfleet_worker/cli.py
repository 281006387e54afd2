"""``batchfleet-worker``: the sidecar, and the engine simulator that stands in for GPUs."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.metadata import version

from batchfleet_worker import settings

_SIDECAR = """\
Merges equal requests, limits those in flight, and measures, in front of an inference engine that
speaks the OpenAI API.  Try it on your own machine:

  batchfleet-worker simulate --port 8000 &
  batchfleet-worker sidecar &
  curl localhost:8080/v1/completions -H 'content-type: application/json' \\
    -d '{"model": "simulated", "prompt": "Hello", "temperature": 0}' -i
  curl localhost:9090/state

SIGTERM drains (answers what is under way, refuses what is new) and then ends the process.
"""


def main(arguments: list[str] | None = None) -> int:
    """Exit status 2 for wrong arguments or settings, 1 for a port that is taken."""
    parser = argparse.ArgumentParser(prog="batchfleet-worker", description=__doc__)
    parser.add_argument("--version", action="version", version=version("batchfleet-worker"))
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "sidecar",
        help="run the sidecar; its settings are environment variables",
        description=_SIDECAR,
        epilog="settings (default):\n" + settings.described(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    simulate = commands.add_parser("simulate", help="run the engine simulator")
    arguments = sys.argv[1:] if arguments is None else arguments
    if "simulate" in arguments:
        # Here, so that the sidecar does not load what only the simulator needs.
        from batchfleet_worker import simulator

        simulator.add_arguments(simulate)
        return simulator.run(parser.parse_args(arguments)) or 0
    parser.parse_args(arguments)
    return _sidecar()


def _sidecar() -> int:
    # aiohttp reads the system's certificates when it is imported, two megabytes of them, and
    # speaks TLS to nobody here.
    os.environ.setdefault("SSL_CERT_FILE", os.devnull)
    # Here, so that --help and the simulator do not load what only the sidecar needs.
    from batchfleet_worker import sidecar

    try:
        sidecar.run(settings.from_environment(os.environ))
    except settings.SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
