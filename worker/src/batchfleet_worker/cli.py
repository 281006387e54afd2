"""``batchfleet-worker``: the sidecar, and the engine simulator that stands in for GPUs."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.metadata import version

from batchfleet_worker import settings

PROGRAM = "batchfleet-worker"

_SIDECAR = """\
Merges equal requests, limits those in flight, and measures, in front of an inference engine that
speaks the OpenAI API.  Try it on your own machine:

  batchfleet-worker simulate --port 8000 &
  batchfleet-worker sidecar &
  curl localhost:8080/v1/completions -H 'content-type: application/json' \\
    -d '{"model": "simulated", "prompt": "Hello", "temperature": 0}' -i
  curl localhost:9090/state

SIGTERM drains (answers what is under way, refuses what is new) and then ends the process.
Exit status: 0 when told to stop, 1 for a port that is taken, 2 for settings that make no sense.
"""

_SIMULATE = """\
Speaks the OpenAI API as vLLM does, batches as vLLM does, answers nonsense, and needs no GPU.

  batchfleet-worker simulate --port 8000
  batchfleet-worker simulate --step-ms 5 --max-num-seqs 16 --model my-model      quick and small
  batchfleet-worker simulate --fail-error-percent 10 --startup-seconds 60        a bad day
  batchfleet-worker simulate --control-port 8001                                 a day that changes:
  curl -X PATCH localhost:8001/faults -d '{"slowFactor": 3}'

Exit status: 0 when told to stop, 1 for a port that is taken, 2 for flags that make no sense.
"""

_ALL = """\
The sidecar of batchfleet, and the engine simulator that stands in for GPUs.

  batchfleet-worker simulate --port 8000 &     an engine for your own machine
  batchfleet-worker sidecar &                  in front of it, on port 8080

Each command has its own --help.
"""


def main(arguments: list[str] | None = None) -> int:
    """Exit status 2 for wrong arguments or settings, 1 for a port that is taken."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(PROGRAM, description=_ALL, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {version(PROGRAM)}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser(
        "sidecar",
        help="run the sidecar; its settings are environment variables",
        description=_SIDECAR,
        epilog="settings (default):\n" + settings.described(),
        formatter_class=raw,
    )
    simulate = commands.add_parser(
        "simulate", help="run the engine simulator", description=_SIMULATE, formatter_class=raw
    )
    arguments = sys.argv[1:] if arguments is None else arguments
    if "simulate" in arguments:
        # Here, so that the sidecar does not load what only the simulator needs.
        from batchfleet_worker import simulator

        simulator.add_arguments(simulate)
        return simulator.run(parser.parse_args(arguments)) or 0
    parser.parse_args(arguments)
    return _sidecar()


def _sidecar() -> int:
    # Here, so that --help and the simulator do not load what only the sidecar needs.
    from batchfleet_worker import sidecar

    try:
        sidecar.run(settings.from_environment(os.environ))
    except settings.SettingsError as error:
        sys.stderr.write(f"{PROGRAM} sidecar: {error}\n")
        return 2
    except OSError as error:
        said = f"cannot listen on BATCHFLEET_PORT or BATCHFLEET_ADMIN_PORT: {error.strerror}"
        sys.stderr.write(f"{PROGRAM} sidecar: {said}\n")
        return 1
    return 0
